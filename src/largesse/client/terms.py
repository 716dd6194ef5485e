"""What the client sends and what it returns: asks and outcomes; decisions, receipts and the status of a campaign."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, NamedTuple, TypeVar

__all__ = ["OFFLINE", "Ask", "CampaignStatus", "Challenger", "Decision", "Outcome", "Receipt", "Why", "taken"]

OFFLINE = "offline"
"""Kind of a decision that the service did not make."""
T = TypeVar("T")


class Ask(NamedTuple):
    """The question what one unit gets.

    Attributes:
        unit: Id of the unit; 7 and "7" are the same unit.
        features: A cell for each column that the policy reads: number, text, bool, date or time; None and NaN are missing.
        campaign: Name of the campaign; None: the only one of the service.
        allowed: Names of the treatments that the unit may get, control among them; None: all.
        key: Name of this ask: the same key gets the same answer; None: the client makes one.
    """

    unit: str | int
    features: Mapping[str, Any]
    campaign: str | None = None
    allowed: Collection[str] | None = None
    key: str | None = None


class Outcome(NamedTuple):
    """What a decision brought and cost, or a part of it.

    Attributes:
        decision: Id of the decision.
        key: Your name of this outcome within the campaign, e.g. the number of the order; it counts once.
        cost: Money paid since the last outcome; negative for a refund.
        value: Value since the last outcome, e.g. orders.
        final: True releases what is still reserved; False: more may follow.
        void: True if the treatment never reached the unit; cost and value are then 0.
    """

    decision: str
    key: str
    cost: float = 0.0
    value: float = 0.0
    final: bool = True
    void: bool = False


@dataclass(frozen=True, slots=True)
class Why:
    """Why the policy chooses a treatment.

    Attributes:
        treatment: The policy's treatment; a unit of the holdout or of the exploration may get another one.
        runner_up: The treatment with the next highest net value (value - price · cost); None: only one is allowed.
        margin: By how much its net value is lower.
        switch_price: The nearest price at which the policy's treatment changes; None: it is the same at every price.
    """

    treatment: str
    runner_up: str | None
    margin: float | None
    switch_price: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a unit gets.

    Attributes:
        unit: Id of the unit.
        treatment: What it gets.
        key: Name of the ask, yours or the client's.
        kind: "holdout", "explore" or "policy": by which rule it was drawn; "offline": the fallback of the client.
        offline: True if the service gave no answer in time. Such a decision is in no log and has no propensity: it is no row of
            the trial.
        maybe_stored: True for an offline decision whose ask may have reached the service all the same. Ask again later with the
            same key, and report an outcome with `void=True` if the unit did not get the treatment of that answer.
        id: Id of the decision, which outcomes name; None offline.
        campaign: Name of the campaign; None offline if it was not given.
        period: Number of the period, from 0; None offline, as all that follow, except the last two.
        propensity: Probability of this treatment.
        propensities: Probability of every treatment, by name.
        value: Predicted value of the treatment.
        cost: Predicted cost of it, in units of money.
        price: Shadow price λ of the decision.
        version: Version of the policy; "fallback": control, because the service had no model in time.
        why: Why the policy chooses its treatment; None without a model, or for a decision of another menu.
        limited: True if the budget did not pay for every treatment that could be drawn.
        repeated: True if the decision was stored before this ask.
    """

    unit: str
    treatment: str
    key: str
    kind: str
    offline: bool = False
    maybe_stored: bool = False
    id: str | None = None
    campaign: str | None = None
    period: int | None = None
    propensity: float | None = None
    propensities: dict[str, float] | None = None
    value: float | None = None
    cost: float | None = None
    price: float | None = None
    version: str | None = None
    why: Why | None = None
    limited: bool = False
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
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


@dataclass(frozen=True, slots=True)
class Challenger:
    """A run that is tried beside the one that decides.

    Attributes:
        run: Run folder on the server.
        version: Version of its policy.
        share: Share of the units that it decides.
        shadow: True if its answers to the other units are stored.
    """

    run: str
    version: str
    share: float
    shadow: bool


@dataclass(frozen=True, slots=True)
class CampaignStatus:
    """The money, the counts and the policy of a campaign.

    Attributes:
        campaign: Name of the campaign.
        treatments: Treatments, control first.
        version: Version of the policy that decides.
        budget: Budget.
        spent: Money paid.
        reserved: Money reserved for decisions without a final outcome.
        left: Budget less spent and reserved.
        beyond: Sum of the payments beyond their reservations.
        price: Shadow price λ.
        until: End, in UTC (ISO 8601).
        decided: Number of decisions.
        limited: Number of decisions that the budget limited.
        counts: Number of decisions by kind and treatment.
        ratio: What is paid of one unit of money reserved, as estimated for the price.
        ratio_low: Lower end of its 95 % interval.
        ratio_high: Upper end.
        clamped: True if it is outside 0.2 to 3: the price counts on the nearer of these.
        expected: What is still expected to be paid for the decisions so far, of `reserved`; None: an older service.
        budget_of: Name of the budget that it shares with others, of which `budget` is its part now; None: it has its own.
        joint_budget: That budget.
        holdout: Share of the units that get control.
        explore: Share of the other units whose treatment is drawn.
        challenger: The run that is tried; None: there is none.
    """

    campaign: str
    treatments: list[str]
    version: str
    budget: float
    spent: float
    reserved: float
    left: float
    beyond: float
    price: float
    until: str
    decided: int
    limited: int
    counts: dict[str, dict[str, int]]
    ratio: float
    ratio_low: float
    ratio_high: float
    clamped: bool
    holdout: float
    explore: float
    challenger: Challenger | None = None
    expected: float | None = None
    budget_of: str | None = None
    joint_budget: float | None = None


def taken(kind: type[T], content: Any, **more: Any) -> T:
    """Returns an object of the fields of a JSON document; fields that a later service adds are left out.

    Raises:
        ValueError: It is no such document.
    """
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    known = fields(kind)  # type: ignore[arg-type]
    given = {field.name: content[field.name] for field in known if field.name in content} | more
    if missing := [field.name for field in known if field.default is MISSING and field.name not in given]:
        raise ValueError(f"it has no {missing[0]!r}")
    return kind(**given)
