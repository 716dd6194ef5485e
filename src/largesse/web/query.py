"""The parameters of an address, read with checks: the address of a page is all of its state."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from urllib.parse import urlencode

from largesse import _check

__all__ = ["Query"]

_LONGEST = 20_000  # characters of a value


class Query:
    """The parameters of an address.

    Args:
        pairs: Names and values, in order; a name may be repeated.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]] = ()) -> None:
        self.pairs = tuple((name, value) for name, value in pairs if value != "")
        for name, value in self.pairs:
            if len(value) > _LONGEST:
                raise _check.refuse(
                    name, f"{value[:20]}…", f"has {len(value):,} characters; {_LONGEST:,} are the most", "Shorten it."
                )

    def text(self, name: str, otherwise: str = "") -> str:
        """Returns a value as it is; the last one where a name is repeated."""
        return next((value for key, value in reversed(self.pairs) if key == name), otherwise)

    def all(self, name: str) -> tuple[str, ...]:
        """Returns all values of a name."""
        return tuple(value for key, value in self.pairs if key == name)

    def number(self, name: str, otherwise: float, *, low: float = 0.0, high: float = float("inf")) -> float:
        """Returns a number; commas and spaces between its digits are left out.

        Raises:
            DataError: It is none, or out of its range.
        """
        return _number(name, self.text(name), otherwise, low, high) if self.text(name) else otherwise

    def optional(self, name: str, *, low: float = 0.0) -> float | None:
        """Returns a number, or None where there is none.

        Raises:
            DataError: It is no number, or below `low`.
        """
        return _number(name, self.text(name), 0.0, low, float("inf")) if self.text(name) else None

    def choice(self, name: str, options: Sequence[str], otherwise: str) -> str:
        """Returns one of some values.

        Raises:
            DataError: It is none of them.
        """
        got = self.text(name, otherwise)
        return got if got == otherwise else _check.choice(name, got, tuple(options))

    def check(self, name: str) -> bool:
        """Returns whether a box is ticked."""
        return self.text(name) in ("on", "1", "true", "yes")

    def address(self, path: str, **changed: str | None) -> str:
        """Returns the address of a page with the same parameters, some of them changed or, with None, left out."""
        pairs = [(name, value) for name, value in self.pairs if name not in changed]
        pairs += [(name, value) for name, value in changed.items() if value is not None]
        return f"{path}?{urlencode(pairs)}" if pairs else path

    def with_more(self, path: str, name: str, value: str) -> str:
        """Returns the address of a page with one more value of a name that may be repeated."""
        return f"{path}?{urlencode([*self.pairs, (name, value)])}"


def _number(name: str, text: str, otherwise: float, low: float, high: float) -> float:
    plain = text.replace(",", "").replace(" ", "").replace("\u202f", "").replace("\u00a0", "")
    try:
        got = float(plain)
    except ValueError:
        raise _check.refuse(name, text, "is no number", "Write digits, e.g. 12000 or 0.25.") from None
    if not isfinite(got):
        raise _check.refuse(name, text, "must be finite", "Write a number.")
    return _check.number(name, got, low=low, high=high)
