"""What each row contributes to the value of policies and baselines, and the intervals that follow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from largesse.evaluate.bootstrap import Arms, FixedPrices
from largesse.evaluate.intervals import centred, effective_events, ends
from largesse.evaluate.untargeted import CLOSE, CLOSE_DIFFERENCE

__all__ = ["Contributions", "RandomMix"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RandomMix:
    """A mix of treatments given to random units; to fewer of them where it would cost more than the budget.

    Attributes:
        value: Value per unit, (B,).
        spend: Spend per unit, (B,).
        short: Where it would cost more than the budget, (B,).
        coefficients: How the value follows value and cost of the arms, (B, 2, M).
    """

    value: Floats
    spend: Floats
    short: NDArray[np.bool_]
    coefficients: Floats

    @classmethod
    def of(
        cls, mix: Floats, mean: Floats, cost: Floats, money: Floats, short: NDArray[np.bool_] | None = None
    ) -> RandomMix:
        """Returns the mixes at budgets.

        Args:
            mix: Share of each treatment, (B, M).
            mean: Value per unit of each arm, (M,).
            cost: Cost per unit of each arm, (M,).
            money: Budget per unit, (B,).
            short: Where all of the budget is to be spent on the mix, (B,); None: where the mix costs more.
        """
        none = np.eye(len(mean))[0]
        room, needed = money - cost[0], mix @ cost - cost[0]
        if short is None:
            short = needed > np.maximum(room, 0) * (1 + 1e-9)
        part = np.maximum(np.divide(room, needed, out=np.ones_like(room), where=short & (needed > 0)), 0)
        gained = mix @ mean - mean[0]
        rate = np.divide(gained, needed, out=np.zeros_like(room), where=short & (part > 0) & (needed > 0))
        given = none + part[:, None] * (mix - none)
        both = np.stack([given, -rate[:, None] * given], axis=1)
        return cls(mean[0] + part * gained, cost[0] + part * needed, short, both)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Contributions:
    """What each row contributes to the value of P policies and baselines at B budgets.

    Attributes:
        policies: The policies, at their prices.
        arms: The arms' means.
        coefficients: How the value of each baseline follows the arms' means, (baselines, B, 2, M).
        follows: The policy whose price sets the shares of the random mix, which is the last baseline.
        slope: How the value of the random mix follows that policy's spend through its shares, (B,).
        more: Variance of each value that no row contributes, (P, B), before the factors of `untargeted`.
    """

    policies: tuple[FixedPrices, ...]
    arms: Arms
    coefficients: Floats
    follows: int
    slope: Floats
    more: Floats

    def of(self, p: int, b: int) -> tuple[Floats, Floats]:
        """Returns what each row adds to the value of policy or baseline p at budget b, and its outcomes in it, (N,) each."""
        if p < len(self.policies):
            value, cost, outcomes = self.policies[p].terms(b)
            return value - self.policies[p].slope[b] * cost, outcomes
        a = self.coefficients[p - len(self.policies), b]
        terms = self.arms.terms(a)
        if p == len(self.more) - 1 and self.slope[b]:
            terms -= self.slope[b] * self.policies[self.follows].terms(b)[1]
        return terms, self.arms.outcomes(a)

    def intervals(self, value: Floats, level: float, *references: int | None) -> list[tuple[Floats, Floats, Floats]]:
        """Returns lower ends, upper ends and effective numbers of events, (P, B) each, of values or differences.

        Args:
            value: The values, (P, B).
            level: Coverage.
            references: For each result, the policy or baseline that is taken off; None: none is.
        """
        logs, out = self.arms.logs, np.full((len(references), 3, *value.shape), np.nan)
        for b in range(value.shape[1]):
            both = [self.of(p, b) for p in range(len(value))]
            terms, outcomes = (np.column_stack(columns) for columns in zip(*both, strict=True))
            each = centred(logs, terms)
            for r, reference in enumerate(references):
                more = self.more[:, b] * (CLOSE if reference is None else CLOSE_DIFFERENCE)
                estimate, psi, events = value[:, b], each, outcomes
                if reference is not None:
                    estimate = estimate - estimate[reference]
                    psi, events = (a - a[:, reference : reference + 1] for a in (psi, events))
                    more += more[reference]
                    more[reference] = 0.0
                out[r, :2, :, b] = ends(estimate, psi, level, more).T
                out[r, 2, :, b] = effective_events(logs, events)
                out[r, :, np.isnan(estimate), b] = np.nan
        return [(low, high, events) for low, high, events in out]

    def mean_interval(
        self, p: int, reference: int | None, counted: NDArray[np.bool_], estimate: float, level: float
    ) -> tuple[float, float, float]:
        """Returns the interval and effective number of events of the mean over the counted budgets."""
        at, logs = np.flatnonzero(counted), self.arms.logs
        sums = np.zeros((2, logs.n))
        parts = [(p, 1.0)] if reference is None else [(p, 1.0), (reference, -1.0)]
        for q, sign in parts:
            for b in at.tolist():
                sums += sign / len(at) * np.array(self.of(q, b))
        more = 0.0 if p == reference else sum(float(np.sqrt(self.more[q, at]).mean() ** 2) for q, _ in parts)
        more *= CLOSE if reference is None else CLOSE_DIFFERENCE
        low, high = ends(np.array([estimate]), centred(logs, sums[:1].T), level, more)[0]
        return float(low), float(high), float(effective_events(logs, sums[1:].T)[0])
