"""What goes into a ledger and what comes out: campaigns, asks, answers, outcomes, receipts and the status of a campaign."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse.errors import DataError
from largesse.serving.draws import Draws
from largesse.serving.exploring import WAYS
from largesse.serving.ledger.money import rounded_down, rounded_up

__all__ = [
    "FALLBACK", "Answer", "Answers", "Ask", "Campaign", "Log", "Outcome", "Receipt", "Status", "Verification", "Written",
    "WrittenColumn", "text",
]  # fmt: skip

FALLBACK = "fallback"
"""Version of decisions without a model: control, with probability 1, and a menu of zeros."""

_LONGEST = 500  # bytes of a name, an id or a key
_LARGEST_SCALE = 10**6


def text(field: str, got: object) -> str:
    """Returns a name, an id or a key as text that every store can keep, or raises DataError."""
    if type(got) is str and got.isascii() and 0 < len(got) <= _LONGEST and "\0" not in got:  # nearly all
        return got
    if isinstance(got, bool) or not isinstance(got, str | int | np.integer):
        raise _check.refuse(field, got, "must be text or a whole number", "Give the id as text.")
    out = str(got)
    try:
        size = len(out.encode())
    except UnicodeEncodeError:  # half of a pair of surrogates
        size = 0
    if not 0 < size <= _LONGEST or "\0" in out:
        rule = f"must have 1 to {_LONGEST} bytes, none of them zero, and be valid Unicode"
        raise _check.refuse(field, got, rule, "Give a shorter id, or its hash.")
    return out


class Written(str):
    """Features that are JSON already, with sorted names: the ledger stores them as they are."""

    __slots__ = ()


class WrittenColumn(list[str]):
    """Features of many units that are JSON already, each as `Written`."""

    __slots__ = ()


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """A policy in service: its budget, its end, its treatments, and how units are drawn.

    Attributes:
        name: Name of the campaign.
        treatments: Names of the M treatments, control first.
        budget: Money that may be spent and reserved, rounded down to smallest units.
        until: End, in seconds since 1970 (UTC); later asks are refused.
        price: Shadow price λ to begin with, as `largesse allocate` prints it; `reprice` changes it.
        salt: Name of the experiment for the holdout; "": the name of the campaign.
        holdout: Share of the units that get control, 0 to leave it out.
        explore: Share of the other units whose treatment is drawn from the mix.
        mix: Weight of each treatment in exploration, > 0; None: all equal.
        exploration: How units that explore are drawn (`largesse.serving.exploring`): "mix"; "cost-neutral", so that they cost
            what the policy costs; "thompson", by the weights that each ask has, e.g. the votes of an ensemble.
        mix_share: Part of the exploration that is drawn from the mix in any case, > 0.
        guarantee: "expected": a decision reserves its predicted cost. "hard": the most that its treatment can cost.
        worst: The most that each treatment can cost, with "hard"; control may be left out if it costs nothing.
        period: Seconds after which a unit may be decided anew; None: one decision for the whole campaign.
        matures: Seconds until a reservation without an outcome expires.
        scale: Smallest units of money in one unit of money, e.g. 100.
        units: Expected number of decisions of the whole campaign; None: from the time left and the hours in which units arrive.

    Raises:
        DataError: A field violates a rule above; it is named.

    >>> Campaign(name="spring", treatments=("none", "coupon"), budget=100.0, until=2e9, price=0.5).drawn().explore
    0.05
    """

    name: str
    treatments: tuple[str, ...]
    budget: float
    until: float
    price: float
    salt: str = ""
    holdout: float = 0.02
    explore: float = 0.05
    mix: Mapping[str, float] | None = None
    exploration: Literal["mix", "cost-neutral", "thompson"] = "mix"
    mix_share: float = 0.2
    guarantee: Literal["expected", "hard"] = "expected"
    worst: Mapping[str, float] | None = None
    period: float | None = None
    matures: float = 7 * 86_400.0
    scale: int = 100
    units: float | None = None

    def __post_init__(self) -> None:
        text("name", self.name)
        if self.salt:
            text("salt", self.salt)
        object.__setattr__(self, "treatments", tuple(text("treatments", t) for t in self.treatments))
        if len(set(self.treatments)) < max(2, len(self.treatments)):
            remedy = "Name control first, then the others."
            raise _check.refuse("treatments", self.treatments, "must be two or more different names", remedy)
        whole = isinstance(self.scale, int) and not isinstance(self.scale, bool)
        if not (whole and 1 <= self.scale <= _LARGEST_SCALE):
            rule = f"must be a whole number from 1 to {_LARGEST_SCALE:,}"
            raise _check.refuse("scale", self.scale, rule, "Cents of a euro: 100.")
        _check.number("budget", self.budget, low=0)
        rounded_down("budget", self.budget, self.scale)
        for name in ("until", "price", "period", "matures", "units"):
            if (got := getattr(self, name)) is not None:
                _check.number(name, got, low=1e-3 if name in ("period", "units") else 0, high=1e15)
        _check.choice("guarantee", self.guarantee, ("expected", "hard"))
        _check.choice("exploration", self.exploration, WAYS)
        for name in ("mix", "worst"):
            self._check_names(name)
        self.drawn()
        self.worst_amounts()

    def _check_names(self, field: str) -> None:
        given = getattr(self, field)
        for name in given or ():
            if name not in self.treatments:
                rule = f"must be among the treatments {', '.join(map(repr, self.treatments))}"
                raise _check.refuse(field, name, rule, "Correct the name.")
        if given is not None:
            missing = [t for t in self.treatments[field == "worst" :] if t not in given]
            if missing:
                raise _check.refuse(field, missing[0], "has no entry", "Give one for every treatment.")

    def drawn(self) -> Draws:
        """Returns how units are drawn."""
        mix = tuple(1.0 if self.mix is None else self.mix[t] for t in self.treatments)
        return Draws(
            self.salt or self.name, self.name, mix=mix, holdout=self.holdout, explore=self.explore, mix_share=self.mix_share
        )  # fmt: skip

    def worst_amounts(self) -> tuple[int, ...]:
        """Returns the most that each treatment can cost, in smallest units, (M,); zeros without a hard guarantee.

        Raises:
            DataError: It is needed and missing, or an amount is negative.
        """
        if self.guarantee == "expected":
            return (0,) * len(self.treatments)
        if self.worst is None:
            remedy = "Give the most that each treatment can cost."
            raise _check.refuse("worst", None, 'must be given with guarantee = "hard"', remedy)
        amounts = [_check.number(f"worst[{t!r}]", self.worst.get(t, 0.0), low=0) for t in self.treatments]
        return tuple(rounded_up("worst", one, self.scale) for one in amounts)


class Ask(NamedTuple):
    """The question what one unit gets.

    Attributes:
        campaign: Name of the campaign.
        unit: Id of the unit; 7 and "7" are the same unit.
        value: Predicted value of each treatment of the campaign, (M,), finite.
        cost: Predicted cost of each treatment, (M,), >= 0, in units of money.
        allowed: Names of the treatments that the unit may get, control among them; None: all.
        key: The caller's name of this ask: the same key gets the same answer. None: the unit alone is the key.
        body: What the key stands for, e.g. the body of the request: the same key with another one is a conflict. "": unit,
            allowed treatments and features, or the menu where no features are given.
        version: Version of the policy that predicted the menu.
        features: What the policy read, stored with the decision; None: nothing is stored.
        weights: Weights of the treatments when the unit explores, (M,), >= 0, in a campaign that explores by "thompson"; None:
            the mix.
    """

    campaign: str
    unit: str | int
    value: Sequence[float]
    cost: Sequence[float]
    allowed: Collection[str] | None = None
    key: str | None = None
    body: str = ""
    version: str = ""
    features: Mapping[str, Any] | Written | None = None
    weights: Sequence[float] | None = None


class Answer(NamedTuple):
    """A decision, as stored.

    Attributes:
        id: Id of the decision, which outcomes name.
        campaign: Name of the campaign.
        period: Number of the period, from 0.
        unit: Id of the unit.
        treatment: Name of the treatment.
        kind: "holdout", "explore" or "policy": by which rule the unit was drawn.
        propensity: Probability that the unit gets this treatment.
        propensities: Probability of every treatment, by name.
        value: Predicted value of the treatment.
        cost: Predicted cost of it, in units of money.
        price: Shadow price λ of the decision.
        version: Version of the policy.
        reservation: Money reserved at the decision.
        limited: True if the budget did not pay for every treatment that the unit could have drawn. `kind` then says what was
            drawn, and the propensities are those of the treatments given under that budget: some are 0 that the campaign's shares
            would make positive. Such rows are no rows of the trial.
        time: Time of the decision, in seconds since 1970 (UTC).
        repeated: True if the decision was stored before this ask.
    """

    id: str
    campaign: str
    period: int
    unit: str
    treatment: str
    kind: str
    propensity: float
    propensities: dict[str, float]
    value: float
    cost: float
    price: float
    version: str
    reservation: float
    limited: bool
    time: float
    repeated: bool


class Answers(NamedTuple):
    """The decisions on many units of a campaign, as stored, by columns of n entries; each means the same as in `Answer`.

    Attributes:
        id: Ids of the decisions; "" where an ask was refused.
        treatment: Names of the treatments; "" where an ask was refused.
        kind: "holdout", "explore" or "policy"; "" where an ask was refused.
        propensity: Probability of the treatment of each unit, (n,); NaN where an ask was refused, as the other numbers.
        propensities: Probability of every treatment, (n, M).
        value: Predicted value of the treatment, (n,).
        cost: Predicted cost of the treatment, (n,).
        price: Shadow price λ of the decision, (n,).
        reservation: Money reserved at the decision, (n,).
        time: Time of the decision, (n,).
        period: Number of the period, (n,); -1 where an ask was refused.
        version: Versions of the policy.
        limited: Whether the budget limited the decision, (n,).
        repeated: Whether the decision was stored before, (n,).
        errors: Why asks were refused, by their places.
    """

    id: list[str]
    treatment: list[str]
    kind: list[str]
    propensity: NDArray[np.float64]
    propensities: NDArray[np.float64]
    value: NDArray[np.float64]
    cost: NDArray[np.float64]
    price: NDArray[np.float64]
    reservation: NDArray[np.float64]
    time: NDArray[np.float64]
    period: NDArray[np.int64]
    version: list[str]
    limited: NDArray[np.bool_]
    repeated: NDArray[np.bool_]
    errors: dict[int, DataError]


class Outcome(NamedTuple):
    """What a decision brought and cost, or a part of it.

    Attributes:
        decision: Id of the decision.
        key: The caller's name of this outcome within the campaign; it counts once.
        cost: Money paid since the last outcome; negative for a refund. Rounded up to smallest units.
        value: Value since the last outcome, e.g. orders.
        final: True releases what is still reserved; False: more may follow.
        void: True if the treatment never reached the unit: the reservation is released, and cost and value must be 0.
    """

    decision: str
    key: str
    cost: float = 0.0
    value: float = 0.0
    final: bool = True
    void: bool = False


class Receipt(NamedTuple):
    """The state of a decision after an outcome.

    Attributes:
        decision: Id of the decision.
        key: Key of the outcome.
        state: "pending", "posted", "voided" or "expired".
        paid: Money paid for the decision so far.
        value: Value of the decision so far.
        repeated: True if the outcome was counted before.
    """

    decision: str
    key: str
    state: str
    paid: float
    value: float
    repeated: bool


class Status(NamedTuple):
    """The money and the counts of a campaign.

    Attributes:
        campaign: Name of the campaign.
        budget: Budget.
        spent: Money paid.
        reserved: Money reserved for decisions without a final outcome.
        left: Budget less spent and reserved; 0 where payments beyond their reservations have exceeded it.
        beyond: Sum of the payments beyond their reservations; spent plus reserved is at most the budget plus this.
        price: Shadow price λ.
        until: End, in seconds since 1970 (UTC).
        decided: Number of decisions.
        limited: Number of decisions that the budget limited.
        counts: Number of decisions by kind and treatment.
        ratio: What is paid of one unit of money reserved, as estimated at the last `reprice`; 1 before the first.
        ratio_low: Lower end of its 95 % interval; `ratio` where nothing is known.
        ratio_high: Upper end.
        clamped: True if the ratio lies outside 0.2 to 3: the price counts on the nearer of these two instead.
        expected: What is still expected to be paid for the decisions so far: of `reserved`, by the age of what is open, as
            estimated at the last `reprice`; `reserved` before the first.
        budget_of: Name of the budget that the campaign shares with others, of which `budget` is its part now; None: it has its
            own.
        joint_budget: That budget.
    """

    campaign: str
    budget: float
    spent: float
    reserved: float
    left: float
    beyond: float
    price: float
    until: float
    decided: int
    limited: int
    counts: dict[str, dict[str, int]]
    ratio: float
    ratio_low: float
    ratio_high: float
    clamped: bool
    expected: float
    budget_of: str | None = None
    joint_budget: float | None = None


class Log(NamedTuple):
    """How far the log of a campaign goes: kept elsewhere, it lets a later verification tell whether the log was rewritten.

    Attributes:
        decisions: Number of decisions.
        decision_link: Link of the last decision, hexadecimal.
        outcomes: Number of outcomes.
        outcome_link: Link of the last outcome, hexadecimal.
        erased: Number of decisions whose unit was erased.
        days: Link of the last decision of each day (UTC), hexadecimal, by date.
    """

    decisions: int
    decision_link: str
    outcomes: int
    outcome_link: str
    erased: int
    days: dict[str, str]


class Verification(NamedTuple):
    """What a verification of the log says.

    Attributes:
        logs: The log of each campaign.
        problems: What was changed, inserted or deleted, a sentence each; empty if nothing was.
    """

    logs: dict[str, Log]
    problems: list[str]
