"""How much a trial can tell: the stated errors are those of repeated trials, and the advice follows the size."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from largesse import frames, simulate
from largesse.checks.finding import Floats
from largesse.checks.soundness import check
from largesse.checks.trial_power import Power, power
from largesse.cli import show
from largesse.cli.app import app
from largesse.commands.fit import fit
from largesse.config import load
from largesse.errors import DataError
from largesse.evaluate.curve import outcome_curve
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.progress import Note
from tests.common.campaigns import TEXT, table

SPREAD = 0.1  # of a standard deviation over 200 or 400 trials; its own error is 5 or 3.5 %


def trial(n: int = 4000, seed: int = 0, m: int = 2, effect: float = 0.1, **columns: object) -> Logs:
    """Orders (0/1), more with every level; a level costs money if the unit orders, and a little in any case."""
    rng = np.random.default_rng(seed)
    t = np.r_[np.arange(m), rng.integers(0, m, n - m)]
    order = (rng.random(n) < 0.1 + effect * np.sqrt(t)).astype(float)
    said = {"propensity": "uniform"} | columns
    return Logs(x=rng.random((n, 1)), treatment=t, value=order, cost=t * (order + 0.5), **said)  # type: ignore[arg-type]


def varied(n: int = 4000, seed: int = 0) -> Logs:
    """A trial whose probabilities differ between units, with weights: both of them tell of the outcome."""
    rng = np.random.default_rng(seed)
    x = rng.random((n, 1))
    p = 0.2 + 0.6 * x[:, 0]
    t = (rng.random(n) < p).astype(int)
    order = (rng.random(n) < 0.1 + 0.3 * x[:, 0] + 0.1 * t).astype(float)
    return Logs(
        x=x, treatment=t, value=order, cost=t * order, design="obs", propensity=np.where(t == 1, p, 1 - p),
        weight=0.5 + 3 * x[:, 0],
    )  # fmt: skip


MONEY_OFF = simulate.money_off(n_features=40)
TWIN = simulate.criteo_twin()
TRIALS = {
    "two arms": trial,
    "two arms, own shares": lambda n, k: trial(n, k, propensity="observed", effect=0.5),
    "five arms": lambda n, k: trial(n, k, m=5),
    "own shares, weights": lambda n, k: replace(
        trial(n, k, m=3), propensity="observed", weight=np.random.default_rng(k).lognormal(size=n)
    ),
    "probabilities by unit, weights": varied,
    "money off": MONEY_OFF.rct,
    "twin": TWIN.rct,
}


def net(logs: Logs, price: float) -> Floats:
    return logs.inverse_propensity * (logs.value - price * logs.cost)


@pytest.mark.parametrize("name", TRIALS)
def test_the_errors_are_those_of_repeated_trials(name: str):
    make, n, large = TRIALS[name], 4000, 160_000
    planned = power(make(large, 10_000))
    error, difference = (e[0] * np.sqrt(large / n) for e in (planned.standard_error, planned.standard_error_difference))
    price, mix = planned.price[0], planned.mix[0]
    a, b = np.flatnonzero(mix)
    single, paired = [], []
    for k in range(200 if name in ("money off", "twin") else 400):
        logs, rng = make(n, k), np.random.default_rng([k, 1])
        y = net(logs, price)
        decided = rng.choice(len(mix), n, p=mix)
        single.append(y @ (logs.treatment == decided) / logs.total_weight)
        u = rng.random(n)  # two policies: on a tenth of the units one gives a and the other b, on another tenth b and a
        one = np.where(u < 0.2, np.where(u < 0.1, a, b), decided)
        other = np.where(u < 0.2, np.where(u < 0.1, b, a), decided)
        paired.append(y @ (1.0 * (logs.treatment == one) - (logs.treatment == other)) / logs.total_weight)
    assert np.std(single) == pytest.approx(error, rel=SPREAD)
    assert np.std(paired) == pytest.approx(difference, rel=SPREAD)
    assert abs(np.mean(paired)) < 0.3 * difference  # neither of them is better


@pytest.mark.parametrize("name", ["two arms", "own shares, weights", "probabilities by unit, weights"])
def test_a_small_trial_says_it_too(name: str):
    planned = power(TRIALS[name](160_000, 10_000))
    said = [power(TRIALS[name](4000, k), planned.budgets) for k in range(50)]
    for field in ("standard_error", "standard_error_difference"):
        mean = np.mean([getattr(f, field)[0] for f in said])
        assert mean == pytest.approx(getattr(planned, field)[0] * np.sqrt(40), rel=0.05)


def test_at_a_budget_the_value_of_a_curve_has_that_error():
    """With random scores, money buys the mean effect: the price of money is the slope of the arms' frontier."""
    values, differences, errors = [], [], []
    for k in range(400):
        logs = trial(seed=k, effect=0.4)
        score = np.random.default_rng([k, 1]).random((2, logs.n))
        found = power(logs, [0.3], disagreement=0.42)
        s = found.mix[0, 1]
        errors.append([found.standard_error[0], found.standard_error_difference[0] * np.sqrt(2 * s * (1 - s) / 0.42)])
        menus = [Menu(value=np.column_stack([0 * u, u]), cost=np.tile([0.0, 1.0], (logs.n, 1))) for u in score]
        pair = [float(outcome_curve(logs, menu).value_at(0.3)) for menu in menus]
        values.append(pair[0])
        differences.append(pair[0] - pair[1])
    error, difference = np.sqrt(np.mean(np.square(errors), axis=0))
    assert np.std(values) == pytest.approx(error, rel=SPREAD)
    assert np.std(differences) == pytest.approx(difference, rel=SPREAD)


def test_a_true_improvement_of_that_size_is_found_four_times_in_five():
    n, share = 20_000, 0.2
    planned = power(trial(n, seed=99), [0.35])
    price, size = planned.price[0], planned.detectable[0]
    found = []
    for k in range(500):
        logs = trial(n, seed=k)
        u = np.random.default_rng([k, 1]).random(n)
        one, other = u < 0.5, (u < 0.4) | ((u > 0.5) & (u < 0.6))  # treated by one policy, by the other
        # the units that `one` alone treats gain more from it by 2 · size / share, in all others nothing changes
        lift = 2 * size / share * (one & ~other) * (logs.treatment == 1)
        rows = logs.inverse_propensity * (logs.value + lift - price * logs.cost)
        signed = rows * (1.0 * (logs.treatment == one) - (logs.treatment == other))
        z = signed.mean() / (signed.std() / np.sqrt(n))
        found.append(abs(z) > 1.96)
    assert 0.74 <= np.mean(found) <= 0.86


# ---- algebra


def test_twice_the_rows_divide_every_error_by_the_square_root_of_two():
    logs = trial(m=3, propensity={"0": 0.5, "1": 0.3, "2": 0.2})
    one, two = power(logs), power(logs.take(np.tile(np.arange(logs.n), 2)))
    for name in ("standard_error", "standard_error_difference", "detectable", "relative"):
        np.testing.assert_allclose(getattr(two, name), getattr(one, name) / np.sqrt(2), rtol=1e-9)
    np.testing.assert_allclose(two.rows_needed, one.rows_needed, rtol=1e-9)


def test_a_weight_is_so_many_units_but_one_draw():
    logs = trial(m=3, propensity="uniform")
    plain, heavy = power(logs), power(replace(logs, propensity="uniform", weight=np.full(logs.n, 2.0)))
    twice = power(logs.take(np.repeat(np.arange(logs.n), 2)))
    for name in ("standard_error", "standard_error_difference", "detectable", "price", "bought"):
        np.testing.assert_allclose(getattr(heavy, name), getattr(plain, name), rtol=1e-9)
    np.testing.assert_allclose(heavy.bought, twice.bought, rtol=1e-9)
    np.testing.assert_allclose(twice.standard_error, heavy.standard_error / np.sqrt(2), rtol=1e-9)


@pytest.mark.parametrize(("value", "money"), [(8.0, 1.0), (1.0, 8.0), (0.125, 8.0)])
def test_units_of_value_and_money_change_the_numbers_and_not_the_advice(value: float, money: float):
    logs = trial(m=4)
    scaled = replace(logs, propensity="uniform", value=logs.value * value, cost=logs.cost * money)
    budgets = np.array([0.2, 0.6, 9.0])
    one, two = power(logs, budgets), power(scaled, budgets * money)
    for name in ("standard_error", "standard_error_difference", "detectable", "bought"):
        assert (getattr(two, name) == getattr(one, name) * value).all(), name
    assert (two.price == one.price * value / money).all()
    for name in ("relative", "differing", "rows_needed", "mix"):
        assert (getattr(two, name) == getattr(one, name)).all(), name
    assert (two.advice, two.status) == (one.advice, one.status)


def test_errors_go_with_the_square_root_of_the_share_that_differs_and_of_the_proof():
    logs = trial()
    one, half = power(logs, proof_share=0.25), power(logs, disagreement=0.05)
    np.testing.assert_allclose(half.detectable, one.detectable / 2)
    row = one.table()[0]
    assert row.proof_detectable == pytest.approx(2 * row.detectable)
    assert row.proof_standard_error == pytest.approx(2 * row.standard_error)
    assert row.detectable == pytest.approx(2.8016 * row.standard_error_difference, rel=1e-4)


def test_the_shares_of_the_arms_as_propensities_are_more_exact():
    logs = trial(effect=0.5)
    own, planned = (power(replace(logs, propensity=p), 9.0) for p in ("observed", "uniform"))
    assert own.standard_error[0] < 0.9 * planned.standard_error[0]
    assert own.standard_error_difference[0] == pytest.approx(planned.standard_error_difference[0], rel=0.05)


# ---- the advice


def test_the_advice_grows_with_the_trial():
    said = [power(trial(n, seed=1)) for n in (500, 20_000, 1_000_000)]
    assert [f.advice for f in said] == ["cannot be seen", "may pay", "can pay"]
    assert [f.status for f in said] == ["warn", "ok", "ok"]
    assert all(f.ok for f in said)
    assert said[1].rows_needed[0] == pytest.approx(said[2].rows_needed[0], rel=0.3)
    bold = power(trial(20_000, seed=1), gains=(0.2, 0.5))
    assert bold.advice == "can pay"


def test_the_verdict_says_it_in_words():
    few, some, many = (power(trial(n, seed=1)).sentence for n in (500, 20_000, 1_000_000))
    assert "cannot show gains of decision-focused tuning: rely on the likelihood models" in few
    assert "may pay: only large gains would show" in some
    assert "20,000 rows estimate a policy's value with a standard error of" in some
    assert "On the 6,000 held-out rows it is" in some
    assert "rows would show a gain of 5 %." in some
    assert many.endswith("Decision-focused tuning can pay.")
    assert "rows of the proof" not in power(trial(), proof_share=1).sentence


def test_the_budget_in_the_middle_speaks():
    logs = trial(20_000)
    found = power(logs, [0.01, 0.3, 9.0])
    assert found.sentence == power(logs, [0.3]).sentence
    assert found.advice == power(logs, 0.3).advice
    assert len(found.table()) == 3


# ---- edges


def test_without_costs_the_price_is_zero():
    logs = trial(m=3)
    free = power(replace(logs, propensity="uniform", cost=0 * logs.cost))
    assert free.price[0] == 0
    assert free.differing[0] == 0.2
    assert free.standard_error[0] > 0
    assert free.relative[0] > 0
    assert "the budget does not bind" in free.sentence


def test_budgets_out_of_reach():
    logs = trial()
    low, little, much = power(logs, [0.0, 0.01, 100.0]).table()
    assert (low.differing, low.detectable, low.bought) == (0, 0, 0)
    assert np.isnan(low.relative)
    assert little.differing == pytest.approx(2 * 0.01 / logs.cost[logs.treatment == 1].mean(), rel=0.1)
    assert (much.differing, much.price) == (0.2, 0)
    nothing = power(logs, 0.0)
    assert (nothing.advice, nothing.status) == ("cannot be seen", "warn")
    assert "everyone gets the cheapest arm" in nothing.sentence


def test_where_control_costs_money_a_budget_below_it_is_the_cheapest_arm():
    found = power(TWIN.rct(20_000, 1), [0.001])
    assert found.mix.tolist() == [[1.0, 0.0]]
    assert found.differing[0] == 0


def test_an_incentive_that_brings_nothing_has_no_scale():
    found = power(trial(effect=-0.05))
    assert found.bought[0] == 0
    assert found.detectable[0] > 0
    assert np.isnan([found.relative[0], found.rows_needed[0]]).all()
    assert found.status == "warn"
    assert "No mix of arms brings more than control" in found.sentence
    assert found.to_dict()["budgets"][0]["relative"] is None


def test_no_value_at_all():
    logs = trial(m=3)
    found = power(replace(logs, propensity="uniform", value=0 * logs.value))
    assert (found.standard_error[0], found.detectable[0], found.status) == (0, 0, "warn")
    assert "no row has a value" in found.sentence


def test_a_trial_of_one_row_an_arm():
    logs = Logs(x=[[0.0], [1.0]], treatment=[0, 1], value=[0.0, 1.0], cost=[0.0, 1.0])
    found = power(logs)
    assert np.isfinite(found.detectable).all()
    assert found.status in ("ok", "warn")


def test_what_it_refuses():
    logs = trial()
    for words, given in (
        ("budgets", {"budgets": [-1.0]}),
        ("budgets", {"budgets": [np.nan]}),
        ("proof_share", {"proof_share": 0}),
        ("disagreement", {"disagreement": 1.1}),
        (r"gains\[1\]", {"gains": (0.3, 0.05)}),
    ):
        with pytest.raises(DataError, match=words):
            power(logs, **given)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="propensity: unknown"):
        power(replace(logs, design="obs", propensity=None))


# ---- where it is said


def test_the_checks_hold_it():
    logs = trial(20_000)
    found = check(logs, budgets=[0.2], proof_share=0.5)
    assert isinstance(found["power"], Power)
    assert found.power.budgets.tolist() == [0.2]
    assert found.power.proof_share == 0.5
    assert check(logs).power.sentence == power(logs).sentence
    unknown = check(replace(logs, design="obs", propensity=None))
    assert "power" not in [f.name for f in unknown]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("power")
    frames.write(table(1200, 1), folder / "trial.parquet")
    frames.write(table(600, 3), folder / "later.parquet")
    text = TEXT.format(more="folds = 2").replace(', "mlp-rct"', "")
    (folder / "campaign.toml").write_text(text)
    (folder / "later.toml").write_text(text.replace("folds = 2", 'test = "later.parquet"'))
    (folder / "apart.toml").write_text(text.replace("folds = 2", "folds = 1\ntest_share = 0.4"))
    return folder


def test_check_prints_it_and_gives_the_numbers(place: Path):
    said = json.loads(CliRunner().invoke(app, ["check", str(place / "campaign.toml"), "--json"]).stdout)
    found = said["power"]
    assert [f["status"] for f in said["findings"] if f["name"] == "power"] == ["warn"]
    assert (found["rows"], found["proof_rows"], len(found["budgets"])) == (1200, 1200, 2)
    assert found["budgets"][1]["detectable"] > 0
    text = CliRunner().invoke(app, ["check", str(place / "campaign.toml")]).output
    assert "warn power: At" in " ".join(text.split())


@pytest.mark.parametrize(("name", "rows"), [("later", 600), ("apart", 480)])
def test_the_rows_of_the_proof_are_those_of_the_run(place: Path, name: str, rows: int):
    said = json.loads(CliRunner().invoke(app, ["check", str(place / f"{name}.toml"), "--json"]).stdout)
    assert said["power"]["proof_rows"] == rows


def test_fit_says_it_before_it_learns_and_reports_it(place: Path):
    stages: list[str] = []
    done = fit(load(place / "campaign.toml"), folder=place / "run", say=lambda stage, _: stages.append(stage))
    (verdict,) = [f["sentence"] for f in done.metrics["findings"] if f["name"] == "power"]
    learning = next(k for k, stage in enumerate(stages) if stage.startswith("learning"))
    assert stages.index(verdict) < learning
    metrics = json.loads((done.folder / "metrics.json").read_text())
    assert metrics["power"]["advice"] == "cannot be seen"
    assert metrics["power"]["budgets"][0]["standard_error"] > 0
    assert "rely on the likelihood models" in (done.folder / "report.html").read_text()
    assert "rely on the likelihood models" in (done.folder / "summary.md").read_text()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_finding_is_printed_whole_above_the_bar(terminal: bool, monkeypatch: pytest.MonkeyPatch):
    console = show.Console(force_terminal=terminal, width=60, record=True, file=io.StringIO())
    monkeypatch.setattr(show, "err", console)
    with show.progress(quiet=False) as say:
        say("reading", 0.1)
        say(Note("At 1 per head, [b] rows do."), 0.2)
    assert "At 1 per head, [b] rows do." in console.export_text()
