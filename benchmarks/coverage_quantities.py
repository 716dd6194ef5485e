"""What the coverage study measures: trials drawn from a world whose truth is known, and every interval printed of them."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from math import nan
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from largesse import Logs, Menu
from largesse.allocate import assign
from largesse.allocate.budget_frontier import steps
from largesse.errors import DataError
from largesse.evaluate import compare, effect_share, mix_value
from largesse.evaluate.comparison import BEST_MIX
from largesse.evaluate.intervals import FEW_EVENTS, weighted_sum
from largesse.experiment import Sample, always_valid, boundaries, means, measure_sample
from largesse.experiment.estimators.shape import FEW_EVENTS_IN_AN_ARM
from largesse.policy.curve import PriceCurve

Floats = NDArray[np.float64]
SHARES = (0.2, 0.5)  # budgets, as shares of what the dearest treatment for everyone costs
LEVELS = np.array([0.0, 1.0, 2.0])  # what an order under each treatment costs
NEW = 20_000  # units of the campaign whose spend and value are predicted
DESIGNS = {
    "equal": "three arms with a third of the units each, each unit by itself; the shares are declared",
    "unequal": "arms with 70, 20 and 10 %; the shares are declared",
    "observed": "arms with 70, 20 and 10 %; the shares are counted",
    "by row": "probabilities follow two features of the unit; each row has its own",
    "by stratum": "a fifth of the units gets the arms with 20, 40 and 40 %, the others with 80, 10 and 10 %",
    "weighted": "a third of the units is sampled ten times as often and weighs a tenth",
    "households": "one to six units in a household that gets one arm, whose outcomes are alike",
    "60 shops": "60 shops of different sizes, each with one arm, whose customers are alike",
    "rare": "one order in a hundred",
    "heavy": "amounts of orders are log-normal, σ = 2",
}

RANDOMISED_ALIKE = ("equal", "unequal", "weighted", "households", "60 shops", "rare", "heavy")
"""Designs in which each unit or cluster has the same probabilities, as an experiment assumes."""
PLANNED, ALWAYS = "experiment: five planned looks, all of them", "experiment: always valid, twenty looks, all of them"
LOOKS = {PLANNED: 5, ALWAYS: 20}
EXPERIMENT = tuple(
    f"experiment: {name}" for name in ("difference in means", "CUPED", "CUPAC", "MLRATE", "the effect in bold")
)


def bar(name: str) -> int:
    """Returns the number of events below which the product warns beside the interval of a quantity."""
    return FEW_EVENTS_IN_AN_ARM if name.startswith("experiment") else FEW_EVENTS


class World(NamedTuple):
    """A design's units: features (N, 4), probability of an order by treatment (N, 3), and the two policies' menus."""

    x: Floats
    order: Floats
    menus: dict[str, Menu]


def world(design: str, n: int, rng: np.random.Generator) -> World:
    """Draws the units of a design."""
    x = rng.normal(size=(n, 4))
    base = -4.7 if design == "rare" else -1.5
    zero = np.zeros(n)
    effects = np.stack([zero, 0.35 + 0.5 * x[:, 0], 0.55 + 0.5 * x[:, 0] + 0.4 * x[:, 1]], 1)
    order = 1 / (1 + np.exp(-(base + 0.6 * x[:, 2, None] + effects)))
    predicted = {
        "policy": np.stack([zero, 0.3 + 0.4 * x[:, 0], 0.5 + 0.4 * x[:, 0] + 0.5 * x[:, 1]], 1),
        "another": np.stack([zero, 0.3 + 0.2 * x[:, 1], 0.5 + 0.4 * x[:, 2] + 0.1 * x[:, 0]], 1),
    }
    menus = {}
    for name, effect in predicted.items():
        value = 1 / (1 + np.exp(-(base + 0.5 * x[:, 2, None] + effect)))
        menus[name] = Menu(value=value, cost=value * LEVELS)
    return World(x, order, menus)


def trial(design: str, n: int, rng: np.random.Generator) -> tuple[Logs, dict[str, Menu]]:
    """Draws a trial."""
    units, weight, cluster, kind = world(design, n, rng), None, None, "rct"
    known: Any = "observed"
    shares = np.full(3, 1 / 3)
    if design in ("unequal", "observed"):
        shares = np.array([0.7, 0.2, 0.1])
    p = np.tile(shares, (n, 1))
    if design == "by row":
        p = np.exp(np.stack([0 * units.x[:, 0], 0.7 * units.x[:, 0], 0.7 * units.x[:, 1]], 1))
        p /= p.sum(axis=1, keepdims=True)
    if design == "by stratum":
        p = np.where(units.x[:, :1] > 0.8416, [[0.2, 0.4, 0.4]], [[0.8, 0.1, 0.1]])
    if design == "weighted":  # sampled ten times as often where the third feature is large
        pool = world(design, 4 * n, rng)
        often = pool.x[:, 2] > 0.4307
        rows = np.flatnonzero(often | (rng.random(4 * n) < 0.1))[:n]
        units = World(pool.x[rows], pool.order[rows], {k: m.take(rows) for k, m in pool.menus.items()})
        weight = np.where(often[rows], 1.0, 10.0)
    alike = rng.normal(size=n)
    if design in ("households", "60 shops"):
        size = rng.integers(1, 7, n) if design == "households" else rng.gamma(4, size=60)
        cluster = (
            np.repeat(np.arange(n), size)[:n] if design == "households" else rng.choice(60, n, p=size / size.sum())
        )
        part = 0.5 if design == "households" else 0.05
        alike = np.sqrt(part) * rng.normal(size=n)[cluster] + np.sqrt(1 - part) * alike
    drawn = rng.random(n) if cluster is None else rng.random(n)[cluster]
    treatment = (drawn[:, None] > p.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    at = np.arange(n)
    value = (alike > ndtri(1 - units.order[at, treatment])) * 1.0
    cost = value * LEVELS[treatment]
    if design == "heavy":
        value = value * amounts(design, n, rng)
    if design in ("by row", "by stratum"):
        known, kind = p[at, treatment], "obs"
    elif design != "observed":
        known = dict(zip("012", shares.tolist(), strict=True))
    logs = Logs(
        x=units.x, treatment=treatment, value=value, cost=cost, treatments=("0", "1", "2"), design=kind, propensity=known,
        weight=weight, cluster=cluster,
    )  # fmt: skip
    return logs, units.menus


def amounts(design: str, n: int, rng: np.random.Generator) -> Floats:
    """Draws the value of n orders; its mean is 1."""
    return np.exp(rng.normal(0, 2, n) - 2) if design == "heavy" else np.ones(n)


class Truth(NamedTuple):
    """A design's budgets (B,), exact quantities at each of them, and spend by price: slopes, falling, and spend before each."""

    budgets: Floats
    exact: dict[str, Floats]
    slope: Floats
    spent: Floats

    def spend_at(self, price: float) -> float:
        """Returns the policy's expected spend per unit at a price."""
        return float(self.spent[np.searchsorted(-self.slope, -price, side="left")])


def truth(design: str, n: int = 1_000_000) -> Truth:
    """Returns what is true of a design, from n of its units."""
    units = world(design, n, np.random.default_rng(999_999))
    cost = units.order * LEVELS
    mean, full = units.order.mean(axis=0), cost.mean(axis=0)
    budgets = full[2] * np.array(SHARES)
    out, by_price = {}, {}
    for name, menu in units.menus.items():
        down = steps(menu)
        by_slope = np.argsort(-down.slope, kind="stable")
        at = np.arange(n)
        value = units.order[at, down.start].sum() + np.append(0, np.cumsum(down.change(units.order)[by_slope]))
        spent = cost[at, down.start].sum() + np.append(0, np.cumsum(down.change(cost)[by_slope]))
        out[name] = np.interp(budgets, np.maximum.accumulate(spent) / n, value / n)
        by_price[name] = (down.slope[by_slope], spent / n)
    best = mix_value(mean, full, budgets)
    exact = {
        "value of the policy": out["policy"],
        "difference from another policy": out["policy"] - out["another"],
        "difference from the best untargeted policy": out["policy"] - best,
        "best untargeted policy": best,
        "one treatment for everyone": np.full(2, mean[2]),
        "cost of one treatment for everyone": np.full(2, full[2]),
        "share of the effect": (out["policy"] - mean[0]) / (mean[2] - mean[0]),
    }
    for name in EXPERIMENT:
        exact[name] = np.array([mean[2] - mean[0]])
    exact["experiment: lift of the effect in bold"] = np.array([(mean[2] - mean[0]) / mean[0]])
    return Truth(budgets, exact, *by_price["policy"])


class Printed(NamedTuple):
    """An estimate, its interval, the events beside it, and the truth."""

    estimate: float
    low: float
    high: float
    events: float
    truth: float


def quantities(design: str, n: int, exact: Truth, rng: np.random.Generator) -> dict[str, list[Printed]]:
    """Returns every interval that is printed of one trial, each at each budget."""
    logs, menus = trial(design, n, rng)
    return {
        **_policies(logs, menus, exact),
        **_spends(design, logs, menus["policy"], exact, rng),
        **(_experiments(logs, menus["policy"], exact, rng) if design in RANDOMISED_ALIKE else {}),
    }


def _policies(logs: Logs, menus: dict[str, Menu], exact: Truth) -> dict[str, list[Printed]]:
    """Returns what `compare` and `effect_share` print; a share without an interval is not printed."""
    table = compare(logs, menus, exact.budgets)
    best = table.against(BEST_MIX)
    other = table.against("another")
    mix = table.index(BEST_MIX)
    arm = table.arms[2]
    _, ends, events = weighted_sum(logs, ((logs.treatment == 2) * logs.inverse_propensity * logs.cost)[:, None])
    out: dict[str, list[Printed]] = defaultdict(list)
    for b in range(len(exact.budgets)):
        share = effect_share(table, "policy", b)
        printed = np.isfinite([share.low, share.high]).all()
        rows = {
            "value of the policy": (table.value[0, b], table.low[0, b], table.high[0, b], table.events[0, b]),
            "best untargeted policy": (
                table.value[mix, b],
                table.low[mix, b],
                table.high[mix, b],
                table.events[mix, b],
            ),
            "one treatment for everyone": (arm.value, arm.value_low, arm.value_high, arm.events),
            "cost of one treatment for everyone": (arm.cost, ends[0, 0], ends[0, 1], events[0]),
            "share of the effect": (share.effect if printed else np.nan, share.low, share.high, share.events),
        }
        for name, versus in (("another policy", other), ("the best untargeted policy", best)):
            rows[f"difference from {name}"] = (
                versus.difference[0, b], versus.difference_low[0, b], versus.difference_high[0, b],
                versus.difference_events[0, b],
            )  # fmt: skip
        for name, row in rows.items():
            out[name].append(Printed._make([*map(float, row), float(exact.exact[name][b])]))
    return out


def _spends(design: str, logs: Logs, menu: Menu, exact: Truth, rng: np.random.Generator) -> dict[str, list[Printed]]:
    """Returns what was spent in the trial at the price of each budget, and what `PriceCurve` predicts of new units."""
    out: dict[str, list[Printed]] = defaultdict(list)
    curve = PriceCurve.calibrate(menu, logs, draws=200)
    units = world(design, NEW, rng)
    at = np.arange(NEW)
    for budget in exact.budgets:
        price = curve.price_for(units.menus["policy"], budget * NEW)
        paid = (assign(menu, price) == logs.treatment) * logs.inverse_propensity
        mean, ends, events = weighted_sum(logs, paid[:, None] * np.column_stack([logs.cost, logs.value]))
        out["spend of the policy"].append(Printed(mean[0], ends[0, 0], ends[0, 1], events[0], exact.spend_at(price)))
        given = assign(units.menus["policy"], price)
        order = (rng.random(NEW) < units.order[at, given]) * 1.0
        spent = float(order @ LEVELS[given])
        brought = float((order * amounts(design, NEW, rng)).sum())
        spend = curve.spend_at(units.menus["policy"], price, level=0.975)
        value = curve.value_of(price, float(units.menus["policy"].value[at, given].sum()), NEW, level=0.975)
        out["spend of new units"].append(Printed(*spend, events[0], spent))
        out["value of new units"].append(Printed(*value, events[1], brought))
    return out


def _experiments(logs: Logs, menu: Menu, exact: Truth, rng: np.random.Generator) -> dict[str, list[Printed]]:
    """Returns what an experiment on the dearest treatment prints; its covariate is another noisy order of the unit."""
    rows = logs.treatment != 1
    predicted = menu.value[rows, 0]
    sample = Sample(
        value=logs.value[rows], arm=logs.treatment[rows] // 2, arms=("0", "2"), prediction=predicted,
        covariate=(rng.random(rows.sum()) < predicted) * 1.0, weight=None if logs.weight is None else logs.weight[rows],
        cluster=None if logs.groups is None else np.unique(logs.groups[rows], return_inverse=True)[1],
    )  # fmt: skip
    measured = measure_sample(sample)
    out = {f"experiment: {e.method}": e for e in measured.effects if e.method != "STATE"}
    out["experiment: the effect in bold"] = bold = measured.reading()
    lists = {name: [Printed(e.effect, e.low, e.high, e.events, float(exact.exact[name][0]))] for name, e in out.items()}
    name = "experiment: lift of the effect in bold"
    lists[name] = [Printed(bold.lift, bold.lift_low, bold.lift_high, bold.events, float(exact.exact[name][0]))]
    return lists | _looks(sample, exact)


def _looks(sample: Sample, exact: Truth) -> dict[str, list[Printed]]:
    """Returns, for the difference in means, the interval of the look that misses the truth, or else of the last look."""
    true = float(exact.exact["experiment: difference in means"][0])
    out = {}
    for name, count in LOOKS.items():
        shares = np.arange(1, count + 1) / count
        z = _boundaries(count) if name == PLANNED else np.zeros(count)
        shown = Printed(nan, nan, nan, nan, true)
        for share, bound in zip(shares, z, strict=True):
            try:
                one = means(_first(sample, share), 1)[0]
                low, high = one.effect - bound * one.se, one.effect + bound * one.se
                if name != PLANNED:
                    low, high, _ = always_valid(one.effect, one.se, scale=true).to_dict().values()
            except DataError:  # an arm without an order, or with a single shop: nothing is printed at this look
                continue
            if one.caution:  # few events: a warning stands beside the interval
                continue
            shown = Printed(one.effect, low, high, one.events, true)
            if not low <= true <= high:
                break
        out[name] = [shown]
    return out


@cache
def _boundaries(looks: int) -> Floats:
    return boundaries(np.arange(1, looks + 1) / looks)


def _first(sample: Sample, share: float) -> Sample:
    """Returns the first rows of an experiment, or its first clusters."""
    code = np.arange(sample.n) if sample.cluster is None else sample.cluster
    rows = code < round(share * (code.max() + 1))

    def part(column: Any) -> Any:
        return None if column is None else column[rows]

    return Sample(
        value=sample.value[rows], arm=sample.arm[rows], arms=sample.arms, weight=part(sample.weight),
        cluster=part(sample.cluster),
    )  # fmt: skip
