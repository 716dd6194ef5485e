"""The share of a treatment's total effect that a policy keeps at a budget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from largesse import _check
from largesse.evaluate.comparison import Comparison
from largesse.result import Result

__all__ = ["EffectShare", "effect_share"]


@dataclass(frozen=True, slots=True, repr=False)
class EffectShare(Result):
    """The share of a treatment's total effect that a policy keeps, and the share of its cost.

    `effect` is (V_policy - V_no_one) / (V_everyone - V_no_one); `low` and `high` are its paired interval, infinite where
    V_everyone is not shown to exceed V_no_one, and NaN where the estimate of that effect is not positive. `cost` is the
    same ratio of the spends.
    """

    policy: str
    arm: str
    cost: float
    effect: float
    low: float
    high: float
    level: float


def effect_share(comparison: Comparison, policy: str, budget_index: int = 0, *, full: str | None = None) -> EffectShare:
    """Returns the share of the effect of one treatment for everyone that a policy keeps, and its share of the cost.

    Args:
        comparison: Result of `compare`.
        policy: Name of a policy or baseline in it.
        budget_index: Position in its budgets.
        full: The treatment that everyone gets in the denominator; the last one by default.

    Raises:
        DataError: There is no such policy, budget or treatment.

    >>> from largesse import Logs, Menu
    >>> from largesse.evaluate import compare
    >>> t = np.arange(400) % 2
    >>> logs = Logs(x=np.zeros((400, 1)), treatment=t, value=1.0 + 2.0 * t, cost=t * 5.0)
    >>> menu = Menu(value=np.tile([0.0, 1.0], (400, 1)), cost=np.tile([0.0, 1.0], (400, 1)))
    >>> share = effect_share(compare(logs, {"all or none": menu}, [2.5]), "all or none")
    >>> share.cost, share.effect
    (0.5, 0.5)
    """
    p = comparison.index(policy)
    last = len(comparison.budgets) - 1
    b = int(_check.number("budget_index", budget_index, low=0, high=last, remedy="It counts from 0."))
    treatments = tuple(arm.name for arm in comparison.arms)
    j = treatments.index(_check.choice("full", treatments[-1] if full is None else full, treatments))
    none, all_ = comparison.arms[0], comparison.arms[j]
    # share = (V_policy - V_no_one) / (V_everyone - V_no_one), the same in every draw
    base, top = comparison.arm_draws[:, 0], comparison.arm_draws[:, j] - comparison.arm_draws[:, 0]
    part, total = comparison.value[p, b] - none.value, all_.value - none.value
    effect = float(part / total) if total > 0 else np.nan
    cost = (comparison.spend[p, b] - none.cost) / (all_.cost - none.cost) if all_.cost > none.cost else np.nan
    low, high = (np.nan, np.nan) if np.isnan(effect) else (-np.inf, np.inf)
    if not np.isnan(effect) and np.quantile(top, (1 - comparison.level) / 2) > 0:
        # Draws without a positive effect to divide by count as unbounded; quantiles do not interpolate towards them.
        ratio = np.divide(comparison.draws[:, p, b] - base, top, out=np.full(len(top), np.inf), where=top > 0)
        low = np.quantile(ratio, (1 - comparison.level) / 2, method="lower")
        high = np.quantile(ratio, (1 + comparison.level) / 2, method="higher")
    return EffectShare(policy, treatments[j], float(cost), effect, float(low), float(high), comparison.level)
