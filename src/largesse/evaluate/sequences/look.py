"""What a confidence sequence shows at one look, and at several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from largesse import _check
from largesse._arguments import checked
from largesse.evaluate.sequences.boundary import Side
from largesse.result import Result, Tabular

__all__ = ["Look", "Looks"]


@checked
@dataclass(frozen=True, slots=True, repr=False)
class Look(Result):
    """The interval of a confidence sequence at one look.

    With probability `level`, the intervals of all looks together contain what they estimate, however many looks there are and
    whenever one stops; an interval of a fixed time promises this for one look only.

    Attributes:
        what: What is estimated, in words.
        method: ``"asymptotic"`` or ``"betting"``.
        t: Number of units so far: rows, or clusters.
        estimate: The estimate; NaN before there is one.
        lower: Lower end; minus infinity if there is none (yet).
        upper: Upper end; infinity if there is none (yet).
        level: Probability that all intervals contain what they estimate.
        side: Which ends the interval has: ``"both"``, ``"lower"`` or ``"upper"``.
        events: Effective number of units that carry the variance (asymptotic) or the sum (betting).
        reason: Why there is no interval yet, or what contradicts it; "" if nothing does.
    """

    what: str
    method: str
    t: int
    estimate: float
    lower: float
    upper: float
    level: float
    side: Side
    events: float
    reason: str = ""

    def contains(self, value: float) -> bool:
        """Returns whether a value lies in the interval."""
        return self.lower <= value <= self.upper

    def __str__(self) -> str:
        """Returns the look in words.

        >>> print(Look("mean", "asymptotic", 1200, 0.1, 0.07, 0.13, 0.95, "both", 120.0))
        mean after 1,200 units: 0.1, 0.07 to 0.13 (95 % at all looks together, asymptotic, 120 events)
        """
        number = _check.written
        start = f"{self.what} after {self.t:,} units: "
        if self.reason:
            return f"{start}no interval: {self.reason}"
        ends = {
            "both": f"{number(self.lower, 4)} to {number(self.upper, 4)}",
            "lower": f"at least {number(self.lower, 4)}",
            "upper": f"at most {number(self.upper, 4)}",
        }[self.side]
        basis = f"{100 * self.level:g} % at all looks together, {self.method}, {self.events:,.0f} events"
        return f"{start}{number(self.estimate, 4)}, {ends} ({basis})"


@checked
@dataclass(frozen=True, slots=True, repr=False)
class Looks(Tabular):
    """The intervals of a confidence sequence, one for each look.

    Attributes:
        looks: From the first to the last.
    """

    looks: tuple[Look, ...]

    def __str__(self) -> str:
        """Returns the last look in words."""
        return str(self.looks[-1])

    def _columns(self) -> Mapping[str, Sequence[Any]]:
        names = ("t", "estimate", "lower", "upper", "events", "reason")
        return {name: [getattr(look, name) for look in self.looks] for name in names}
