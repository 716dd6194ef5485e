"""Logs, Menu and Plan: stored values, errors and their messages."""

import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

import largesse
from largesse import _check
from largesse._random import child, generator
from largesse.errors import ConfigError, DataError, InfeasibleBudget, LargesseError, MissingDependency, SchemaError
from largesse.logs import Logs
from largesse.menu import Menu, Plan, Status


def logs(**changed):
    """Six rows of three arms."""
    rows = {
        "x": np.arange(12.0).reshape(6, 2), "treatment": [0, 1, 2, 0, 1, 2],
        "value": [0, 1, 1, 0, 0, 2], "cost": [0, 1, 2, 0, 1, 2],
    }  # fmt: skip
    return Logs(**(rows | changed))


def menu(**changed):
    return Menu(**({"value": [[0.0, 1.0], [0.0, 2.0]], "cost": [[0.0, 1.0], [0.0, 1.0]]} | changed))


def plan(**changed):
    fields = {"treatment": [0, 1], "price": 1.0, "spend": 1.0, "value": 2.0, "bound": 2.5, "budget": 1.5,
              "status": Status.WITHIN_ONE_INCREMENT, "treatments": ("0", "1")}  # fmt: skip
    return Plan(**(fields | changed))


SHARES = {"0": 0.5, "1": 0.25, "2": 0.25}
ROWS = np.array([0.5, 0.25, 0.25, 0.5, 0.25, 0.25])

REFUSED = {
    # Logs
    "x nan": (
        lambda: logs(x=[[0.0], [np.nan]] * 3),
        r"x\[1, 0\] == nan: must be a finite number \(3 such cells of 6\)\.",
    ),
    "x axes": (lambda: logs(x=np.zeros(6)), r"x.ndim == 1: x must have 2 axes, its shape is \(6,\)"),
    "x text": (lambda: logs(x=[["a"]] * 6), "x: must be an array of numbers .*Encode text columns first"),
    "no rows": (lambda: logs(x=np.zeros((0, 2))), "x.shape == .*must not be empty"),
    "value infinite": (
        lambda: logs(value=[0, 1, np.inf, 0, 0, 2]),
        r"value\[2\] == inf: must be a finite number \(1 such row of 6\)",
    ),
    "length": (lambda: logs(value=[0, 1]), r"len\(value\) == 2: must equal len\(x\), which is 6"),
    "cost negative": (
        lambda: logs(cost=[0, -1, 2, 0, -1, 2]),
        r"cost\[1\] == -1.0: must be >= 0 \(2 such rows of 6\). Clip them",
    ),
    "control costs": (
        lambda: logs(cost=[1, 1, 2, 0, 1, 2]),
        r"cost\[0\] == 1.0: a control row must cost nothing .*control_cost=True",
    ),
    "code negative": (lambda: logs(treatment=[0, 1, 2, 0, 1, -1]), r"treatment\[5\] == -1: must be a treatment code"),
    "code half": (lambda: logs(treatment=[0, 1, 2, 0, 1, 0.5]), r"treatment\[5\] == 0.5: must be a treatment code"),
    "code unnamed": (
        lambda: logs(treatments=("a", "b")),
        r"treatment\[2\] == 2: must be a treatment code in 0..1, 0 is control",
    ),
    "one arm": (
        lambda: logs(treatment=[0] * 6, cost=[0] * 6, treatments=("a",)),
        r"treatments == .*at least two are needed",
    ),
    "empty arm": (lambda: logs(treatments="abcd"), "treatment: no row has 'd', every arm needs rows"),
    "a blank name": (lambda: logs(treatments=("a", "", "b")), "treatments == .*every treatment needs a name"),
    "two features of one name": (
        lambda: logs(features=("a",) * logs().x.shape[1]),
        "features == 'a': names must differ",
    ),
    "same names": (lambda: logs(treatments="aab"), "treatments == .*names must differ"),
    "features": (lambda: logs(features=["one"]), r"len\(features\) == 1: x has 2 columns"),
    "design": (lambda: logs(design="ab"), "design == 'ab': must be one of 'rct', 'obs'"),
    "weight zero": (
        lambda: logs(weight=[1, 1, 0, 1, 1, 1]),
        r"weight\[2\] == 0.0: must be > 0 \(1 such row of 6\). Drop rows",
    ),
    "propensity zero": (
        lambda: logs(propensity=ROWS * 0, design="obs"),
        r"propensity\[0\] == 0.0: must be in \(0, 1\]",
    ),
    "propensity above one": (lambda: logs(propensity=ROWS * 3, design="obs"), r"propensity\[0\] == 1.5: must be in"),
    "propensity varies": (
        lambda: logs(propensity=[0.5, 0.2, 0.3, 0.5, 0.3, 0.3]),
        r"propensity\[4\] == 0.3: must be constant by arm",
    ),
    "propensity word": (
        lambda: logs(propensity="known"),
        "propensity == 'known': must be one of 'uniform', 'observed'",
    ),
    "shares incomplete": (lambda: logs(propensity={"0": 0.5, "1": 0.5}), "propensity == .*needs one share for each of"),
    "shares' sum": (lambda: logs(propensity=SHARES | {"2": 0.5}), "propensity == .*shares must be > 0 and sum to 1"),
    "share kind": (
        lambda: logs(propensity=SHARES | {"2": "few"}),
        r"propensity\['2'\] == 'few': must be a finite number in \[0, 1e\+09\]",
    ),
    "unknown": (
        lambda: logs(design="obs").inverse_propensity,
        "propensity: unknown, so these rows cannot evaluate another policy",
    ),
    "other features": (lambda: logs() | logs(features=("a", "b")), "both logs need the same features and treatments"),
    # Menu
    "menu nan": (
        lambda: menu(value=[[0.0, np.nan]] * 2),
        r"value\[0, 1\] == nan: must be a finite number \(2 such cells of 4\)",
    ),
    "menu cost": (lambda: menu(cost=[[0.0, -1.0]] * 2), r"cost\[0, 1\] == -1.0: must be >= 0 .*belongs to value"),
    "menu shapes": (lambda: menu(cost=[[0.0, 1.0]]), r"cost.shape == \(1, 2\): must equal value.shape, \(2, 2\)"),
    "menu axes": (lambda: menu(value=[0.0, 1.0]), "value.ndim == 1: value must have 2 axes"),
    "menu one column": (lambda: Menu(value=[[0.0]], cost=[[0.0]]), "treatments == .*at least two are needed"),
    "menu names": (lambda: menu(treatments="abc"), r"len\(treatments\) == 3: value has 2 columns"),
    "menu units": (lambda: menu(unit=[1]), r"len\(unit\) == 1: must equal len\(value\), which is 2"),
    # Plan
    "plan code": (lambda: plan(treatment=[0, 2]), r"treatment\[1\] == 2: must be a treatment code"),
    "plan unit twice": (lambda: plan(unit=["a", "a"]), "unit == 'a': each unit may appear only once .1 rows too many"),
    "plan units": (lambda: plan(unit=["a"]), r"len\(unit\) == 1: must equal len\(treatment\), which is 2"),
    # single numbers and words
    "number": (lambda: _check.number("level", 2, low=0, high=1), r"level == 2: must be a finite number in \[0, 1\]"),
    "number nan": (lambda: _check.number("level", np.nan), "level == nan: must be a finite number"),
    "number kind": (
        lambda: _check.number("level", [1, 2]),
        r"level == \[1, 2\]: must be a finite number\. Give a number\.",
    ),
    "choice": (
        lambda: _check.choice("kind", "c", ("a", "b")),
        "kind == 'c': must be one of 'a', 'b'. Choose one of them.",
    ),
    "ragged": (lambda: _check.array("x", [[1], [1, 2]], ndim=2), "x: must be an array of numbers"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_field_value_rule_and_next_step(name):
    act, words = REFUSED[name]
    with pytest.raises(DataError, match=words) as caught:
        act()
    message = str(caught.value)
    assert caught.value.field in message
    assert message.endswith("."), message
    assert len(message) < 400


def test_errors_are_value_errors_under_one_root():
    assert issubclass(DataError, LargesseError)
    assert issubclass(DataError, ValueError)
    assert issubclass(SchemaError, DataError)
    assert issubclass(ConfigError, ValueError)
    assert issubclass(MissingDependency, ImportError)
    assert str(InfeasibleBudget(1.0, 3.5)).startswith(
        "budget == 1: the cheapest plan costs 3.5, 2.5 more than the budget."
    )
    assert "pip install 'largesse[forest]'" in str(MissingDependency("econml", "forest", "the causal forest"))


def test_a_log_has_the_same_groups_in_another_process():
    for unit, expected in ((np.arange(4), None), (np.array([7, 7, 8, 9]), [0, 0, 1, 2])):
        logs = Logs(x=np.zeros((4, 1)), treatment=[0, 1, 0, 1], value=np.ones(4), cost=np.zeros(4), unit=unit)
        groups = pickle.loads(pickle.dumps(logs)).groups  # not asked for before
        assert (None if groups is None else groups.tolist()) == expected


def test_a_log_keeps_its_rows_read_only_and_the_callers_array_stays_writable():
    value = np.array([0.0, 1, 1, 0, 0, 2])
    kept = logs(value=value)
    for name in ("x", "treatment", "value", "cost", "propensity"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(kept, name)[0] = 1
    with pytest.raises(FrozenInstanceError):
        kept.value = value
    value[0] = 5
    assert (kept.x.dtype, kept.treatment.dtype, kept.value.dtype) == (np.float32, np.int32, np.float64)
    assert (kept.n, kept.n_treatments, kept.total_weight) == (6, 3, 6.0)
    assert kept.features == ("x0", "x1")
    assert kept.treatments == ("0", "1", "2")
    assert kept.arm_rows.tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("given", "assignment", "expected"),
    [
        (None, "observed", [1 / 3] * 6),
        ("uniform", "uniform", [1 / 3] * 6),
        ("observed", "observed", [1 / 3] * 6),
        (SHARES, "shares", [0.5, 0.25, 0.25] * 2),
        (ROWS, "rows", [0.5, 0.25, 0.25] * 2),
    ],
)
def test_propensities_however_they_are_given(given, assignment, expected):
    kept = logs(propensity=given)
    assert kept.assignment == assignment
    assert kept.propensity.tolist() == pytest.approx(expected)
    assert kept.inverse_propensity.tolist() == pytest.approx([1 / p for p in expected])


def test_observed_shares_count_weights():
    kept = logs(weight=[2, 1, 1, 2, 1, 1])
    assert kept.propensity.tolist() == pytest.approx([0.5, 0.25, 0.25] * 2)
    assert kept.inverse_propensity.tolist() == pytest.approx([4] * 6)
    assert kept.total_weight == 8


def test_a_past_policys_log_knows_nothing_unless_told():
    assert logs(design="obs").propensity is None
    assert logs(design="obs").assignment == "unknown"
    known = logs(design="obs", propensity=[0.5, 0.2, 0.3, 0.5, 0.3, 0.3])
    assert known.propensity.tolist() == [0.5, 0.2, 0.3, 0.5, 0.3, 0.3]


def test_some_rows_keep_everything_about_them():
    kept = logs(unit=list("abcdef"), weight=[1, 2, 3, 4, 5, 6], propensity=SHARES, timestamp=np.arange(6))
    some = kept.take(np.array([5, 1, 0]))
    assert some.unit.tolist() == ["f", "b", "a"]
    assert some.weight.tolist() == [6, 2, 1]
    assert some.timestamp.tolist() == [5, 1, 0]
    assert some.propensity.tolist() == [0.25, 0.25, 0.5]
    assert some.assignment == "shares"
    assert kept.take(kept.weight < 4).n == 3


def test_splits_are_disjoint_and_keep_the_shares_of_every_arm():
    t = np.repeat([0, 1, 2], [500, 300, 200])
    whole = Logs(x=np.zeros((1000, 1)), treatment=t, value=t, cost=t, unit=np.arange(1000))
    parts = whole.split(3, 1, seed=1)
    assert sorted(np.concatenate([part.unit for part in parts]).tolist()) == list(range(1000))
    assert [part.arm_rows.tolist() for part in parts] == [[375, 225, 150], [125, 75, 50]]
    assert [part.unit.tolist() for part in whole.split(3, 1, seed=1)] == [part.unit.tolist() for part in parts]
    assert whole.split(3, 1, seed=2)[0].unit.tolist() != parts[0].unit.tolist()


def test_two_logs_together_are_observational():
    both = logs(propensity="uniform") | logs(weight=[2] * 6, propensity="uniform")
    assert (both.n, both.design, both.total_weight) == (12, "obs", 18.0)
    assert both.propensity.tolist() == pytest.approx([1 / 3] * 12)
    assert (logs() | logs(design="obs")).propensity is None


def test_a_menu_is_column_major_and_read_only():
    single = menu(value=np.float32([[0, 1], [0, 2]]), cost=np.float32([[0, 1], [0, 1]]))
    mixed = menu(value=np.float32([[0, 1], [0, 2]]))
    assert (single.value.dtype, mixed.value.dtype, mixed.cost.dtype) == (np.float32, np.float64, np.float64)
    assert menu(value=[[0, 1], [0, 2]], cost=[[0, 1], [0, 1]]).value.dtype == np.float64
    assert single.value.T.flags.c_contiguous
    with pytest.raises(ValueError, match="read-only"):
        single.cost[0, 0] = 1
    named = menu(unit=["a", "b"], treatments=("none", "some")).take(np.array([1]))
    assert (named.n, named.n_treatments, named.treatments, named.unit.tolist()) == (1, 2, ("none", "some"), ["b"])


def test_a_menu_does_not_change_the_callers_arrays():
    value, cost = np.array([[0.0, 1.0], [0.0, 2.0]]), np.array([[0.0, 1.0], [0.0, 1.0]])
    menu(value=value, cost=cost)
    value[0, 0], cost[0, 0] = 1, 1


def test_a_plan_counts_and_certifies():
    kept = plan(unit=["a", "b"])
    assert (kept.n, kept.gap, kept.counts.tolist()) == (2, 0.5, [1, 1])
    assert plan(bound=1.0).gap == 0
    assert plan(treatment=[0, 0]).counts.tolist() == [2, 0]
    with pytest.raises(ValueError, match="read-only"):
        kept.treatment[0] = 1
    assert all(status.advice[0].isupper() and len(status.advice) > 20 for status in Status)
    assert kept.totals.mix == kept.mix == {"0": 1, "1": 1}
    assert (kept.totals.n, kept.totals.gap) == (2, 0.5)


def test_seeds_become_generators_once():
    rng = np.random.default_rng(3)
    assert generator(rng) is rng
    assert generator(3).random() == np.random.default_rng(3).random()
    assert child(1, 2, 3).random() == child(1, 2, 3).random()
    assert len({child(1, k).random() for k in range(50)} | {child(2, k).random() for k in range(50)}) == 100


class TestFrames:
    def test_logs_as_a_frame_can_be_read_again(self) -> None:
        logs = Logs(
            x=[[0.5, 1.0], [1.5, 0.0], [2.5, 1.0], [3.5, 1.0]], treatment=[0, 1, 0, 1], value=[0, 1, 1, 1], cost=[0, 2, 0, 2],
            treatments=("none", "2 off"), features=("age", "vip"), unit=["a", "b", "c", "d"], weight=[1, 2, 1, 1],
        )  # fmt: skip
        frame = logs.to_frame()
        assert list(frame.columns) == ["age", "vip", "treatment", "value", "cost", "unit", "weight"]
        assert frame["treatment"].tolist() == ["none", "2 off", "none", "2 off"]
        again = largesse.read(frame, treatment="treatment", value="value", cost="cost", unit="unit", weight="weight")
        for name in ("x", "treatment", "value", "cost", "unit", "weight", "propensity"):
            np.testing.assert_array_equal(getattr(again, name), getattr(logs, name), name)

    def test_only_probabilities_given_by_row_are_a_column(self) -> None:
        rows = {"x": [[0.0]] * 4, "treatment": [0, 1, 0, 1], "value": [0, 1, 1, 1], "cost": [0, 2, 0, 2]}
        assert "propensity" not in Logs(**rows, propensity={"0": 0.5, "1": 0.5}).to_frame()
        assert Logs(**rows, propensity=[0.4, 0.6, 0.4, 0.6]).to_frame()["propensity"].tolist() == [0.4, 0.6, 0.4, 0.6]

    def test_a_feature_with_the_name_of_another_column_is_refused(self) -> None:
        logs = Logs(x=[[0.0], [1.0]], treatment=[0, 1], value=[0, 1], cost=[0, 1], features=("value",))
        with pytest.raises(DataError, match=r"^features == 'value': is the name of another column\. Rename"):
            logs.to_frame()

    def test_a_menu_as_a_frame_has_the_columns_that_plan_reads(self) -> None:
        menu = Menu(
            value=[[0.0, 3.0], [0.0, 1.0]], cost=[[0.0, 1.0]] * 2, treatments=("none", "coupon"), unit=["a", "b"]
        )
        assert menu.to_frame().to_dict("list") == {
            "unit": ["a", "b"], "value_none": [0.0, 0.0], "value_coupon": [3.0, 1.0],
            "cost_none": [0.0, 0.0], "cost_coupon": [1.0, 1.0],
        }  # fmt: skip
