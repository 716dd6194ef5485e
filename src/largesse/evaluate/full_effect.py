"""The share of a treatment's total effect that a policy keeps at a budget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from largesse import _check
from largesse._arguments import checked
from largesse.evaluate.comparison import Comparison
from largesse.evaluate.intervals import centred, effective_events, ends, ratio_ends
from largesse.evaluate.untargeted import CLOSE_DIFFERENCE
from largesse.result import Result

__all__ = ["EffectShare", "effect_share"]


@checked
@dataclass(frozen=True, slots=True, repr=False)
class EffectShare(Result):
    """The share of a treatment's total effect that a policy keeps, and the share of its cost.

    `effect` is (V_policy - V_no_one) / (V_everyone - V_no_one); `low` and `high` are its paired interval, infinite where
    V_everyone is not shown to exceed V_no_one, and NaN where the estimate of that effect is not positive. `cost` is the
    same ratio of the spends. `events` is the effective number of events that the interval rests on, NaN without an interval.
    """

    policy: str
    arm: str
    cost: float
    effect: float
    low: float
    high: float
    level: float
    events: float = float("nan")


@checked
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
    part, total = float(comparison.value[p, b]) - none.value, all_.value - none.value
    effect = part / total if total > 0 else np.nan
    cost = (comparison.spend[p, b] - none.cost) / (all_.cost - none.cost) if all_.cost > none.cost else np.nan
    low, high, events = (np.nan,) * 3 if np.isnan(effect) else _ratio_interval(comparison, p, b, j, part, total)
    return EffectShare(policy, treatments[j], float(cost), effect, low, high, comparison.level, events)


def _ratio_interval(c: Comparison, p: int, b: int, j: int, part: float, total: float) -> tuple[float, float, float]:
    """Returns the ends of the shares θ for which part - θ · total is not shown to differ from 0 (Fieller 1954), and events."""
    logs, more = c.parts.made.arms.logs, c.parts.made.more[p, b] * CLOSE_DIFFERENCE
    none, all_ = np.zeros((2, 2, logs.n_treatments))
    none[0, 0] = all_[0, j] = 1.0
    arms, (kept, outcomes) = c.parts.made.arms, c.parts.made.of(p, b)
    terms = [kept, arms.terms(none), arms.terms(all_)]
    own, idle, whole = centred(logs, np.column_stack(terms)).T
    above, below = own - idle, whole - idle

    if ends(np.array([total]), below[:, None], c.level)[0, 0] <= 0:
        return -np.inf, np.inf, np.nan
    low, high = ratio_ends(part, total, above, below, c.level, more)
    of_none, of_all = arms.outcomes(none), arms.outcomes(all_)
    events = effective_events(logs, (outcomes - of_none - part / total * (of_all - of_none))[:, None])
    return low, high, float(events[0])
