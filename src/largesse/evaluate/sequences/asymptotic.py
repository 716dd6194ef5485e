"""Asymptotic confidence sequences: settings, state, and the interval of a function of means with running variance.

The interval at every look is that of `boundary`, with three corrections, because the approximation by a normal distribution fails
early where scores are skewed or have heavy tails (without them, log-normal scores with σ = 2 are missed at some of 60 daily looks
in one of eight streams, at 95 %). All three are those of the intervals of a fixed time (`largesse.evaluate.intervals`), at
the tail probability p that the multiplier has at this look:

- the quantile is that of a t-distribution, with the degrees of freedom of the variance from the fourth moment;
- Hall's transformation takes out the correlation of the estimate with its standard error, from the third moment;
- there is no interval while fewer than `START` units carry the variance, (Σψ²)² / Σψ⁴, or while large importance weights have had
  fewer outcomes than that (`support`); an interval goes away again if a single score comes to carry the variance.

They vanish as units accumulate, so the sequence stays that of the paper. It remains asymptotic: docs/benchmarks/sequences.md has
the coverage. Scores may be dependent on the past (policies and propensities may change with time), as long as each has, given the
past, the mean that it estimates; where these means drift, the interval is for their running average, and slightly too wide.
Intervals of several looks are therefore not intersected.

Reference:
    Waudby-Smith et al. 2024, arXiv 2103.06476 (boundary, running averages); Hall 1992; Satterthwaite 1946.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

from largesse import _check
from largesse._arguments import checked
from largesse.evaluate.intervals import halls_quantile
from largesse.evaluate.sequences.boundary import SIDES, Side, multiplier, tuning
from largesse.evaluate.sequences.look import Look
from largesse.evaluate.sequences.sums import (
    Moments,
    PowerSums,
    Rows,
    batch_column,
    batch_labels,
    by_cluster,
    check_state,
)
from largesse.evaluate.sequences.support import WeightClasses

__all__ = ["START", "AsymptoticSequence"]

Floats = NDArray[np.float64]
START = 3.0
"""Effective number of units from which there is an interval; chosen on seeds that no table shows."""
_FEWEST = 10  # units, whatever their distribution
_FARTHEST = (
    1e-4  # tail probability beyond which the quantile of t grows only as the normal one: far from t*, p may be 1e-30
)


class AsymptoticSequence:
    """Base class: the settings, the sums, and the interval of a smooth function of means.

    Args:
        expected: Number of units at which the interval should be narrowest, > 0: rows, or clusters.
        level: Probability that the intervals of all looks contain what they estimate, in [0.5, 1).
        side: Which ends the interval has: ``"both"``, ``"lower"`` or ``"upper"``.
        variance: Expected variance of one unit, > 0. With it, the boundary's clock is the variance so far in place of the
            number of units, for streams whose variance changes much: the interval is narrowest at `expected` times this variance.

    Raises:
        DataError: A number is out of its range, or the side is none of the three.
    """

    __slots__ = ("classes", "expected", "level", "side", "sums", "variance")
    _columns: ClassVar[int]
    _what: ClassVar[str]

    @checked
    def __init__(
        self, expected: float, *, level: float = 0.95, side: Side = "both", variance: float | None = None
    ) -> None:
        self.expected = _check.number("expected", expected, low=1, high=_check.LARGEST)
        self.level = _check.number("level", level, low=0.5, high=1 - 1e-10)
        self.side: Side = _check.choice("side", side, SIDES)  # type: ignore[assignment]
        self.variance = None
        if variance is not None:
            self.variance = _check.number("variance", variance, low=1e-30, high=_check.LARGEST)
        self.sums, self.classes = PowerSums(self._columns), WeightClasses()

    def _add(
        self, columns: Mapping[str, Rows | None], weight: Rows | None, cluster: Rows | None,
        importance: Rows | None, outcome: Rows | None,
    ) -> None:  # fmt: skip
        """Adds a batch; a column that is None is 1 in every row."""
        arrays = {name: batch_column(name, got) for name, got in columns.items() if got is not None}
        if weight is not None:
            arrays["weight"] = batch_column("weight", weight)
            _check.nonnegative("weight", arrays["weight"], "A weight counts how often a row stands for itself.")
        if importance is not None:
            if outcome is None:
                raise _check.refuse("outcome", None, "is needed beside importance", "Give the outcome of each row.")
            arrays["importance"], arrays["outcome"] = (
                batch_column("importance", importance), batch_column("outcome", outcome)
            )  # fmt: skip
            _check.nonnegative("importance", arrays["importance"], "Give absolute differences for two policies.")
        groups = None if cluster is None else batch_labels(cluster)
        n = _check.lengths(**arrays, cluster=groups)
        rows = np.column_stack([arrays.get(name, np.ones(n)) for name in columns])
        if weight is not None:
            rows *= arrays["weight"][:, None]
        self.sums.add(by_cluster(rows, groups))
        if importance is not None:
            self.classes.add(arrays["importance"], arrays["outcome"])

    def _interval(
        self, what: str, estimate: float, gradient: Floats, *, least: float = np.inf, level: float | None = None
    ) -> Look:
        """Returns the look at a function of the means with that gradient; `least` bounds the number of events from above."""
        return self._show(what, estimate, self.sums.moments(gradient), least=least, level=level)

    def _show(
        self, what: str, estimate: float, moments: Moments, *, least: float = np.inf, level: float | None = None
    ) -> Look:
        """Returns the look at an estimate whose contributions have these moments."""
        n, level = self.sums.n, self.level if level is None else level
        events = min(moments.events, least, self.classes.events())
        lower, upper, reason = -np.inf, np.inf, ""
        if n >= _FEWEST and not moments.variance:
            reason = "the scores do not vary"
        elif n < _FEWEST or events < START:
            reason = f"{events:.1f} effective events of {START:g}, {n:,} units of {_FEWEST}"
        else:
            lower, upper = self._ends(estimate, moments, n, 1 - level)
        return Look(what, "asymptotic", n, estimate, lower, upper, level, self.side, events, reason)

    def _ends(self, estimate: float, moments: Moments, n: int, alpha: float) -> tuple[float, float]:
        ratio = 1.0 if self.variance is None else moments.variance / self.variance
        z = multiplier(tuning(alpha, self.side) * n * ratio / self.expected, alpha, self.side)
        p = max(ndtr(-z), _FARTHEST)
        t = z * stdtrit(moments.freedom, p) / ndtri(p)  # the same tail probability p, with a variance that is estimated
        se, skew = float(np.sqrt(moments.variance / n)), np.array(moments.skewness)
        lower = estimate - se * float(halls_quantile(np.array(t), skew))
        upper = estimate - se * float(halls_quantile(np.array(-t), skew))
        return (-np.inf if self.side == "upper" else lower), (np.inf if self.side == "lower" else upper)

    def _none(self, what: str, reason: str, estimate: float = float("nan")) -> Look:
        return Look(what, "asymptotic", self.sums.n, estimate, -np.inf, np.inf, self.level, self.side, 0.0, reason)

    def to_dict(self) -> dict[str, Any]:
        """Returns settings and sums as plain JSON values, from which `from_dict` restores the same bits."""
        return {
            "kind": type(self).__name__, "format": 1, "expected": self.expected, "level": self.level, "side": self.side,
            "variance": self.variance, "shift": self.sums.shift.tolist(), "sums": self.sums.sums.tolist(),
            "classes": self.classes.sums.ravel().tolist(),
        }  # fmt: skip

    @classmethod
    @checked
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Returns the sequence that `to_dict` described.

        Raises:
            DataError: The state is of another class, or a part is missing or of another size.
        """
        parts = ("expected", "level", "side", "variance", "shift", "sums", "classes")
        check_state(state, cls.__name__, parts)
        out = cls(state["expected"], level=state["level"], side=state["side"], variance=state["variance"])
        kept = {"shift": out.sums.shift, "sums": out.sums.sums, "classes": out.classes.sums.reshape(-1)}
        for name, own in kept.items():
            got = _check.array(name, state[name], ndim=1, dtype=np.float64)
            if len(got) != len(own):
                rule = f"must have {len(own)} numbers"
                raise _check.refuse(f"len({name})", len(got), rule, "Give an unchanged state.")
            own[:] = got
        return out
