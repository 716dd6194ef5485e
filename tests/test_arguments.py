"""Arguments of the wrong kind are refused in every public function, with the name of the argument and the kind it must be."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import ArrayLike, NDArray

import largesse
from largesse import Boosting, Logs, Menu, Policy, Roles, compare, outcome_curve, solve
from largesse._arguments import checked, verify
from largesse.allocate import Count, Pacer, audit, grid, solve_under, taken_interval
from largesse.config import Budget, Columns, Config
from largesse.errors import ConfigError, DataError, LargesseError, NotFittedError, SchemaError
from largesse.evaluate import arm_means
from largesse.experiment import Cupac, Metric, always_valid, contrast, plan_test
from largesse.models import MLP, PPL, Stack
from largesse.report import CurveLine, Headline, write_plan
from largesse.roles import label

PACKAGES = (
    "largesse", "largesse.allocate", "largesse.checks", "largesse.config", "largesse.datasets", "largesse.evaluate",
    "largesse.experiment", "largesse.frames", "largesse.models", "largesse.policy", "largesse.report", "largesse.serving",
    "largesse.simulate", "largesse.store", "largesse.logs", "largesse.menu", "largesse.roles",
)  # fmt: skip
# What a table, a seed or the settings of a world may be is judged by the function itself.
JUDGED_LATER = {"table", "source", "seed", "difficulty", "scores", "path_or_buf", "name", "parts"}
PLAIN = {"label", "labels", "nest", "read"}  # functions of anything


def functions() -> list[Any]:
    names = {}
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", ()):
            found = getattr(module, name)
            if inspect.isfunction(found) and found.__module__.startswith("largesse") and name not in PLAIN:
                names[f"{found.__module__}.{name}"] = found
    return [pytest.param(function, id=name) for name, function in sorted(names.items())]


class Other:
    """Nothing that any function takes."""


@pytest.mark.parametrize("function", functions())
def test_every_public_function_refuses_another_kind_of_argument(function):
    checked_function = getattr(function, "__wrapped__", None)
    assert checked_function is not None, "not decorated by `checked`"
    for name, parameter in inspect.signature(function).parameters.items():
        if name in JUDGED_LATER or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        with pytest.raises(SchemaError, match=f"^{name} == .*: must be .*it is an? Other. See help"):
            verify(checked_function, {name: Other()})


@runtime_checkable
class Blocks(Protocol):
    def blocks(self) -> Iterable[int]: ...


class Unjudged(Protocol):
    def anything(self) -> int: ...


def _sample(
    number: float = 0.0,
    whole: int = 0,
    text: str = "",
    flag: bool = False,
    menu: Menu | None = None,
    place: str | Path = "",
    clip: Literal["fix", "max"] = "fix",
    either: float | Literal["fit"] = 0.0,
    names: Sequence[str] = (),
    pair: tuple[float, float] = (0.0, 0.0),
    budgets: float | Sequence[float] | NDArray[Any] = 0.0,
    rows: ArrayLike = (),
    arrays: NDArray[np.float64] | None = None,
    weights: Mapping[str, float] | None = None,
    read: Callable[[], int] = int,
    source: Blocks | None = None,
    noted: Annotated[int, "note"] = 0,
    unjudged: Unjudged | None = None,
    anything: Any = None,
    parts: Iterable[int] = (),
) -> None:
    """Has one parameter of each kind."""


MENU = Menu(value=[[0.0, 1.0]], cost=[[0.0, 1.0]])
RIGHT = {
    "number": (1, 2.5, np.float32(1), np.int64(3), True, np.array(2.0), float("nan")),
    "whole": (1, np.int32(3), True),
    "text": ("", "a"),
    "flag": (True, np.bool_(False)),
    "menu": (None, MENU),
    "place": ("a", Path("a")),
    "clip": ("fix", "another word"),  # the values are judged later
    "either": (0.5, "fit"),
    "names": ((), ["a"], np.array(["a", "b"]), {"a"}),
    "pair": ((1, 2), [0.5, 2.0], np.zeros(2)),
    "budgets": (1.0, [1.0, 2], np.arange(3), (5,)),
    "rows": ([[1.0]], np.zeros(3), pa.array([1, 2]), range(3)),
    "arrays": (None, np.zeros(2), [1.0]),
    "weights": (None, {}, {"a": 1, "b": 0.5}, {1: 1.0}),
    "read": (int, lambda: 0),
    "noted": (3,),
    "unjudged": (None, 3, "x"),
    "anything": (None, object()),
    "parts": ((k for k in (1, 2)), [1]),
}
WRONG = {
    "number": ("1", None, [1.0], np.zeros(3), 1j, b"1", np.array("a")),
    "whole": (1.5, 2.0, "1", None),
    "text": (b"a", 1, None, ["a"], Path("a")),
    "flag": (1, "true", None),
    "menu": ([[0.0]], "menu", Menu),
    "place": (1, None, b"a"),
    "clip": (1, None, ["fix"]),
    "either": (None, ["fit"]),
    "names": ("a", 3, None, [1], ["a", "b", 1, "c"], {"a": 1}, (k for k in "ab"), np.array([1, 2])),
    "pair": ((1,), (1, 2, 3), ("a", 1), 3, None, np.zeros(3)),
    "budgets": (None, "1", {"a": 1}),
    "rows": (None, "a", 3, {1, 2}, object()),
    "arrays": ("a", 3, {"a": 1}),
    "weights": ([1], {"a": "b"}, "a"),
    "read": (3, None, "int"),
    "source": (3, "a", [1]),
    "noted": ("3", 0.5),
    "parts": (3, "ab", ["a"], None),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_kinds_pass(name):
    for got in RIGHT[name]:
        checked(_sample)(**{name: got})


@pytest.mark.parametrize("name", WRONG)
def test_wrong_kinds_are_refused(name):
    for got in WRONG[name]:
        with pytest.raises(SchemaError, match=f"^{name} == (?s:.)*: must be .* See help\\(_sample\\)."):
            checked(_sample)(**{name: got})


def test_missing_and_unknown_arguments_stay_pythons_own_error():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'budget'"):
        solve(MENU)
    with pytest.raises(TypeError, match="unexpected keyword argument 'nope'"):
        solve(MENU, 1.0, nope=1)


def test_the_message_shows_no_large_array():
    with pytest.raises(SchemaError) as refusal:
        solve(np.zeros((1000, 50)), 1.0)
    assert str(refusal.value) == "menu == <ndarray (1000, 50)>: must be a Menu, it is an array. See help(solve)."


def test_the_signature_and_the_doc_stay():
    assert list(inspect.signature(solve).parameters) == ["menu", "budget", "n_threads"]
    assert str(solve.__doc__).startswith("Returns the best plan within a budget")


LOGS = Logs(
    x=np.arange(8.0).reshape(4, 2), treatment=[0, 1, 0, 1], value=[0.0, 1.0, 1.0, 2.0], cost=[0.0, 1.0, 0.0, 1.0],
    treatments=("none", "10 off"),
)  # fmt: skip
CURVE = outcome_curve(LOGS, Menu(value=[[0.0, 2.0]] * 4, cost=[[0.0, 1.0]] * 4, treatments=LOGS.treatments))
CALLS: dict[str, Callable[[], Any]] = {
    "compare a number": lambda: compare(3, {"a": MENU}, [1.0]),
    "compare text as policies": lambda: compare(LOGS, "policies", [1.0]),
    "compare no menus": lambda: compare(LOGS, {"a": 1}, [1.0]),
    "compare a text as budget": lambda: compare(LOGS, {"a": LOGS}, "1"),
    "curve of logs": lambda: outcome_curve(LOGS, LOGS),
    "price that is text": lambda: outcome_curve(LOGS, Menu(value=np.zeros((4, 2)), cost=np.zeros((4, 2)))).at_price(
        "dear"
    ),
    "value at a menu": lambda: outcome_curve(LOGS, Menu(value=np.zeros((4, 2)), cost=np.zeros((4, 2)))).value_at(MENU),
    "frontier at text": lambda: largesse.frontier(MENU).value_at("dear"),
    "grid of a huge integer": lambda: grid(MENU, 10**400),
    "solve under a number": lambda: solve_under(MENU, 3.0),
    "rules that are text": lambda: solve_under(MENU, ["spend"]),
    "count of nothing": lambda: Count(treatment=3, at_most="many"),
    "audit of a code that is not there": lambda: audit(MENU, np.array([7])),
    "audit of too many units": lambda: audit(MENU, np.array([0, 1])),
    "rows out of range": lambda: MENU.take([5]),
    "rows that are a text": lambda: LOGS.take("all"),
    "a mask of another length": lambda: LOGS.take(np.ones(3, bool)),
    "other rows": lambda: LOGS.without_units_of([1, 2]),
    "pacer with a history of numbers": lambda: Pacer(1.0, 10, history=[1.0]),
    "pacer with keys that are a number": lambda: Pacer(1.0, 10).decide_many([[0.0, 1.0]], [[0.0, 1.0]], keys=3),
    "a budget that is no number": lambda: CURVE.split_at([float("nan")]),
    "codes that are one number": lambda: taken_interval(MENU, np.float32(1)),
    "ids that are one number": lambda: Menu(value=[[0.0, 1.0]], cost=[[0.0, 1.0]], unit=3),
    "weights of two axes": lambda: arm_means(LOGS, np.ones((4, 2))),
    "too many weights": lambda: arm_means(LOGS, np.ones(5)),
    "an effect beyond all amounts": lambda: always_valid(-1e308, 1.0, scale=1.0),
    "a class as control": lambda: Roles(treatment="t", value="y", control=int, treatments=("a", "b")),
    "budgets that are complex": lambda: largesse.frontier(MENU).value_at(np.zeros(3, complex)),
    "columns that are a number": lambda: largesse.frames.read({"a": [1]}, columns=3),
    "columns of arrays": lambda: largesse.frames.read({"a": [1]}, columns=np.zeros((2, 2))),
    "names that are a class": lambda: Menu(value=[[0.0, 1.0]], cost=[[0.0, 1.0]], treatments=int),
    "policy from a number": lambda: Policy.load(3),
    "policy of no model": lambda: Policy.calibrated("model", LOGS),
    "model on a table": lambda: Boosting().fit([[1.0]]),
    "model with text as rounds": lambda: Boosting(rounds="many").fit(LOGS),
    "network with text as members": lambda: MLP(members="many").fit(LOGS),
    "stack of numbers": lambda: Stack(models=(1, 2)).fit(LOGS),
    "menu of a model without fit": lambda: Boosting().menu(3),
    "loss at a number": lambda: PPL(budgets="even more"),
    "roles with a number": lambda: Roles(treatment=3, value="y"),
    "label of an array": lambda: label(np.zeros(3)),
    "metric of an array": lambda: Cupac(np.zeros(3)),
    "pair of no rows": lambda: contrast(3, 1),
    "plan for a number": lambda: plan_test(3, effect=1.0, shares={"a": 0.5, "b": 0.5}),
    "headline without words": lambda: Headline(title=1, sentence=2),
    "line of a table": lambda: CurveLine(name="a", cost=np.zeros((2, 2)), value=[1.0, 2.0]),
    "page of no plan": lambda: write_plan(None, Path("folder"), title=""),
    "parts of a store": lambda: largesse.store.nest(base=3),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_with_wrong_arguments_are_refused_in_plain_words(name):
    with pytest.raises(LargesseError) as refusal:
        CALLS[name]()
    words = str(refusal.value)
    assert len(words) > 20
    assert not any(
        part in words for part in ("NoneType", "object has no attribute", "not subscriptable", "ufunc", "dtype(")
    )


@pytest.mark.parametrize(
    "model", [Boosting(), MLP(), Stack(models=(Boosting(),))], ids=lambda model: type(model).__name__
)
def test_a_model_that_is_not_fitted_has_no_menu_and_no_state(model):
    response = Boosting(rounds=2).fit(LOGS).predict_response(LOGS.x)
    for use in (lambda: model.menu(response), model.state, lambda: model.predict(LOGS.x)):
        with pytest.raises(NotFittedError, match=r"not fitted. Call fit\(rct, obs\) first"):
            use()


class TestSectionsBuiltInPython:
    def test_a_wrong_value_reads_as_in_a_file(self):
        with pytest.raises(ConfigError, match="^Budget: budget.shares == 'all': must be a list"):
            Budget(shares="all")

    def test_all_fields_are_named(self):
        with pytest.raises(ConfigError) as refusal:
            Columns(treatment=3, nope=1)
        words = str(refusal.value)
        assert words.startswith("Columns: 3 fields break a rule:")
        assert "columns.treatment == 3: must be text" in words
        assert "columns.value is missing: it is required" in words
        assert "columns.nope == 1: unknown key" in words

    def test_a_whole_configuration(self):
        with pytest.raises(ConfigError, match="data == 3: must be a table"):
            Config(data=3, columns=Columns(treatment="arm", value="y"))


def test_labels_keep_their_digits():
    assert [label(got) for got in (10**60, np.int64(3), np.array(2.0), 2.5)] == ["1" + "0" * 60, "3", "2", "2.5"]


def test_a_metric_is_a_metric():
    with pytest.raises(SchemaError, match="metrics == .*must be a sequence, each entry a Metric"):
        largesse.experiment.Columns(arm="arm", metrics=("orders",))
    assert largesse.experiment.Columns(arm="arm", metrics=[Metric("orders")]).metrics == (Metric("orders"),)


def test_numbers_beyond_floats_are_data_errors():
    with pytest.raises(DataError, match="budgets == 1000"):
        grid(MENU, 10**400)
