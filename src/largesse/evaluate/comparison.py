"""Compares policies on the same rows: value per unit at each budget, and differences with paired intervals.

Every bootstrap draw weights the rows once and evaluates all policies and baselines with these weights, so that common noise
cancels in their differences. Three baselines are always included:

- ``"no one"``: every unit gets control;
- ``"best mix of arms"``: the best untargeted policy for the budget, that is the frontier of the arms' means. It is chosen on
  nine tenths of the rows and valued on the other tenth, in turn, also in each draw (`Arms.best_mix`): the best of several
  means would be too high on the rows that chose it;
- ``"random, same mix"``: the policy's share of each treatment, given to random units:
  Σ_j share_j · mean_j with the shares at that policy's price, to fewer units where that would cost more than the
  budget. The difference to it is the effect of targeting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse.allocate.budget_frontier import frontier
from largesse.evaluate.bootstrap import Arms, Grid, decided_shares, interval, row_weights
from largesse.evaluate.curve import Estimator, OutcomeCurve, outcome_curve, split
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.result import Tabular, columns_of, plain

__all__ = [
    "BEST_MIX", "NO_ONE", "RANDOM_MIX", "ArmRow", "Bootstrap", "Comparison", "Row", "Verdict", "compare",
]  # fmt: skip

NO_ONE, BEST_MIX, RANDOM_MIX = "no one", "best mix of arms", "random, same mix"
BASELINES = (NO_ONE, BEST_MIX, RANDOM_MIX)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Options of the bootstrap intervals.

    Attributes:
        draws: Number of draws, >= 20.
        level: Coverage of the intervals, in [0.5, 0.9999].
        seed: Seed of the row weights; draw d depends on seed and d only.

    Raises:
        DataError: A number is out of its range.
    """

    draws: int = 400
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (("draws", 20, 1e6), ("seed", 0, 2**63)):
            got = getattr(self, name)
            if _check.number(name, got, low=low, high=high) != int(got):
                raise _check.refuse(name, got, "must be a whole number", "Round it.")
            object.__setattr__(self, name, int(got))
        _check.number("level", self.level, low=0.5, high=0.9999)


class Verdict(StrEnum):
    """One policy against another, by the interval of their paired difference."""

    BETTER = "better"
    WORSE = "worse"
    UNCLEAR = "no clear difference"
    REFERENCE = "reference"
    """The policy that others are compared with."""
    OUT_OF_REACH = "out of reach"
    """One of the two never spends as little as the budget."""

    @classmethod
    def of(cls, low: float, high: float) -> Verdict:
        """Returns the verdict of an interval of the difference in value; unclear where an end is unknown.

        >>> Verdict.of(0.1, 0.3), Verdict.of(-0.1, 0.3)
        (<Verdict.BETTER: 'better'>, <Verdict.UNCLEAR: 'no clear difference'>)
        """
        return cls.BETTER if low > 0 else cls.WORSE if high < 0 else cls.UNCLEAR


class Row(NamedTuple):
    """One policy at one budget; spend and value per unit."""

    name: str
    budget: float
    value: float
    low: float
    high: float
    spend: float
    price: float
    difference: float
    difference_low: float
    difference_high: float


class ArmRow(NamedTuple):
    """One treatment for everyone; value and cost per unit with intervals."""

    name: str
    value: float
    value_low: float
    value_high: float
    cost: float
    cost_low: float
    cost_high: float


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Comparison(Tabular):
    """Policies and baselines (P of them) at budgets per unit (B of them).

    Attributes:
        names: The policies in the order given, then the baselines.
        budgets: Budget per unit, (B,).
        value: Value per unit, (P, B); NaN where a policy cannot spend so little.
        low: Lower end of the interval of `value`, (P, B).
        high: Upper end, (P, B).
        spend: Realised spend per unit, (P, B): the budget, or less where no treatment is left that pays.
        price: Shadow price, (P, B): the lowest at which the spend is within the budget; NaN for baselines.
        reference: The policy that all are compared with.
        difference: Value less that of the reference, (P, B).
        difference_low: Lower end of its paired interval, (P, B).
        difference_high: Upper end, (P, B).
        arms: One treatment for everyone, one entry each.
        mix_of: The policy whose shares the random mix takes.
        level: Coverage of all intervals.
        draws: Value per unit in each draw, (D, P, B).
        arm_draws: Value per unit of each arm in each draw, (D, M).
        notes: Budgets that are out of reach, and rows that a run was trained on, in sentences.
    """

    names: tuple[str, ...]
    budgets: Floats
    value: Floats
    low: Floats
    high: Floats
    spend: Floats
    price: Floats
    reference: str
    difference: Floats
    difference_low: Floats
    difference_high: Floats
    arms: tuple[ArmRow, ...]
    mix_of: str
    level: float
    draws: Floats
    arm_draws: Floats
    notes: tuple[str, ...]

    def _columns(self) -> dict[str, list[Any]]:
        return columns_of(self.rows(), Row._fields)

    def to_dict(self) -> dict[str, Any]:
        """Returns every policy at every budget and every arm as plain JSON values."""
        return plain(
            {
                "reference": self.reference,
                "level": self.level,
                "rows": self.rows(),
                "arms": self.arms,
                "notes": self.notes,
            }
        )

    def index(self, name: str) -> int:
        """Returns the position of a policy or baseline in `names`."""
        return self.names.index(_check.choice("name", name, self.names))

    def against(self, reference: str) -> Comparison:
        """Returns the same comparison with differences from another policy or baseline, from the same draws.

        Raises:
            DataError: There is no policy of that name.
        """
        at = self.names.index(_check.choice("reference", reference, self.names))
        differences = self.draws - self.draws[:, at : at + 1]
        difference, low, high = _interval(differences, self.value - self.value[at], self.level)
        return replace(self, reference=reference, difference=difference, difference_low=low, difference_high=high)

    def rows(self) -> list[Row]:
        """Returns one row for each policy and budget, for tables."""
        cells = (self.value, self.low, self.high, self.spend, self.price,
                 self.difference, self.difference_low, self.difference_high)  # fmt: skip
        return [
            Row(name, float(budget), *(float(cell[p, b]) for cell in cells))
            for p, name in enumerate(self.names)
            for b, budget in enumerate(self.budgets)
        ]


def compare(
    logs: Logs,
    menus: Mapping[str, Menu],
    budgets: _check.Numbers,
    *,
    reference: str | None = None,
    bootstrap: Bootstrap = Bootstrap(),
    estimator: Estimator = "ht",
    outcomes: Menu | None = None,
) -> Comparison:
    """Returns the value of each menu's policy and of the baselines at each budget, with paired intervals.

    Args:
        logs: Held-out rows with known propensities. Whether a model was trained on them cannot be seen here: a policy looks
            better than it is on such rows, and on other rows of their units. `largesse compare RUN RUN FILE` checks it.
        menus: Name → predictions of that policy for these rows.
        budgets: Budget per unit, (B,), >= 0.
        reference: The policy or baseline that all are compared with; the first policy by default.
        bootstrap: Options of the bootstrap intervals.
        estimator: ``"ht"``, ``"sn"`` or ``"dr"``, for policies and arms alike: see `outcome_curve`.
        outcomes: Predicted outcomes for ``"dr"``.

    Raises:
        DataError: No menus, a name taken twice, a menu of other rows, a bad budget, or unknown propensities.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x, t = rng.random((4000, 1)), np.arange(4000) % 2
    >>> logs = Logs(x=x, treatment=t, value=(rng.random(4000) < 0.2 + 0.6 * t * (x[:, 0] > 0.5)), cost=t * 1.0)
    >>> good = Menu(value=np.column_stack([0 * x, x]), cost=np.tile([0.0, 1.0], (4000, 1)))
    >>> table = compare(logs, {"good": good}, [0.5], bootstrap=Bootstrap(draws=100))
    >>> table.names
    ('good', 'no one', 'best mix of arms', 'random, same mix')
    >>> table.value.round(1).tolist()
    [[0.5], [0.2], [0.4], [0.4]]
    >>> versus = table.against("random, same mix")
    >>> bool(versus.difference_low[0, 0] > 0.1)
    True
    """
    names = _names(menus)
    money = _budgets(budgets)
    reference = names[0] if reference is None else _check.choice("reference", reference, names)
    home = reference if reference in menus else names[0]
    curves = {name: _curve(logs, name, menu, estimator, outcomes) for name, menu in menus.items()}
    arms = Arms.of(logs, estimator, outcomes)
    mean, cost = arms.means()
    value, spend, price = _estimates(logs, menus, curves, money, home, arms)
    draws, arm_draws = _draws(menus, curves, money, home, arms, bootstrap)
    _, low, high = _interval(draws, value, bootstrap.level)
    ends = interval(arm_draws, bootstrap.level)  # (2, M, 2)
    everyone = tuple(
        ArmRow._make((name, *(float(a) for a in (mean[j], *ends[0, j], cost[j], *ends[1, j]))))
        for j, name in enumerate(logs.treatments)
    )
    blank = np.empty(0)
    return Comparison(
        names=names, budgets=money, value=value, low=low, high=high, spend=spend, price=price, reference=reference,
        difference=blank, difference_low=blank, difference_high=blank, arms=everyone, mix_of=home,
        level=bootstrap.level, draws=draws, arm_draws=arm_draws[:, 0], notes=_notes(curves, money, cost),
    ).against(reference)  # fmt: skip


def _names(menus: Mapping[str, Menu]) -> tuple[str, ...]:
    if not menus:
        raise _check.refuse("menus", dict(menus), "at least one policy is needed", "Give {name: menu}.")
    for name in menus:
        if name in BASELINES:
            raise _check.refuse(
                "menus", name, "that is the name of a baseline, which is always added", "Rename the policy."
            )
    return (*menus, *BASELINES)


def _budgets(budgets: Any) -> Floats:
    money = _check.array("budgets", np.atleast_1d(budgets), ndim=1, dtype=np.float64)
    _check.finite("budgets", money, "Give the budget per unit.")
    _check.nonnegative("budgets", money, "Give the budget per unit.")
    return money


def _curve(logs: Logs, name: str, menu: Menu, estimator: Estimator, outcomes: Menu | None) -> OutcomeCurve:
    if (menu.n, menu.treatments) != (logs.n, logs.treatments):
        raise _check.refuse(
            f"menus[{name!r}]", (menu.n, menu.treatments),
            f"must have the {logs.n} rows and treatments {logs.treatments} of the logs", "Predict for these rows.",
        )  # fmt: skip
    return outcome_curve(logs, menu, estimator=estimator, outcomes=outcomes)


def _estimates(
    logs: Logs,
    menus: Mapping[str, Menu],
    curves: dict[str, OutcomeCurve],
    money: Floats,
    home: str,
    arms: Arms,
) -> tuple[Floats, Floats, Floats]:
    """Returns value, spend and price of every policy and baseline at every budget, each (P, B)."""
    mean, cost = arms.means()
    least, most = np.array([curve.reach for curve in curves.values()]).T[:, :, None]
    spend = np.where(money >= least, np.minimum(money, most), np.nan)
    low, high, part = curves[home].split_at(money)
    ends = np.unique(np.concatenate([low, high]))
    table = decided_shares(menus[home], logs.weights, ends)
    mix = (1 - part)[:, None] * table[np.searchsorted(ends, low)] + part[:, None] * table[np.searchsorted(ends, high)]
    mix[np.isnan(spend[list(curves).index(home)])] = np.nan
    known = money >= cost.min()
    best = np.where(known, arms.best_mix(money), np.nan)
    dearest = frontier(Menu(value=mean[None, :], cost=np.maximum(cost, 0)[None, :])).spend[-1]
    nothing = np.ones_like(money)
    random, paid = _affordable(mix, mean, cost, money)
    value = [*(curve.value_at(money) for curve in curves.values()), mean[0] * nothing, best, random]
    spent = [*spend, cost[0] * nothing, np.where(known, np.minimum(money, dearest), np.nan), paid]
    price = [*(curve.price_at(money) for curve in curves.values()), *(np.full((3, len(money)), np.nan))]
    return np.array(value), np.array(spent), np.array(price)


def _affordable(mix: Floats, mean: Floats, cost: Floats, money: Floats) -> tuple[Floats, Floats]:
    """Returns value and spend of random mixes (B, M), each (B,): a mix above its budget is given to fewer units."""
    value, spend = mix @ mean, mix @ cost
    room, needed = money - cost[0], spend - cost[0]
    part = np.clip(np.divide(room, needed, out=np.ones_like(room), where=needed > np.maximum(room, 0)), 0, 1)
    return mean[0] + part * (value - mean[0]), cost[0] + part * needed


def _draws(
    menus: Mapping[str, Menu],
    curves: dict[str, OutcomeCurve],
    money: Floats,
    home: str,
    arms: Arms,
    bootstrap: Bootstrap,
) -> tuple[Floats, Floats]:
    """Returns the value of every policy and baseline in every draw (D, P, B), and value and cost of the arms (D, 2, M)."""
    logs = arms.logs
    grids = {name: Grid.of(curve) for name, curve in curves.items()}
    table = decided_shares(menus[home], logs.weights, grids[home].price)
    drawn, means = [], []
    for weight in row_weights(logs, bootstrap.draws, bootstrap.seed):
        mean, cost = arms.means(weight)
        pools = {name: grid.pools(weight) for name, grid in grids.items()}
        values = [np.interp(money, c[::-1], v[::-1]) for _, c, v in pools.values()]
        k, after, part = split(pools[home][1], money)
        first = pools[home][0]
        mix = (1 - part)[:, None] * table[first[k]] + part[:, None] * table[first[after]]
        random, _ = _affordable(mix, mean, cost, money)
        drawn.append([*values, np.full(len(money), mean[0]), arms.best_mix(money, weight), random])
        means.append([mean, cost])
    return np.array(drawn), np.array(means)


def _interval(draws: Floats, value: Floats, level: float) -> tuple[Floats, Floats, Floats]:
    """Returns the estimate and its interval, NaN where the estimate is NaN."""
    ends = np.where(np.isnan(value)[..., None], np.nan, interval(draws, level))
    return value, ends[..., 0], ends[..., 1]


def _notes(curves: dict[str, OutcomeCurve], money: Floats, cost: Floats) -> tuple[str, ...]:
    """Returns a sentence for each policy that some budget is too small for."""
    least = {name: curve.reach[0] for name, curve in curves.items()} | {BEST_MIX: float(cost.min())}
    return tuple(
        f"{name}: spends at least {floor:g} per unit on these rows, so it has no value at a budget of "
        f"{', '.join(f'{b:g}' for b in money[money < floor])}."
        for name, floor in least.items()
        if (money < floor).any()
    )
