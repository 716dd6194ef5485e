"""The demonstration: simulated coupons, their sealed envelope, and the real trial on one page."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import linprog

from largesse import frames
from largesse.commands import demo, demo_coupons
from largesse.commands.demo import Size
from largesse.commands.findings.envelope import Rivals, envelope
from largesse.menu import Menu
from largesse.policy.deployed import Policy
from largesse.progress import silent
from largesse.report.envelope import Envelope, EnvelopeRow, envelope_blocks
from largesse.simulate import World

SIZE = Size(trial=3000, log=2000, units=400, seed=3)
KINDS = ("policy", "untargeted", "trial", "log", "oracle")


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory):
    """A decision for which the truth did not exist."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(World, "truth", lambda *_: pytest.fail("the decision asked for the truth"))
        return demo_coupons.decide(demo_coupons.world_of(SIZE), SIZE, tmp_path_factory.mktemp("demo") / "coupons")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def units_and_policy(run) -> tuple[Menu, Menu]:
    """The truth and the menu of the saved policy for the units of the envelope, from the columns of a table."""
    world = demo_coupons.world_of(SIZE)
    units = world.rct(SIZE.units, SIZE.seed + 2 * 10**6)
    table = {name: units.x[:, k] for k, name in enumerate(units.features)}
    return world.truth(units.x), Policy.load(run.folder / "policy").menu(table)


def best_within(value: np.ndarray, cost: np.ndarray, budget: float) -> float:
    """The linear programme: at most `budget` per unit, every unit one treatment, fractions allowed."""
    n, m = value.shape
    one_each = np.kron(np.eye(n), np.ones(m))
    done = linprog(-value.ravel() / n, A_ub=cost.ravel()[None] / n, b_ub=[budget], A_eq=one_each, b_eq=np.ones(n))
    assert done.success
    return -done.fun


def at_true_spend(menu: Menu, truth: Menu, budget: float) -> float:
    """The policy's true value where its true spend is the budget: bisection of the price, and a mix of both sides of it."""

    def at(price: float) -> tuple[float, float]:
        t = (menu.value - price * menu.cost).argmax(axis=1)
        rows = np.arange(menu.n)
        return truth.cost[rows, t].mean(), truth.value[rows, t].mean()

    low, high = 0.0, 10.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle)[0] > budget else (low, middle)
    (dear, more), (cheap, less) = at(low), at(high)
    return more if dear <= budget else less + (more - less) * (budget - cheap) / (dear - cheap)


def test_the_envelope_is_the_truth_at_the_same_spend(decided):
    opened = demo_coupons.open_envelope(decided, demo_coupons.world_of(SIZE), SIZE)
    truth, policy = units_and_policy(decided)
    budget, base = decided.metrics["lead"]["budget"], truth.value[:, 0].mean()
    means = truth.value.mean(axis=0)[None], truth.cost.mean(axis=0)[None]
    expected = {
        "policy": at_true_spend(policy, truth, budget),
        "untargeted": best_within(*means, budget),
        "oracle": best_within(truth.value, truth.cost, budget),
    }
    assert opened.budget == budget
    assert tuple(row.kind for row in opened.rows) == KINDS
    assert (opened.advised == "untargeted") == (decided.metrics["lead"]["verdict"] == "spend this, untargeted")
    for kind, value in expected.items():
        assert_allclose(opened.of(kind).net, 12.0 * (value - base) - budget, atol=1e-6)
    assert all(row.net <= opened.of("oracle").net + 1e-9 for row in opened.rows)


def test_the_printed_intervals_are_those_of_the_run(decided):
    opened = demo_coupons.open_envelope(decided, demo_coupons.world_of(SIZE), SIZE)
    shown = json.loads((decided.folder / "metrics.json").read_text())
    for kind, name in (("policy", "policy"), ("untargeted", "best mix of arms")):
        row = next(r for r in shown["returns"]["rows"] if r["name"] == name and r["budget"] == opened.budget)
        got = opened.of(kind)
        assert (got.estimate, got.low, got.high) == (row["net"], row["net_low"], row["net_high"])
        assert got.covered == (row["net_low"] <= got.net <= row["net_high"])
    assert all(opened.of(kind).covered is None for kind in ("trial", "log", "oracle"))


def test_another_truth_changes_the_envelope_and_nothing_of_the_decision(decided):
    before = files(decided.folder)
    truth, policy = units_and_policy(decided)
    other = Menu(value=truth.value[::-1] * 0.5, cost=truth.cost[::-1] * 0.5, treatments=truth.treatments)
    rivals = Rivals(policy=policy, trial=policy, log=policy)
    first, second = (envelope(decided.metrics, rivals, table, 12.0) for table in (truth, other))
    assert files(decided.folder) == before
    assert first.budget == second.budget
    for kind in ("policy", "untargeted"):
        a, b = first.of(kind), second.of(kind)
        assert (a.estimate, a.low, a.high) == (b.estimate, b.low, b.high)
        assert a.net != b.net


def test_the_run_reads_only_features_coupons_and_orders(decided, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    seen = {}
    monkeypatch.setattr(frames, "write", lambda table, path: seen.update({path.name: table.column_names}))
    monkeypatch.setattr(demo_coupons, "fit", lambda config, **_: decided)
    world = demo_coupons.world_of(SIZE)
    demo_coupons.decide(world, SIZE, tmp_path / "again")
    assert seen == {name: [*world.features, "coupon", "orders"] for name in ("trial.parquet", "past.parquet")}


def shown_envelope(**policy: float) -> Envelope:
    nets = {"policy": 0.5, "untargeted": 0.4, "trial": 0.3, "log": 0.35, "oracle": 0.9}
    rows = [EnvelopeRow(kind=kind, net=nets[kind], **(policy if kind == "policy" else {})) for kind in KINDS]
    return Envelope(budget=0.25, units=1000, advised="untargeted", rows=tuple(rows))


def test_a_missed_interval_is_shown_as_missed():
    for low, word in ((0.45, "yes"), (0.55, "no")):
        shown = shown_envelope(estimate=0.6, low=low, high=0.7)
        table = envelope_blocks(shown, money="EUR", head="customer", level=0.95)[3]
        assert str(table.rows[0].cells[4]) == word
        assert [row.ours for row in table.rows] == [False, True, False, False, False]
    assert shown.share == pytest.approx(0.2)
    assert "0.10 less than without targeting" in table.rows[2].cells[5]


@pytest.fixture
def page(decided, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Makes the page around a decision that exists already."""
    monkeypatch.setattr(demo_coupons, "decide", lambda *_: decided)

    def make(real: bool) -> demo.Demo:
        monkeypatch.setattr(demo, "installed", lambda _: real)
        monkeypatch.setattr(demo, "cash", lambda *_: decided)
        return demo.make(tmp_path / "out", silent, size=SIZE)

    return make


def test_one_page_shows_both_campaigns(page):
    done = page(real=True)
    html = (done.folder / "report.html").read_text()
    anchors = re.findall(r'<section id="([^"]+)"', html)
    assert len(set(anchors)) == len(anchors)
    assert anchors[0] == "coupons"
    assert {"coupons-pay", "envelope", "cash", "cash-pay"} <= set(anchors)
    charts = re.findall(r'data-figure="([^"]+)"', html)
    assert len(set(charts)) == len(charts)
    assert all(f'id="{name}"' in html for name in charts)
    assert "envelope" in json.loads((done.folder / "metrics.json").read_text())


def test_without_its_package_the_real_trial_is_explained(page):
    done = page(real=False)
    html = (done.folder / "report.html").read_text()
    assert done.cash is None
    assert done.to_dict()["cash"] is None
    assert "largesse[demo]" in html
    assert 'id="envelope"' in html
    assert 'id="cash-pay"' not in html


def test_a_demonstration_is_replaced_and_other_folders_are_not(page, tmp_path: Path):
    page(real=False)
    page(real=False)
    (tmp_path / "out" / ".largesse.json").unlink()
    (tmp_path / "out" / "report.html").unlink()
    with pytest.raises(Exception, match="was not made by largesse"):
        page(real=False)
