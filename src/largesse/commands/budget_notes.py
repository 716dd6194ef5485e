"""Sentences about a budget that its owner should know: what safety costs, and what is spent past break-even."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import NamedTuple

from largesse import _check
from largesse.menu import PlanTotals
from largesse.policy.curve import PriceCurve
from largesse.policy.deployed import Allocation
from largesse.policy.descent import Descent

__all__ = ["Between", "OnAverage", "on_average", "safety_note"]

Between = Callable[[float, float], tuple[float, float]]
"""Returns predicted spend and value of the increments that are bought at a lower price and not at a higher one."""


class OnAverage(NamedTuple):
    """The same budget, stayed within on average only: expected spend, price, and the value that the menu predicts beyond."""

    spend: float
    price: float
    more: float


def on_average(
    safety: float | None, budget: float, decision: Descent, free: Callable[[], Descent], between: Between
) -> OnAverage | None:
    """Returns what a budget would buy without a margin; None where there is no margin, or it costs nothing.

    Args:
        safety: Probability of staying within the budget; None: on average.
        budget: Total budget.
        decision: Its price.
        free: Returns the price of the same budget, stayed within on average.
        between: Sums between two prices.
    """
    if safety is None or not isfinite(budget):
        return None
    other = free()
    if other.price >= decision.price:
        return None
    more = between(other.price, decision.price)[1]
    return OnAverage(other.spend_curve.at(other.price, 0.0).mean, other.price, more)


def safety_note(curve: PriceCurve, done: Allocation[PlanTotals], free: OnAverage | None) -> tuple[str, ...]:
    """Returns a sentence about what the safety of a plan costs, and the choice there is.

    Args:
        curve: The price curve of the model.
        done: The plan.
        free: The same budget, stayed within on average.
    """
    if free is None or not done.budget > done.spend.mean:
        return ()
    unspent = done.budget - done.spend.mean
    brought = curve.value_of(free.price, done.plan.value + free.more, done.n).mean
    budget, left, spent, more, now = (
        _check.written(x, 4) for x in (done.budget, unspent, free.spend, brought, done.value.mean)
    )
    return (
        f"To stay within {budget} with probability {_check.written(float(done.safety or 0))}, {left} of it "
        f"({100 * unspent / done.budget:.0f} %) is expected to stay unspent. Within the budget on average (--on-average), the "
        f"plan would spend {spent} and bring {more} instead of {now}, and overspend about every second time; --safety sets "
        "levels between.",
    )
