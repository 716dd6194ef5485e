"""The content of a report: frozen dataclasses of plain numbers and words, checked once.

Spend and value are per unit and decision period unless a name says otherwise. A value at a budget that a policy cannot
keep is NaN and is printed as "out of reach". Sequences and arrays are stored as tuples.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isnan, nan
from typing import Any, Literal

from largesse import _check
from largesse._arguments import checked
from largesse.checks.finding import Finding
from largesse.evaluate.comparison import Verdict
from largesse.report.blocks import Block
from largesse.report.cluster_cards import Clusters
from largesse.report.pays import Pay
from largesse.report.provenance import Provenance
from largesse.report.segments import Segments
from largesse.report.spend import SpendRow

__all__ = [
    "ArmPoint",
    "BudgetRow",
    "CurveLine",
    "Headline",
    "Leaderboard",
    "LeaderboardRow",
    "MixTable",
    "Results",
    "Role",
    "TrustRow",
]

Role = Literal["policy", "baseline", "candidate"]
_ROLES = ("policy", "baseline", "candidate")
_SUM = 0.01  # tolerance of the sum of shares, for rounding


def _put(part: object, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(part, name, value)


def _floats(values: Iterable[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The first paragraph of a report.

    Attributes:
        title: Name of the campaign or run.
        sentence: The main result, with its interval.
        summary: A few sentences that explain it.
        action: What to do next; ``""`` leaves it out.
    """

    title: str
    sentence: str
    summary: tuple[str, ...] = ()
    action: str = ""

    def __post_init__(self) -> None:
        _put(self, summary=tuple(self.summary))


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class CurveLine:
    """Value against spend of one policy, both per unit.

    Attributes:
        name: Name of the policy.
        cost: Spend per unit, rising, (K,).
        value: Value per unit, (K,); NaN leaves a gap.
        low: Lower end of the interval, (K,), or () for no band.
        high: Upper end, as `low`.
        role: ``"policy"`` (the one to ship), ``"baseline"`` or ``"candidate"``.
    """

    name: str
    cost: tuple[float, ...]
    value: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    role: Role = "policy"

    def __post_init__(self) -> None:
        _check.choice("role", self.role, _ROLES)
        for name in ("cost", "value", "low", "high"):
            _put(self, **{name: _floats(getattr(self, name))})
        for name in ("value", "low", "high"):
            got = len(getattr(self, name))
            if got != len(self.cost) and (got or name == "value"):
                raise _check.refuse(
                    f"len({name})", got, f"must equal len(cost), {len(self.cost)}", "Give one per point."
                )
        if bool(self.low) != bool(self.high):
            raise _check.refuse("len(low)", len(self.low), "a band needs both ends", "Give low and high, or neither.")


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class ArmPoint:
    """One treatment for everyone: cost and value per unit, with the interval of the value."""

    name: str
    cost: float
    value: float
    low: float = nan
    high: float = nan
    control: bool = False


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRow:
    """Value per unit of one policy at one budget, and its paired difference from the reference.

    Attributes:
        policy: Name of the policy; it has the colour of the curve of that name.
        budget: Budget per unit.
        budget_label: The budget in the reader's words, e.g. ``"50 % of the full budget"``.
        value: Value per unit; NaN if the budget is out of reach.
        low: Lower end of its interval.
        high: Upper end.
        difference: Value minus the reference's value; None for the reference itself.
        difference_low: Lower end of the paired interval.
        difference_high: Upper end.
        events: Effective number of events that the value rests on; NaN if unknown.
        difference_events: The same for the difference.
        role: As in `CurveLine`.
    """

    policy: str
    budget: float
    budget_label: str
    value: float
    low: float = nan
    high: float = nan
    difference: float | None = None
    difference_low: float = nan
    difference_high: float = nan
    events: float = nan
    difference_events: float = nan
    role: Role = "policy"

    def __post_init__(self) -> None:
        _check.choice("role", self.role, _ROLES)

    @property
    def verdict(self) -> Verdict:
        """The policy against the reference."""
        if isnan(self.value) or isnan(self.difference or 0.0):  # its own, or the reference's
            return Verdict.OUT_OF_REACH
        if self.difference is None:
            return Verdict.REFERENCE
        return Verdict.of(self.difference_low, self.difference_high)


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderboardRow:
    """One candidate model: its score on validation rows, the interval, its events, and its training time in seconds."""

    name: str
    score: float
    low: float = nan
    high: float = nan
    events: float = nan
    chosen: bool = False
    seconds: float = nan
    note: str = ""


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard:
    """The candidates, best first, with the name of the score and the reason of the choice."""

    rows: tuple[LeaderboardRow, ...]
    score: str
    reason: str = ""

    def __post_init__(self) -> None:
        _put(self, rows=tuple(self.rows))


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class MixTable:
    """Who gets what: the share of each treatment in each group.

    Attributes:
        title: Name of the grouping, e.g. ``"Budget"`` or the name of a feature.
        labels: Names of the groups, (G,).
        treatments: Names of the treatments, control first, (M,).
        shares: Share of each treatment, (G, M); each row sums to one.
        caption: How to read it; ``""`` leaves it out.
    """

    title: str
    labels: tuple[str, ...]
    treatments: tuple[str, ...]
    shares: tuple[tuple[float, ...], ...]
    caption: str = ""

    def __post_init__(self) -> None:
        shares = tuple(_floats(row) for row in self.shares)
        _put(self, labels=tuple(map(str, self.labels)), treatments=tuple(map(str, self.treatments)), shares=shares)
        if len(shares) != len(self.labels):
            raise _check.refuse(
                "len(shares)", len(shares), f"must equal len(labels), {len(self.labels)}", "One row per group."
            )
        for label, row in zip(self.labels, shares, strict=True):
            if len(row) != len(self.treatments):
                got, rule = len(row), f"{len(self.treatments)} treatments are named"
                raise _check.refuse(f"len(shares[{label!r}])", got, rule, "One share per treatment.")
            if min(row) < 0 or abs(sum(row) - 1) > _SUM:
                raise _check.refuse(
                    f"shares[{label!r}]", row, "must be >= 0 and sum to one", "Divide by the group's units."
                )


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRow:
    """How far the past campaign data can be trusted for one treatment; NaN where a quantity is not known.

    Attributes:
        treatment: Its name.
        rows: Rows of the log with this treatment.
        effective_rows: Their effective sample size, weighted to represent all units.
        raw_bias: Mean value in the log less that in the trial.
        raw_bias_low: Lower end of its interval.
        raw_bias_high: Upper end.
        residual_bias: Mean value that a model of the log alone predicts for the units of the trial, less the observed mean.
        residual_bias_low: Lower end of its interval.
        residual_bias_high: Upper end.
        gate: Weight of pseudo-labels in a bi-level model, for treatments that were not given; mean over units, in [0, 1].
        gate_low: 5 % of the units are below this.
        gate_high: 5 % of the units are above this.
    """

    treatment: str
    rows: int
    effective_rows: float = nan
    raw_bias: float = nan
    raw_bias_low: float = nan
    raw_bias_high: float = nan
    residual_bias: float = nan
    residual_bias_low: float = nan
    residual_bias_high: float = nan
    gate: float = nan
    gate_low: float = nan
    gate_high: float = nan


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The content of the report of a run; an empty part leaves its section out.

    Attributes:
        headline: The first paragraph.
        value_unit: Unit of the value, e.g. ``"orders"``.
        money_unit: Unit of the cost, e.g. ``"USD"``; empty if it is not declared.
        head: What one unit is, e.g. ``"customer"``.
        level: Level of the intervals.
        reference: The policy that all are compared with.
        pay: What each budget brings beyond doing nothing, and whether it pays.
        understood: What the run took from the files and their configuration.
        findings: The checks of the data.
        curves: The cost curves; the policy to ship has the role ``"policy"``.
        arms: One treatment for everyone, one row each.
        budgets: Values at budgets, in the order to print them.
        budget_note: What the labels of the budgets mean; ``""`` leaves it out.
        leaderboard: The candidates on validation rows.
        trust: How far the past campaign data can be trusted, one row per treatment.
        mix: Who gets what by budget.
        segments: What segments get and bring, at one budget.
        feature_mixes: Who gets what by group of a column, at one budget.
        feature_segments: What those groups get and bring, one for each of `feature_mixes`; or none.
        clusters: The clusters of a model.
        spend: Planned and realised spend.
        provenance: How the results were made.
        cautions: Limitations.
    """

    headline: Headline
    value_unit: str
    money_unit: str
    head: str = "unit"
    level: float = 0.95
    reference: str = "best mix of arms"
    pay: Pay | None = None
    understood: tuple[Block, ...] = ()
    findings: tuple[Finding, ...] = ()
    curves: tuple[CurveLine, ...] = ()
    arms: tuple[ArmPoint, ...] = ()
    budgets: tuple[BudgetRow, ...] = ()
    budget_note: str = ""
    leaderboard: Leaderboard | None = None
    trust: tuple[TrustRow, ...] = ()
    mix: MixTable | None = None
    segments: Segments | None = None
    feature_mixes: tuple[MixTable, ...] = ()
    feature_segments: tuple[Segments, ...] = ()
    clusters: Clusters | None = None
    spend: tuple[SpendRow, ...] = ()
    provenance: Provenance | None = None
    cautions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check.number("level", self.level, low=0.5, high=0.9999)
        sequences = ("understood", "findings", "curves", "arms", "budgets", "trust", "feature_mixes", "feature_segments", "spend",
                     "cautions")  # fmt: skip
        for name in sequences:
            _put(self, **{name: tuple(getattr(self, name))})

    @property
    def value_label(self) -> str:
        """E.g. ``"orders per customer"``."""
        return f"{self.value_unit} per {self.head}"

    @property
    def spend_label(self) -> str:
        """What stands after an amount, e.g. ``"USD per customer"``; ``"per customer"`` if the unit of money is not declared."""
        return f"{self.money_unit} per {self.head}".strip()

    @property
    def spend_name(self) -> str:
        """The spend as a heading: ``"USD per customer"``, or ``"Spend per customer"``."""
        return f"{self.money_unit or 'Spend'} per {self.head}"

    @property
    def spend_axis(self) -> str:
        """The spend along an axis: ``"USD per customer spent"``, or ``"Spend per customer"``."""
        return f"{self.spend_name} spent" if self.money_unit else self.spend_name

    @property
    def policy(self) -> str:
        """Name of the policy to ship; ``"policy"`` if no part names it."""
        names = [line.name for line in self.curves if line.role == "policy"]
        names += [row.policy for row in self.budgets if row.role == "policy"]
        return names[0] if names else "policy"
