"""What each row contributes to the value of policies and baselines, and the intervals that follow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from largesse.evaluate.bootstrap import Arms, FixedPrices
from largesse.evaluate.intervals import centred, effective_events, ends

__all__ = ["Contributions", "affordable"]

Floats = NDArray[np.float64]


def affordable(mix: Floats, mean: Floats, cost: Floats, money: Floats) -> tuple[Floats, Floats, Floats]:
    """Returns value, spend and coefficients of random mixes: a mix above its budget is given to fewer units.

    Args:
        mix: Share of each treatment, (B, M).
        mean: Value per unit of each arm, (M,).
        cost: Cost per unit of each arm, (M,).
        money: Budget per unit, (B,).

    Returns:
        Value per unit (B,), spend per unit (B,), and how the value follows the means: coefficients (B, 2, M).
    """
    none = np.eye(len(mean))[0]
    room, needed = money - cost[0], mix @ cost - cost[0]
    short = needed > np.maximum(room, 0)
    part = np.clip(np.divide(room, needed, out=np.ones_like(room), where=short), 0, 1)
    gained = mix @ mean - mean[0]
    rate = np.where(short & (room > 0), np.divide(gained, needed, out=np.zeros_like(room), where=short), 0)
    moved = part[:, None] * (mix - none)
    return (
        mean[0] + part * gained,
        cost[0] + part * needed,
        np.stack([none + moved, -rate[:, None] * (none + moved)], 1),
    )


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Contributions:
    """What each row contributes to the value of P policies and baselines at B budgets.

    Attributes:
        policies: The policies, at their prices.
        arms: The arms' means.
        coefficients: How the value of each baseline follows the arms' means, (baselines, B, 2, M).
        more: Variance of each value that no row contributes, (P, B).
    """

    policies: tuple[FixedPrices, ...]
    arms: Arms
    coefficients: Floats
    more: Floats

    def of(self, p: int, b: int) -> tuple[Floats, Floats]:
        """Returns what each row adds to the value of policy or baseline p at budget b, and its outcomes in it, (N,) each."""
        if p < len(self.policies):
            return self.policies[p].terms(b)
        a = self.coefficients[p - len(self.policies), b]
        return self.arms.terms(a), self.arms.outcomes(a)

    def intervals(self, value: Floats, level: float, reference: int | None = None) -> tuple[Floats, Floats, Floats]:
        """Returns lower ends, upper ends and effective numbers of events, (P, B) each.

        Args:
            value: The values, or their differences from the reference, (P, B).
            level: Coverage.
            reference: The policy or baseline that is taken off; None: none is.
        """
        logs, out = self.arms.logs, np.full((3, *value.shape), np.nan)
        for b in range(value.shape[1]):
            both = [self.of(p, b) for p in range(len(value))]
            terms, outcomes = (np.column_stack(columns) for columns in zip(*both, strict=True))
            more = self.more[:, b].copy()
            if reference is not None:
                terms, outcomes = (a - a[:, reference : reference + 1] for a in (terms, outcomes))
                more += more[reference]
                more[reference] = 0.0
            out[:2, :, b] = ends(value[:, b], centred(logs, terms), level, more).T
            out[2, :, b] = effective_events(logs, outcomes)
        out[:, np.isnan(value)] = np.nan
        return out[0], out[1], out[2]
