"""Without a budget: what a policy brings where everybody gets what pays, and what the best single treatment for everyone brings.

The policy decides at the price 1 / m, at which one unit of spend brings back itself; m is what one unit of value brings in
money. Its untargeted counterpart gives one treatment to everyone: the one whose net value m V_j - C_j is the highest, valued
without the optimism of having been chosen on the same rows, as the best mix of arms is (`largesse.evaluate.untargeted`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse.evaluate import kernels
from largesse.evaluate.comparison import Comparison
from largesse.evaluate.returns import Further, PayVerdict, ReturnRow, Returns, Sums, verdicts
from largesse.evaluate.segments import incremental_terms
from largesse.evaluate.untargeted import CLOSE_DIFFERENCE, CoupledMix

__all__ = ["NoBudget", "verdicts_with_no_budget"]

Floats = NDArray[np.float64]
_NONE = float("nan")


class NoBudget(NamedTuple):
    """What is brought and spent where there is no budget; the budgets of the rows are NaN.

    Attributes:
        policy: The policy, where everybody gets what pays; NaN where it gives nobody anything.
        untargeted: The best single treatment for everyone; NaN where that is control.
        arm: The name of that treatment.
        verdict: Whether it pays.
    """

    policy: ReturnRow
    untargeted: ReturnRow
    arm: str
    verdict: PayVerdict


@checked
def verdicts_with_no_budget(
    table: Returns, comparison: Comparison, policy: str, paying: NDArray[np.int32] | None = None
) -> tuple[tuple[PayVerdict, ...], NoBudget | None]:
    """Returns whether each budget pays, and the same without a budget; all of them count together, as in `verdicts`.

    Args:
        table: The returns at the budgets, with the value of a unit.
        comparison: The comparison that these were made from.
        policy: Name of the policy.
        paying: Treatment that the policy gives each row without a budget, (N,); None: by its menu in the comparison, at the
            price at which one unit of spend brings back itself.

    Returns:
        The verdicts of the budgets, and what is brought without one; None where neither the policy nor the best single treatment
        treats anybody, these are not sums of rows, or a policy under rules decides by budgets only.

    Raises:
        DataError: There is no such policy, the value of a unit is not known, or there is not one treatment per row.

    >>> from largesse import Logs, Menu
    >>> from largesse.evaluate import compare, returns
    >>> t = np.arange(400) % 2
    >>> logs = Logs(x=np.zeros((400, 1)), treatment=t, value=1.0 + 2.0 * t, cost=t * 5.0)
    >>> menu = Menu(value=np.tile([0.0, 2.0], (400, 1)), cost=np.tile([0.0, 5.0], (400, 1)))
    >>> table = compare(logs, {"p": menu}, [2.5])
    >>> budgets, free = verdicts_with_no_budget(returns(table, value_per_unit=4.0), table, "p")
    >>> free.policy.spend, free.policy.net, free.untargeted.net, free.arm, free.verdict.value
    (5.0, 3.0, 3.0, '1', 'spend this, untargeted')
    """
    if table.value_per_unit is None:
        raise _check.refuse("value_per_unit", None, "a verdict needs it", "Give returns(..., value_per_unit=).")
    sums, m = Sums(comparison), table.value_per_unit
    curve = comparison.parts.made.policies[comparison.index(policy)].curve
    if curve.estimator != "ht" or not curve.by_price:
        return verdicts(table, comparison, policy), None
    own, (other, arm) = _policy(sums, policy, m, paying), _best_arm(sums, m)
    if np.isnan(own.row.net) and np.isnan(other.row.net):
        return verdicts(table, comparison, policy), None
    *budgets, last = verdicts(table, comparison, policy, further=(own, other))
    if last is PayVerdict.OUT_OF_REACH:  # the policy treats nobody, and no treatment is shown to pay
        return tuple(budgets), None
    return tuple(budgets), NoBudget(own.row, other.row, arm, last)


def _policy(sums: Sums, policy: str, m: float, paying: NDArray[np.int32] | None) -> Further:
    """Returns the policy without a budget."""
    logs = sums.logs
    if paying is None:
        events = sums.made.policies[sums.comparison.index(policy)].curve.events
        added = kernels.at_prices(events.row, events.price, events.step, 1 / m, 1 / m, 0.0, logs.n)
        followed = added[:, 2] / logs.inverse_propensity
    else:
        _check.lengths(logs=logs.treatment, paying=paying)
        followed = (paying == logs.treatment).astype(np.float64)
    value, cost = incremental_terms(logs, followed)
    gained, paid = float(value.sum() / logs.total_weight), float(cost.sum() / logs.total_weight)
    if not value.any() and not cost.any():
        return Further(_nothing(policy), np.zeros(logs.n), 0.0)
    row = sums.row_of((policy, _NONE), (gained, paid), (value, cost, value), m, 0.0)
    return Further(row, m * value - cost, 0.0)


def _best_arm(sums: Sums, m: float) -> tuple[Further, str]:
    """Returns the best single treatment for everyone, and its name."""
    arms, logs = sums.made.arms, sums.logs
    value, cost = arms.means()
    net = m * value - cost
    best = int(net.argmax())
    name = f"{logs.treatments[best]} for everyone"
    if best == 0:
        return Further(_nothing(name), np.zeros(logs.n), 0.0), logs.treatments[0]
    k = logs.n_treatments
    covariance, of_net = arms.covariance(), np.hstack([m * np.eye(k), -np.eye(k)])
    both = np.zeros((2 * k, 2 * k))
    both[:k, :k] = of_net @ covariance @ of_net.T
    coupled = CoupledMix.of([net, np.zeros(k)], both, np.ones(1))  # costs of 0: the whole of the best one
    coefficients, left = coupled.linear()
    share = coefficients[0, 0]
    idle_value, idle_cost, idle_outcomes = sums.idle
    of_value, of_cost = np.zeros((2, 2, k))
    of_value[0], of_value[1] = m * share, -share
    of_cost[1, best] = 1.0
    net_terms = arms.terms(of_value) - (m * idle_value - idle_cost)
    cost_terms = arms.terms(of_cost) - idle_cost
    paid, more = float(cost[best] - cost[0]), float(left[0]) * CLOSE_DIFFERENCE
    gained = (float(coupled.value()[0]) - net[0] + paid) / m
    terms = ((net_terms + cost_terms) / m, cost_terms, arms.outcomes(of_value / m) - idle_outcomes)
    row = sums.row_of((name, _NONE), (gained, paid), terms, m, more / m**2)
    return Further(row, net_terms, more), logs.treatments[best]


def _nothing(name: str) -> ReturnRow:
    return ReturnRow._make((name, *[_NONE] * 15))
