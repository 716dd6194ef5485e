"""The plan of a test: assignment, interim looks without inflated false positives, sample sizes with the planned power."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from typer.testing import CliRunner

from largesse import Logs, Menu, compare, frames
from largesse.cli.app import app
from largesse.errors import DataError
from largesse.evaluate import Bootstrap
from largesse.experiment import Sample, always_valid, assign, boundaries, inflation, means, plan_test, promise, replay
from largesse.experiment.design.looks import crossing
from largesse.experiment.design.plan import check_test

IDS = [f"user-{k}" for k in range(20_000)]
SHARES = {"A": 0.45, "B": 0.45, "holdout": 0.1}


# ---- assignment


def test_arms_have_their_shares_and_are_independent_of_other_experiments():
    one, other = (assign(IDS, SHARES, salt=salt) for salt in ("spring", "summer"))
    observed = np.array([[np.sum((one == a) & (other == b)) for b in SHARES] for a in SHARES])
    assert stats.chisquare(observed.sum(axis=1), 20_000 * np.array([0.45, 0.45, 0.1])).pvalue > 0.01
    assert stats.chi2_contingency(observed).pvalue > 0.01
    assert (
        stats.chi2_contingency(np.array([np.unique(one[k::7], return_counts=True)[1] for k in range(7)])).pvalue > 0.01
    )


def test_an_assignment_can_be_recomputed():
    first = assign(IDS, SHARES, salt="spring")
    np.testing.assert_array_equal(first, assign(iter(IDS), {"A": 45, "B": 45, "holdout": 10}, salt="spring"))
    np.testing.assert_array_equal(first[::-1], assign(IDS[::-1], SHARES, salt="spring"))
    assert assign([7, "7"], SHARES, salt="x").tolist() == assign(["7", 7], SHARES, salt="x").tolist()
    wider = assign(IDS, {"A": 0.5, "B": 0.4, "holdout": 0.1}, salt="spring")
    assert (wider[first == "A"] == "A").all()
    assert (wider[first == "holdout"] == "holdout").all()


def test_an_assignment_refuses():
    for shares, salt in (({"A": 1.0}, "x"), (SHARES, ""), ({"A": 1.0, "B": -1.0}, "x")):
        with pytest.raises(DataError):
            assign(["u"], shares, salt=salt)


def test_the_command_assigns_rows_by_unit(tmp_path: Path):
    users = pa.table({"user": [f"user-{k % 500}" for k in range(1000)]})
    frames.write(users, tmp_path / "users.parquet")
    words = ["assign", str(tmp_path / "users.parquet"), "--unit", "user", "--shares", "A=45,B=45,holdout=10"]
    out = tmp_path / "arms.csv"
    done = CliRunner().invoke(app, [*words, "--salt", "spring", "-o", str(out), "--json"])
    arms = frames.read(out)
    wanted = assign(users["user"].to_pylist(), SHARES, salt="spring")
    assert arms["arm"].to_pylist() == wanted.tolist()
    assert arms["unit"] == users["user"]
    assert json.loads(done.stdout)["arms"] == {arm: int((wanted == arm).sum()) for arm in SHARES}
    text = CliRunner().invoke(app, [*words, "--salt", "spring", "-o", str(out)], env={"COLUMNS": "200"}).output
    assert "holdout" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [({"--unit": "id"}, "'id'"), ({"--shares": "A=1"}, "two arms"), ({"--salt": ""}, "salt"),
     ({"-o": "x/arms.csv"}, "there is no folder"), ({"-o": "arms.txt"}, ".parquet"),
     ({"-o": "users.parquet"}, "would overwrite")],
)  # fmt: skip
def test_the_command_refuses_and_leaves_nothing(change: dict[str, str], message: str, tmp_path: Path):
    frames.write(pa.table({"user": ["a", "b"]}), tmp_path / "users.parquet")
    given = {"--unit": "user", "--shares": "A=1,B=1", "--salt": "s", "-o": "arms.csv"} | change
    given["-o"] = str(tmp_path / given["-o"])
    done = CliRunner().invoke(
        app, ["assign", str(tmp_path / "users.parquet"), *(w for pair in given.items() for w in pair)]
    )
    assert message in str(done.exception), done.output
    assert [file.name for file in tmp_path.iterdir()] == ["users.parquet"]


# ---- looks


def test_boundaries_are_the_published_ones():
    quarters = [0.25, 0.5, 0.75, 1.0]
    np.testing.assert_allclose(boundaries(quarters), [4.333, 2.963, 2.359, 2.014], atol=2e-3)
    np.testing.assert_allclose(boundaries(quarters, spending="pocock"), [2.368, 2.368, 2.358, 2.350], atol=3e-3)
    np.testing.assert_allclose(boundaries([1.0]), stats.norm.isf(0.025), atol=1e-6)
    assert crossing(quarters, boundaries(quarters, alpha=0.1)).sum() == pytest.approx(0.1, abs=1e-6)


def paths(drift: float, n: int = 100_000, looks: int = 5) -> np.ndarray:
    """z-values at evenly spaced looks."""
    steps = np.random.default_rng(1).normal(drift / looks, 1 / looks**0.5, (n, looks))
    return steps.cumsum(axis=1) / np.sqrt(np.arange(1, looks + 1) / looks)


def test_peeking_is_safe_within_the_boundaries_and_not_without():
    shares = np.arange(1, 6) / 5
    null = paths(0.0)
    assert (np.abs(null) > 1.96).any(axis=1).mean() > 0.13
    for spending in ("obrien-fleming", "pocock"):
        z = boundaries(shares, spending=spending)  # type: ignore[arg-type]
        assert (np.abs(null) > z).any(axis=1).mean() == pytest.approx(0.05, abs=0.0025)
        grown = (stats.norm.isf(0.025) + stats.norm.ppf(0.8)) * inflation(shares, spending=spending) ** 0.5  # type: ignore[arg-type]
        assert (np.abs(paths(grown)) > z).any(axis=1).mean() == pytest.approx(0.8, abs=0.004)


def test_always_valid_intervals_hold_at_every_look():
    rng = np.random.default_rng(0)
    significant, covered = [], []
    for _ in range(150):
        mean = rng.normal(size=2000).cumsum() / np.arange(1, 2001)
        looks = range(20, 2000, 20)
        each = [always_valid(mean[k], (k + 1) ** -0.5, scale=0.1) for k in looks]
        significant.append(min(a.p_value for a in each) < 0.05)
        covered.append(all(a.low <= 0 <= a.high for a in each))
    assert np.mean(significant) <= 0.05 + 0.05
    assert significant == [not c for c in covered]
    sure = always_valid(1.0, 0.1, scale=0.5)
    assert sure.p_value < 1e-6
    assert sure.low < 1 - 1.96 * 0.1
    assert always_valid(0.0, 0.1, scale=0.5).p_value == 1


def test_looks_refuse():
    for shares in ([0.5, 0.4, 1.0], [0.5], [0.0, 1.0], [0.5, 1.5]):
        with pytest.raises(DataError, match="must increase from above 0 to 1"):
            boundaries(shares)
    with pytest.raises(DataError, match="spending"):
        boundaries([1.0], spending="all")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="se"):
        always_valid(1.0, 0.0, scale=1.0)
    with pytest.raises(DataError, match="power"):
        inflation([1.0], power=1.0)


# ---- the plan


def past(n: int = 3000) -> Sample:
    rng = np.random.default_rng(0)
    g = rng.normal(size=n)
    return Sample(value=10 + g + rng.normal(size=n), arm=np.arange(n) % 2, arms=("A", "B"), prediction=g)


def test_the_planned_units_give_the_planned_power():
    history = replay(past(), draws=100)
    plan = plan_test(history, effect=0.25, shares=SHARES, per_day=100, metric="gmv", unit="user")
    plain, cupac = plan["difference in means"], plan["CUPAC"]
    single = past().value.var()
    assert plain.units == pytest.approx(single * (2 / 0.45) * 2.8016**2 / 0.25**2, rel=0.3)
    assert cupac.units == pytest.approx(0.5 * plain.units, rel=0.3)
    assert cupac.days == cupac.units / 100
    rng, significant = np.random.default_rng(5), []
    for _ in range(300):
        value = rng.choice(past().value, (2, round(0.45 * plain.units)))
        significant.append(stats.ttest_ind(value[0] + 0.25, value[1]).pvalue < 0.05)
    assert np.mean(significant) == pytest.approx(0.8, abs=0.12)
    assert plain.half_width == pytest.approx(1.96 * 0.25 / 2.8016, rel=1e-3)
    peeked = plan_test(history, effect=0.25, shares=SHARES, looks=(0.5, 1.0))
    assert peeked["CUPAC"].units == pytest.approx(inflation((0.5, 1.0)) * cupac.units, rel=1e-3)
    assert len(peeked.z) == 2
    assert np.isnan(peeked["CUPAC"].days)
    assert dict(plan.shares)["holdout"] == pytest.approx(0.1)


def binary(rng: np.random.Generator, n: int, effect: float, arm: Any) -> dict[str, Any]:
    return {"value": (rng.random(n) < 0.1 + effect * arm) * 1.0}


def heavy(rng: np.random.Generator, n: int, effect: float, arm: Any) -> dict[str, Any]:
    return {"value": np.exp(rng.normal(size=n)) + effect * arm}


def predicted(rng: np.random.Generator, n: int, effect: float, arm: Any) -> dict[str, Any]:
    g = rng.normal(size=n)
    return {"value": 10 + g + rng.normal(size=n) + effect * arm, "prediction": g}


def clustered(rng: np.random.Generator, n: int, effect: float, arm: Any) -> dict[str, Any]:
    code = np.repeat(np.arange(n), rng.integers(2, 9, n))
    return {"value": (rng.normal(size=n) + effect * arm)[code] + rng.normal(size=len(code)), "cluster": code}


def drawn(world: Any, rng: np.random.Generator, arm: Any, effect: float) -> Sample:
    rows = world(rng, len(arm), effect, arm)
    return Sample(
        arm=(arm if "cluster" not in rows else arm[rows["cluster"]]).astype(np.int32), arms=("A", "B"), **rows
    )


@pytest.mark.parametrize(
    ("world", "effect", "share", "method"),
    [(binary, 0.04, 0.5, "difference in means"), (binary, 0.05, 0.1, "difference in means"),
     (binary, -0.04, 0.2, "difference in means"), (heavy, 0.25, 0.2, "difference in means"),
     (heavy, -0.25, 0.2, "difference in means"), (predicted, 0.25, 0.5, "CUPAC"), (predicted, 1.0, 0.5, "CUPAC"),
     (predicted, 1.0, 0.2, "difference in means"), (clustered, 0.5, 0.5, "difference in means")],
)  # fmt: skip
def test_realised_power_is_the_planned_one(world: Any, effect: float, share: float, method: str):
    """1,500 tests of the planned size; the standard error of their power is .01."""
    rng = np.random.default_rng(21)
    past_units = 100_000 if world is heavy else 20_000  # a smaller history does not know the tail
    history = replay(drawn(world, rng, np.arange(past_units) % 2, 0.0), draws=20)
    units = plan_test(history, effect=effect, shares={"A": 1 - share, "B": share})[method].units
    significant = 0
    for _ in range(1500):
        arm = (rng.permutation(units) < round(share * units)).astype(int)
        one = {e.method: e for e in means(drawn(world, rng, arm, effect), 1)}[method]
        significant += one.low > 0 or one.high < 0
    assert 0.77 < significant / 1500 < 0.84


def test_the_draws_of_a_replay_hardly_move_the_units():
    """The spread of 50 estimates is uncertain by 20 % of the variance; the standard errors hardly vary."""
    units = [plan_test(replay(past(600), draws=50, seed=k), effect=0.5, shares=SHARES)["CUPAC"].units for k in range(6)]
    assert max(units) < 1.02 * min(units)


def test_where_standard_errors_are_wrong_the_spread_counts():
    history = replay(past(600), draws=100)
    plain = history.rows[0]
    wrong = replace(history, rows=(plain._replace(se=0.5 * plain.sd),))
    right = replace(history, rows=(plain._replace(se=plain.sd),))
    given = {"effect": 0.5, "shares": SHARES}
    assert plan_test(wrong, **given).rows[0].units == plan_test(right, **given).rows[0].units  # type: ignore[arg-type]


def test_a_plan_of_a_metric_of_0_and_1():
    arm = np.arange(4000) % 2
    history = replay(Sample(value=(np.arange(4000) % 5 == 0) * 1.0, arm=arm, arms=("A", "B")), draws=20)
    same = {"A": 0.5, "B": 0.5}
    units = plan_test(history, effect=0.05, shares=same)["difference in means"].units
    assert units == pytest.approx(2 * (0.2 * 0.8 + 0.25 * 0.75) * 2.8016**2 / 0.05**2, rel=0.005)
    with pytest.raises(DataError, match=r"effect == 0\.9: the metric is 0 or 1 with a mean of 0\.2"):
        plan_test(history, effect=0.9, shares=same)


def test_a_plan_refuses():
    history = replay(past(200), draws=20)
    for given in (
        {"effect": 0.0},
        {"shares": {"A": 1.0}},
        {"power": 1.0},
        {"per_day": 0.0},
        {"shares": {"A": 1, "B": -1}},
    ):
        with pytest.raises(DataError, match=next(iter(given))):
            plan_test(history, **({"effect": 1.0, "shares": SHARES} | given))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="method"):
        plan_test(history, effect=1.0, shares=SHARES)["CUPED"]


def test_a_comparison_promises_an_effect():
    rng = np.random.default_rng(0)
    x, t = rng.random((4000, 1)), np.arange(4000) % 2
    logs = Logs(x=x, treatment=t, value=(rng.random(4000) < 0.2 + 0.6 * t * (x[:, 0] > 0.5)), cost=t * 1.0)
    good = Menu(value=np.column_stack([0 * x, x]), cost=np.tile([0.0, 1.0], (4000, 1)))
    bad = Menu(value=np.column_stack([0 * x, 1 - x]), cost=np.tile([0.0, 1.0], (4000, 1)))
    table = compare(logs, {"old": bad, "new": good}, [0.3, 0.5], bootstrap=Bootstrap(draws=60))
    predicted = promise(table, "new", "old", budget_index=1)
    versus = table.against("old")
    assert predicted.effect == versus.difference[1, 1]
    assert predicted.low < predicted.effect < predicted.high
    assert predicted.low > 0
    with pytest.raises(DataError, match="budget_index"):
        promise(table, "new", "old", budget_index=2)


def test_the_numbers_about_looks_on_the_page():
    assert inflation([0.25, 0.5, 0.75, 1.0]) == pytest.approx(1.02, abs=0.005)
    steps = np.random.default_rng(0).normal(size=(100_000, 5))
    z = np.cumsum(steps, axis=1) / np.sqrt(np.arange(1, 6))
    assert (np.abs(z) > 1.96).any(axis=1).mean() == pytest.approx(0.14, abs=0.005)


@pytest.mark.parametrize("effect", [0.0, 5e-324, -1e-200, -1e308, float("nan"), float("inf")])
def test_effects_that_no_test_can_have_are_refused(effect):
    with pytest.raises(DataError, match="effect =="):
        check_test(effect=effect, shares={"A": 0.5, "B": 0.5}, power=0.8, per_day=None, looks=())
