"""Confidence sequences of the mean of bounded scores, by betting: valid for any number of scores, without an approximation.

A bettor who claims that the mean is above m bets a share λ of the capital on every score x in [0, 1]:

    K⁺_t(m) = Π_{i <= t} (1 + λ_i (x_i - m)),      K⁻_t(m) = Π_{i <= t} (1 - λ_i (x_i - m))

If m is the mean, the bets are fair, so K reaches 1/α with probability α at most, ever (Ville): a mean whose K⁺ or K⁻ reaches
2/α is rejected for good. K⁺ falls in m and K⁻ rises, so the means that are left form an interval. The bets λ_i use earlier scores
only; here

    λ_i = min(s · √( 2 ln(2/α) / (σ²_{i-1} t*) ), c / m_max),     σ²_i = (1/4 + Σ_{j <= i} (x_j - μ_j)²) / (i + 1),

with c = 1/2, m_max the largest mean that is not rejected (1 - m_min for K⁻), t* the expected number, and K the mean over the
multiples s = 1/2, 1, 2, 4, so that the interval is tight from t*/16 to beyond t*. Since λ does not depend on m, every ln K is
concave in m: it is kept on a few points, and the chord between two is below its value, which rejects less. The points close in on
the interval as it shrinks. So a stream of any length needs a few hundred numbers.

Scores above an upper bound may be clipped where only a lower end is wanted, since that lowers their mean: importance-weighted
scores with a few large weights then have a lower bound as tight as their bulk allows, and an upper bound of a value follows from
a lower bound of (greatest outcome - outcome). All scores must have one mean, given the past: where it drifts, the lower end is
below the largest of the means, no more; use an asymptotic sequence.

Reference:
    Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by betting", JRSS-B 86(1), arXiv 2010.09686 (capital
    processes, predictable plug-in bets, hedging); Waudby-Smith, Wu, Ramdas, Karampatziakis & Mineiro 2022, "Anytime-valid
    off-policy inference for contextual bandits", arXiv 2210.10768 (lower bounds from scores that are bounded below).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse.evaluate.sequences import kernels
from largesse.evaluate.sequences.boundary import SIDES, Side
from largesse.evaluate.sequences.look import Look
from largesse.evaluate.sequences.sums import Rows, batch_column, batch_labels, by_cluster, check_state

__all__ = ["BettingSequence"]

Floats = NDArray[np.float64]
_POINTS, _SIZES = 33, np.array([0.5, 1.0, 2.0, 4.0])
_STATE = ("facts", "grid", "logs", "parts")


class BettingSequence:
    """Confidence sequence of the mean of bounded scores, from rows that arrive batch by batch.

    With clusters, the bets are on the mean of each cluster's scores: the interval is for the mean over clusters.

    Args:
        expected: Number of units at which the interval should be narrowest, > 0: rows, or clusters.
        bounds: Least and greatest score. A score outside is refused, except beyond the end that is not wanted: with
            ``side="lower"``, scores above the upper bound are clipped to it; with ``side="upper"``, those below the lower bound.
        level: Probability that the intervals of all looks contain the mean, in [0.5, 1).
        side: Which ends the interval has: ``"both"``, ``"lower"`` or ``"upper"``.

    Raises:
        DataError: A number is out of its range, or the side is none of the three.

    >>> rng = np.random.default_rng(0)
    >>> orders = BettingSequence(20_000, (0, 1))
    >>> for day in range(20):
    ...     orders = orders.update(rng.random(1000) < 0.1)
    >>> print(orders.look())
    mean after 20,000 units: 0.1017, 0.09627 to 0.1085 (95 % at all looks together, betting, 2,035 events)
    """

    __slots__ = ("bounds", "expected", "facts", "grid", "level", "logs", "parts", "side")

    @checked
    def __init__(
        self, expected: float, bounds: tuple[float, float], *, level: float = 0.95, side: Side = "both"
    ) -> None:
        self.expected = _check.number("expected", expected, low=1, high=_check.LARGEST)
        self.level = _check.number("level", level, low=0.5, high=1 - 1e-10)
        self.side: Side = _check.choice("side", side, SIDES)  # type: ignore[assignment]
        low, high = (_check.number("bounds", end, low=-_check.LARGEST, high=_check.LARGEST) for end in bounds)
        if low >= high:
            raise _check.refuse(
                "bounds", tuple(bounds), "must be a lower and a higher number", "Give least and greatest score."
            )
        self.bounds = (low, high)
        self.facts = np.array([0.0, 0.0, 0.0, 0.0, 1.0])  # number, Σ x, Σ (x - mean)², ends of the interval
        self.grid = np.linspace(0.0, 1.0, _POINTS)
        self.logs = np.zeros((2, len(_SIZES), _POINTS))
        self.parts = np.ones((2, len(_SIZES), _POINTS))

    def _targets(self) -> Floats:
        """Returns the expected number and the logarithms of the capital that rejects a mean from below and from above."""
        target = np.log((2 if self.side == "both" else 1) / (1 - self.level))
        return np.array([self.expected, target, target])

    @checked
    def update(self, scores: Rows, *, cluster: Rows | None = None) -> Self:
        """Adds a batch of rows, and returns the sequence.

        Args:
            scores: Within the bounds, (N,).
            cluster: Cluster of each row, (N,); rows of a cluster belong to one update.

        Raises:
            DataError: A score is outside the bounds, or not finite, or the lengths differ.
        """
        x = batch_column("scores", scores)
        groups = None if cluster is None else batch_labels(cluster)
        _check.lengths(scores=x, cluster=groups)
        low, high = self.bounds
        wrong = ((x < low) & (self.side != "upper")) | ((x > high) & (self.side != "lower"))
        if wrong.any():
            remedy = 'Widen the bounds; with side="lower", scores above the upper bound may be clipped.'
            raise _check.refuse_cells("scores", x, wrong, f"must be within the bounds {low:g} and {high:g}", remedy)
        x = (np.clip(x, low, high) - low) / (high - low)
        if groups is not None and len(x):
            sums = by_cluster(np.column_stack([x, np.ones(len(x))]), groups)
            x = np.clip(sums[:, 0] / sums[:, 1], 0, 1)
        kernels.bet(x, self.facts, self.grid, self.logs, self.parts, _SIZES, self._targets())
        return self

    def look(self) -> Look:
        """Returns the interval now."""
        n, total, squares, least, most = self.facts
        low, high = kernels.ends(self.grid, self.logs, self.parts, self._targets())
        scale, base = self.bounds[1] - self.bounds[0], self.bounds[0]
        lower, upper = base + scale * max(low, least), base + scale * min(high, most)
        reason = "every mean is rejected, so the scores do not have one mean given the past" if lower > upper else ""
        lower, upper = (-np.inf if self.side == "upper" else lower), (np.inf if self.side == "lower" else upper)
        estimate = float(base + scale * total / n) if n else np.nan
        events = float(total**2 / (squares + total**2 / n)) if total and n else 0.0  # (Σx)² / Σx²
        return Look(
            "mean", "betting", int(n), estimate, float(lower), float(upper), self.level, self.side, events, reason
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns settings and state as plain JSON values, from which `from_dict` restores the same bits."""
        settings = {"expected": self.expected, "bounds": list(self.bounds), "level": self.level, "side": self.side}
        return (
            {"kind": "BettingSequence", "format": 1}
            | settings
            | {name: getattr(self, name).tolist() for name in _STATE}
        )

    @classmethod
    @checked
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Returns the sequence that `to_dict` described.

        Raises:
            DataError: The state is of another class, or a part is missing or of another size.
        """
        parts = ("expected", "bounds", "level", "side", *_STATE)
        check_state(state, "BettingSequence", parts)
        out = cls(state["expected"], tuple(state["bounds"]), level=state["level"], side=state["side"])
        for name in _STATE:
            own = getattr(out, name)
            got = _check.array(name, state[name], ndim=own.ndim, dtype=np.float64)
            if got.shape != own.shape:
                raise _check.refuse(f"{name}.shape", got.shape, f"must be {own.shape}", "Give an unchanged state.")
            own[:] = got
        return out
