"""Compares policies on the same rows: value per unit at each budget, and differences with paired intervals.

Intervals follow from what each row contributes to a value or to a difference, so that common noise cancels in differences:
see `largesse.evaluate.intervals`. Bootstrap draws of all values are kept for statements about several at once. Three
baselines are always included:

- ``"no one"``: every unit gets control;
- ``"best mix of arms"``: the best untargeted policy for the budget, that is the frontier of the arms' means, without the
  optimism of having chosen it on the same rows (`largesse.evaluate.untargeted`);
- ``"random, same mix"``: the policy's share of each treatment, given to random units:
  Σ_j share_j · mean_j with the shares at that policy's price, to fewer units where that would cost more than the
  budget. The difference to it is the effect of targeting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse.evaluate.bootstrap import Arms, FixedPrices, shares_of
from largesse.evaluate.curve import Estimator, OutcomeCurve, outcome_curve
from largesse.evaluate.intervals import effective_events, few_events, weighted_sum
from largesse.evaluate.paths import DecisionPath
from largesse.evaluate.values import Parts, Shares, draws_of, estimates
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.result import Tabular, columns_of, plain

__all__ = [
    "BEST_MIX", "NO_ONE", "RANDOM_MIX", "ArmRow", "Bootstrap", "Comparison", "Row", "Verdict", "compare",
]  # fmt: skip

NO_ONE, BEST_MIX, RANDOM_MIX = "no one", "best mix of arms", "random, same mix"
BASELINES = (NO_ONE, BEST_MIX, RANDOM_MIX)

Floats = NDArray[np.float64]


@checked
@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Options of the intervals and of the bootstrap draws.

    Attributes:
        draws: Number of draws, >= 20, for statements about several values at once; no interval of one value needs them.
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
    """One policy at one budget; spend and value per unit; effective numbers of events of the value and of the difference."""

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
    events: float
    difference_events: float


class MeanValue(NamedTuple):
    """A mean over budgets with its interval and effective number of events."""

    value: float
    low: float
    high: float
    events: float


class ArmRow(NamedTuple):
    """One treatment for everyone; value and cost per unit with intervals; effective number of events of the value."""

    name: str
    value: float
    value_low: float
    value_high: float
    cost: float
    cost_low: float
    cost_high: float
    events: float


@checked
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
        events: Effective number of events that each value rests on, (P, B): below 80, an interval may cover too little.
        difference_events: The same for the difference, (P, B).
        arms: One treatment for everyone, one entry each.
        mix_of: The policy whose shares the random mix takes.
        level: Coverage of all intervals.
        parts: What the values are made of: contributions of the rows, arms, mixes.
        bootstrap: Options of the draws.
        notes: Budgets out of reach, intervals on few events, and rows that a run was trained on, in sentences.
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
    events: Floats
    difference_events: Floats
    arms: tuple[ArmRow, ...]
    mix_of: str
    level: float
    parts: Parts
    bootstrap: Bootstrap
    notes: tuple[str, ...]
    _drawn: list[Floats] = field(default_factory=list)
    _hidden: ClassVar[tuple[str, ...]] = ("parts", "bootstrap")
    _pictured: ClassVar[bool] = True

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

    @property
    def draws(self) -> Floats:
        """Value per unit in each bootstrap draw, (D, P, B), drawn at the first use: for statements about several values."""
        if not self._drawn:
            self._drawn.append(draws_of(self.parts, self.budgets, self.bootstrap.draws, self.bootstrap.seed))
        return self._drawn[0]

    def index(self, name: str) -> int:
        """Returns the position of a policy or baseline in `names`."""
        return self.names.index(_check.choice("name", name, self.names))

    def against(self, reference: str) -> Comparison:
        """Returns the same comparison with differences from another policy or baseline.

        Raises:
            DataError: There is no policy of that name.
        """
        at = self.names.index(_check.choice("reference", reference, self.names))
        difference = self.value - self.value[at]
        ((low, high, events),) = self.parts.made.intervals(self.value, self.level, at)
        return replace(
            self, reference=reference, difference=difference, difference_low=low, difference_high=high,
            difference_events=events,
        )  # fmt: skip

    def over_budgets(self, name: str, counted: NDArray[np.bool_], *, against: str | None = None) -> MeanValue:
        """Returns the mean value of a policy or baseline over some budgets, or its mean difference from another.

        Args:
            name: Policy or baseline.
            counted: The budgets that count, (B,), at least one.
            against: Policy or baseline that is taken off.
        """
        p, q = self.index(name), None if against is None else self.index(against)
        each = self.value[p] if q is None else self.value[p] - self.value[q]
        mean = float(each[counted].mean())
        return MeanValue(mean, *self.parts.made.mean_interval(p, q, counted, mean, self.level))

    def rows(self) -> list[Row]:
        """Returns one row for each policy and budget, for tables."""
        cells = (self.value, self.low, self.high, self.spend, self.price,
                 self.difference, self.difference_low, self.difference_high, self.events, self.difference_events)  # fmt: skip
        return [
            Row(name, float(budget), *(float(cell[p, b]) for cell in cells))
            for p, name in enumerate(self.names)
            for b, budget in enumerate(self.budgets)
        ]


@checked
def compare(
    logs: Logs,
    menus: Mapping[str, Menu | DecisionPath],
    budgets: _check.Numbers,
    *,
    reference: str | None = None,
    bootstrap: Bootstrap = Bootstrap(),
    estimator: Estimator = "ht",
    outcomes: Menu | None = None,
) -> Comparison:
    """Returns the value of each menu's policy and of the baselines at each budget, with paired intervals.

    Args:
        logs: Held-out rows with known propensities. It is not known here whether a model was trained on them: a policy looks
            better than it is on such rows, and on other rows of their units. `largesse compare RUN RUN FILE` checks it.
        menus: Name → predictions of that policy for these rows, or its decisions at rising budgets.
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
    return _compared(logs, menus, budgets, reference, bootstrap, estimator, outcomes)


def without_intervals(logs: Logs, menus: Mapping[str, Menu | DecisionPath], budgets: _check.Numbers) -> Comparison:
    """Returns what `compare` returns, without intervals of values and differences: `returns` needs none of them."""
    return _compared(logs, menus, budgets, None, Bootstrap(), "ht", None, intervals=False)


def comparing(logs: Logs, menus: Mapping[str, Menu | DecisionPath]) -> Callable[[_check.Numbers], Comparison]:
    """Returns the function from budgets to `compare(logs, menus, budgets)`; what needs no budgets is done once.

    Raises:
        DataError: As for `compare`.
    """
    names = _names(menus)
    ready = _ready(logs, menus, names[0], "ht", None)
    return lambda budgets: _compared(logs, menus, budgets, None, Bootstrap(), "ht", None, ready=ready)


class _Ready(NamedTuple):
    """What of a comparison does not depend on the budgets."""

    curves: dict[str, OutcomeCurve]
    arms: Arms
    shares: Shares


def _ready(
    logs: Logs, menus: Mapping[str, Menu | DecisionPath], home: str, estimator: Estimator, outcomes: Menu | None
) -> _Ready:
    curves = {name: _curve(logs, name, menu, estimator, outcomes) for name, menu in menus.items()}
    return _Ready(curves, Arms.of(logs, estimator, outcomes), shares_of(menus[home], logs.weights))


def _compared(
    logs: Logs, menus: Mapping[str, Menu | DecisionPath], budgets: _check.Numbers, reference: str | None, bootstrap: Bootstrap,
    estimator: Estimator, outcomes: Menu | None, *, intervals: bool = True, ready: _Ready | None = None,
) -> Comparison:  # fmt: skip
    names = _names(menus)
    money = _budgets(budgets)
    reference = names[0] if reference is None else _check.choice("reference", reference, names)
    home = reference if reference in menus else names[0]
    curves, arms, shares = _ready(logs, menus, home, estimator, outcomes) if ready is None else ready
    fixed = {name: FixedPrices.of(curve, money) for name, curve in curves.items()}
    value, spend, price, parts = estimates(logs, menus, fixed, money, home, arms, shares)
    at = names.index(reference)
    ends = (np.full_like(value, np.nan),) * 3
    (low, high, events), of_difference = (
        parts.made.intervals(value, bootstrap.level, None, at) if intervals else (ends, ends)
    )
    return Comparison(
        names=names, budgets=money, value=value, low=low, high=high, spend=spend, price=price, reference=reference,
        difference=value - value[at], difference_low=of_difference[0], difference_high=of_difference[1], events=events,
        difference_events=of_difference[2],
        arms=tuple(_arm_rows(arms, bootstrap.level)), mix_of=home, level=bootstrap.level, parts=parts,
        bootstrap=bootstrap, notes=(*_notes(curves, money, arms.means()[1]), *few_events(events, bootstrap.level)),
    )  # fmt: skip


def _arm_rows(arms: Arms, level: float) -> Iterator[ArmRow]:
    """Yields value and cost of each treatment for everyone."""
    for j, name in enumerate(arms.logs.treatments):
        of_value, of_cost = np.zeros((2, 2, arms.logs.n_treatments))
        of_value[0, j] = of_cost[1, j] = 1.0
        mean, ends, _ = weighted_sum(arms.logs, np.column_stack([arms.terms(of_value), arms.terms(of_cost)]), level)
        events = effective_events(arms.logs, arms.outcomes(of_value)[:, None])
        yield ArmRow(name, *map(float, (mean[0], *ends[0], mean[1], *ends[1], events[0])))


def _names(menus: Mapping[str, Menu | DecisionPath]) -> tuple[str, ...]:
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


def _curve(
    logs: Logs, name: str, menu: Menu | DecisionPath, estimator: Estimator, outcomes: Menu | None
) -> OutcomeCurve:
    if (menu.n, menu.treatments) != (logs.n, logs.treatments):
        raise _check.refuse(
            f"menus[{name!r}]", (menu.n, menu.treatments),
            f"must have the {logs.n} rows and treatments {logs.treatments} of the logs", "Predict for these rows.",
        )  # fmt: skip
    return outcome_curve(logs, menu, estimator=estimator, outcomes=outcomes)


def _notes(curves: dict[str, OutcomeCurve], money: Floats, cost: Floats) -> tuple[str, ...]:
    """Returns a sentence for each policy that some budget is too small for."""
    least = {name: curve.reach[0] for name, curve in curves.items()} | {BEST_MIX: float(cost.min())}
    return tuple(
        f"{name}: spends at least {_check.written(floor)} per unit on these rows, so it has no value at a budget of "
        f"{', '.join(_check.written(float(b)) for b in money[money < floor])}."
        for name, floor in least.items()
        if (money < floor).any()
    )
