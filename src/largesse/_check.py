"""Checks of arguments. Every error names the field, the value, the rule, the number of violations and the next step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from largesse.errors import DataError

__all__ = [
    "Numbers", "array", "choice", "finite", "integers", "lengths", "nonnegative", "number", "refuse", "refuse_cells", "unique",
]  # fmt: skip

Numbers = float | Sequence[float] | NDArray[Any]
"""One number or several, e.g. budgets."""

Refusal = TypeVar("Refusal", bound=DataError)


def refuse(field: str, got: object, rule: str, remedy: str, kind: type[Refusal] = DataError) -> Refusal:  # type: ignore[assignment]
    """Returns the error for one value; the caller raises it."""
    return kind.at(field, f" == {got!r}: {rule}. {remedy}")


def refuse_cells(field: str, values: NDArray[Any], bad: NDArray[np.bool_], rule: str, remedy: str) -> DataError:
    """Returns the error for the cells where `bad` is true: names the first and counts all."""
    first = tuple(int(k) for k in np.argwhere(bad)[0])
    place = ", ".join(str(k) for k in first)
    count = int(np.count_nonzero(bad))
    noun = "row" if values.ndim == 1 else "cell"
    many = f"{count} such {noun}{'s' if count > 1 else ''} of {bad.size}"
    return DataError.at(field, f"[{place}] == {values[first]}: {rule} ({many}). {remedy}")


def array(field: str, data: object, *, ndim: int, dtype: Any = None) -> NDArray[Any]:
    """Returns `data` as a non-empty numeric array with `ndim` axes, copied only if necessary, or raises DataError."""
    try:
        out = np.asarray(data)
        if out.dtype.kind not in "biuf":
            raise TypeError(f"its kind is {out.dtype}")
        out = out if dtype is None else out.astype(dtype, copy=False)
    except (TypeError, ValueError) as error:
        rest = f": must be an array of numbers ({error}). Encode text columns first (largesse.frames does)."
        raise DataError.at(field, rest) from error
    if out.ndim != ndim:
        rule = f"{field} must have {ndim} axes, its shape is {out.shape}"
        raise refuse(f"{field}.ndim", out.ndim, rule, "Reshape it.")
    if out.size == 0:
        remedy = "Check the filter or the file it came from."
        raise refuse(f"{field}.shape", out.shape, f"{field} must not be empty", remedy)
    return out


def finite(field: str, values: NDArray[Any], remedy: str) -> None:
    """Raises DataError for NaN and infinite values."""
    bad = ~np.isfinite(values)
    if bad.any():
        raise refuse_cells(field, values, bad, "must be a finite number", remedy)


def nonnegative(field: str, values: NDArray[Any], remedy: str = "Clip them or drop the rows.") -> None:
    """Raises DataError for negative values."""
    bad = values < 0
    if bad.any():
        raise refuse_cells(field, values, bad, "must be >= 0", remedy)


def integers(field: str, data: object, *, low: int, high: int, rule: str, remedy: str) -> NDArray[np.int32]:
    """Returns a one-axis array of integers in [low, high), or raises DataError."""
    raw = array(field, data, ndim=1)
    if raw.dtype.kind == "f":
        finite(field, raw, remedy)
    integral = raw.dtype.kind in "iub"
    if not integral or raw.min() < low or raw.max() >= high:
        bad = (raw < low) | (raw >= high) | (False if integral else raw != np.floor(raw))
        if bad.any():
            raise refuse_cells(field, raw, bad, rule, remedy)
    return raw.astype(np.int32)


def lengths(**arrays: NDArray[Any] | None) -> int:
    """Returns the common length of the arrays (None is skipped), or raises DataError."""
    sizes = {name: len(a) for name, a in arrays.items() if a is not None}
    first, size = next(iter(sizes.items()))
    for name, n in sizes.items():
        if n != size:
            raise refuse(f"len({name})", n, f"must equal len({first}), which is {size}", "Give one entry per unit.")
    return size


def number(field: str, got: object, *, low: float = -np.inf, high: float = np.inf, remedy: str = "") -> float:
    """Returns a finite number in [low, high], or raises DataError."""
    bounds = "must be a finite number"
    if np.isfinite(low) or np.isfinite(high):
        bounds += f" in [{low:g}, {high:g}]"
    try:
        out = float(got)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise refuse(field, got, bounds, remedy or "Give a number.") from None
    if not (np.isfinite(out) and low <= out <= high):
        raise refuse(field, got, bounds, remedy or "Give a number in that range.")
    return out


def choice(field: str, got: object, allowed: Sequence[str]) -> str:
    """Returns `got` if it is one of the allowed strings, or raises DataError."""
    if got not in allowed:
        raise refuse(field, got, f"must be one of {', '.join(map(repr, allowed))}", "Choose one of them.")
    return str(got)


def unique(field: str, values: NDArray[Any]) -> None:
    """Raises DataError for repeated unit ids."""
    kinds, counts = np.unique(values, return_counts=True)
    if len(kinds) < len(values):
        repeated, surplus = kinds[counts > 1].tolist(), len(values) - len(kinds)
        rule = f"each unit may appear only once ({surplus} rows too many, {len(repeated)} ids repeated)"
        raise refuse(field, repeated[0], rule, "Drop the duplicates or aggregate them to one row per unit.")
