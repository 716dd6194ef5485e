"""What an interval of an effect rests on: the events in each arm, and the skewness of the estimate.

An effect is a sum of contributions ψ of independent units (or clusters), each with its expectation taken off. In each arm

    events = min((Σ |d|)² / Σ d², 2 (Σ d²)² / Σ d⁴),    d = ψ - m, m the median of ψ in that arm:

the number of equally large contributions that would carry as much. For a 0/1 metric it is the number of the rarer outcome, for
a normal one 0.64 of the units, and a constant added to the metric changes nothing. The second number, 0.67 of the units for a
normal metric, matters where many small deviations surround a few large ones: they raise the first, and the standard error
rests on the large ones. The interval rests on the arm with fewer events.

The estimate and its standard error are correlated where contributions are skewed, unless the arms have equal sizes: then the
skewnesses of the two means cancel. With γ the skewness of one unit, pooled over both arms since a small arm alone shows too
little of a tail, that of the effect is

    g = γ (1/n_T² - 1/n_C²) / (1/n_T + 1/n_C)^(3/2),

and Hall's monotone transformation f(t) = t + g t²/3 + g² t³/27 + g/6 of the t-statistic takes the correlation out.

Reference:
    Hall 1992, On the removal of skewness by transformation, Journal of the Royal Statistical Society B 54(1).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import stats

from largesse.evaluate.intervals import halls_quantile
from largesse.experiment.data.sample import Floats

__all__ = ["FEW_EVENTS_IN_AN_ARM", "Contributions", "Shape", "ends", "of_effect", "p_value", "quantile"]

FEW_EVENTS_IN_AN_ARM = 10
"""Events in the smaller arm below which a report says that an interval rests on few: see docs/benchmarks/few_events.md."""


class Shape(NamedTuple):
    """What an effect's interval rests on.

    Attributes:
        unit: γ, of one unit, pooled over both arms.
        skewness: g, of the effect; 0 for arms of equal sizes.
        control: Effective number of events in control.
        treatment: Effective number of events in the other arm.
    """

    unit: float
    skewness: float
    control: float
    treatment: float

    @property
    def events(self) -> float:
        """The number in the arm with fewer."""
        return min(self.control, self.treatment)


class Contributions:
    """Sums of contributions by arm, added block by block.

    Attributes:
        sums: Number, Σ ψ², Σ ψ³, Σ |d|, Σ d², Σ d⁴ of control and of the other arm (2, 6).
    """

    def __init__(self) -> None:
        self.sums: Floats = np.zeros((2, 6))
        self._median = np.full(2, np.nan)

    def add(self, each: Floats, treated: NDArray[np.bool_]) -> None:
        """Adds contributions (n,) of units of these arms (n,); medians are those of the first block with units of the arm."""
        for k, member in enumerate((~treated, treated)):
            if np.isnan(self._median[k]) and member.any():
                self._median[k] = np.median(each[member])
        self.sums += _sums(np.ascontiguousarray(each), treated, self._median)

    def shape(self) -> Shape:
        """Returns what the sum of the contributions rests on.

        >>> some = Contributions()
        >>> some.add(np.r_[-np.repeat([0.9, -0.1], [10, 90]) / 100, np.repeat([0.8, -0.2], [5, 20]) / 25], np.arange(125) >= 100)
        >>> _, g, control, treatment = some.shape()
        >>> round(g, 3), round(control), round(treatment)
        (0.3, 10, 5)
        """
        n, second, third, size, square, fourth = self.sums.T
        variance = float((n**2 * second).sum() / max(n.sum() - 2, 1))
        third_moment = (
            float(n[1] ** 3 * third[1] - n[0] ** 3 * third[0]) / n.sum()
        )  # of control, a contribution is -u / n
        unit = third_moment / variance**1.5 if variance > 1e-200 else 0.0
        events = np.divide(size**2, square, out=np.zeros(2), where=square > 0)
        events = np.minimum(events, 2 * np.divide(square**2, fourth, out=np.full(2, np.inf), where=fourth > 0))
        return Shape(unit, of_effect(unit, n[0], n[1]), float(events[0]), float(events[1]))

    def variances(self) -> Floats:
        """Returns the variance of each arm's mean (2,)."""
        n, second = self.sums[:, 0], self.sums[:, 1]
        return np.asarray(second * n / (n - 1))


@njit(cache=True, nogil=True)
def _sums(each: Floats, treated: NDArray[np.bool_], median: Floats) -> Floats:
    out = np.zeros((2, 6))
    for i in range(len(each)):
        k = 1 if treated[i] else 0
        x, d = each[i], abs(each[i] - median[k])
        out[k, 0] += 1.0
        out[k, 1] += x * x
        out[k, 2] += x * x * x
        out[k, 3] += d
        out[k, 4] += d * d
        out[k, 5] += d * d * d * d
    return out


def of_effect(unit: float, control: float, treatment: float) -> float:
    """Returns the skewness g of an effect from γ of one unit and the numbers of units in both arms."""
    a, b = 1 / control, 1 / treatment
    return float(unit * (b**2 - a**2) / (a + b) ** 1.5)


def quantile(p: float, freedom: float, skewness: float) -> float:
    """Returns the p-quantile of the t-statistic of an effect with skewness g: the root u of f(u) = t.

    >>> round(quantile(0.975, 1e9, 0.0), 2), round(quantile(0.975, 1e9, 0.3), 2)
    (1.96, 1.63)
    """
    return float(halls_quantile(stats.t.ppf(p, freedom), np.asarray(skewness)))


def ends(level: float, freedom: float, skewness: float) -> tuple[float, float]:
    """Returns the lower and upper quantile of the t-statistic of an effect with skewness g, for an interval of this coverage.

    >>> [round(q, 2) for q in ends(0.95, 1e9, 0.0)], [round(q, 2) for q in ends(0.95, 1e9, 0.3)]
    ([-1.96, 1.96], [-2.65, 1.63])
    """
    return quantile((1 - level) / 2, freedom, skewness), quantile((1 + level) / 2, freedom, skewness)


def p_value(t: float, freedom: float, skewness: float) -> float:
    """Returns the two-sided p-value of a t-statistic: below 1 - level where the interval at this level does not contain 0.

    >>> round(p_value(1.96, 1e9, 0.0), 3), round(p_value(1.63, 1e9, 0.3), 3), round(p_value(-2.65, 1e9, 0.3), 3)
    (0.05, 0.05, 0.05)
    """
    g = skewness
    return float(2 * stats.t.sf(abs(t + g * t**2 / 3 + g**2 * t**3 / 27 + g / 6), freedom))
