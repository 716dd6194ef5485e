"""Checks of arguments. Every error names the field, the value, the rule, the number of violations and the next step."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from largesse.errors import DataError

__all__ = [
    "LARGEST", "Numbers", "amounts", "array", "budgets", "choice", "finite", "integers", "lengths", "nonnegative", "number",
    "numbers", "p_value", "refuse", "refuse_cells", "selection", "threads", "unique",
]  # fmt: skip

_LONGEST = 1000  # characters of a value in a message
_FEW = 6  # entries of the largest array that a message shows
LARGEST = 1e15
"""The largest amount: a larger one is an id or a damaged cell, and sums with it would lose the digits of the others."""
Numbers = float | Sequence[float] | NDArray[Any]
"""One number or several, e.g. budgets."""

Refusal = TypeVar("Refusal", bound=DataError)


def refuse(field: str, got: object, rule: str, remedy: str, kind: type[Refusal] = DataError) -> Refusal:  # type: ignore[assignment]
    """Returns the error for one value; the caller raises it."""
    return kind.at(field, f" == {_short(got)}: {rule}. {remedy}")


def _short(got: object) -> str:
    """Returns a value as text; a very long one shows its beginning, and an array or a table only its kind and shape."""
    if isinstance(got, np.generic):
        got = got.item()
    shape = getattr(got, "shape", ())
    if shape and getattr(got, "size", _FEW + 1) > _FEW:
        return f"<{type(got).__name__} {shape}>"
    text = repr(got)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


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
        rest = f": must be an array of numbers ({error}). Encode text columns first (largesse.read does)."
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


def amounts(field: str, values: NDArray[Any], remedy: str, largest: float = LARGEST) -> None:
    """Raises DataError for amounts that are not finite, or so large that sums with them lose the digits of the others."""
    finite(field, values, remedy)
    bad = np.abs(values) > largest
    if bad.any():
        rule = f"must be between -{largest:g} and {largest:g}"
        raise refuse_cells(
            field, values, bad, rule, "Is it an id, or a damaged cell? Correct it, or use a larger unit."
        )


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
    sizes: dict[str, int] = {}
    for name, a in arrays.items():
        if a is not None:
            if not np.ndim(a):
                raise refuse(name, a, "must be an array", "Give one entry per unit.")
            sizes[name] = len(a)
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
    except (TypeError, ValueError, OverflowError):  # OverflowError: an integer of hundreds of digits
        raise refuse(field, got, bounds, remedy or "Give a number.") from None
    if not (np.isfinite(out) and low <= out <= high):
        raise refuse(field, got, bounds, remedy or "Give a number in that range.")
    return out


def written(x: float, digits: int = 6) -> str:
    """Returns a number as people write it: with so many significant digits, commas between thousands, and no exponent.

    >>> written(1e6), written(0.00004), written(1234.5678), written(60.0)
    ('1,000,000', '0.00004', '1,234.57', '60')
    """
    if not np.isfinite(x):
        return f"{x:g}"
    whole, _, part = np.format_float_positional(abs(float(f"{x:.{digits}g}")), trim="-").partition(".")
    return ("-" if x < 0 else "") + f"{int(whole):,}" + (f".{part}" if part else "")


def p_value(p: float, equals: str = "") -> str:
    """Returns a p-value with two digits, after a sign if one is given; "< 0.0001" where it is smaller.

    >>> p_value(0.0312), p_value(0.0312, "= "), p_value(0.00001, "= ")
    ('0.031', '= 0.031', '< 0.0001')
    """
    return "< 0.0001" if p < 1e-4 else f"{equals}{p:.2g}"


def numbers(field: str, got: object) -> NDArray[np.float64]:
    """Returns a number or several, also NaN and infinity, as an array of floats, or raises DataError."""
    rule, remedy = "must be a number, or several numbers", "Give numbers."
    if isinstance(got, np.ndarray) and got.dtype.kind not in "biuf":
        raise refuse(field, got, rule, remedy)
    try:
        return np.asarray(got, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise refuse(field, got, rule, remedy) from None


def budgets(field: str, got: object) -> NDArray[np.float64]:
    """Returns budgets, infinity included, as an array of floats, or raises DataError."""
    out = numbers(field, got)
    if np.isnan(out).any():
        raise refuse(field, got, "must be a number", "Infinity stands for no limit.")
    return out


def selection(rows: object, n: int) -> NDArray[Any]:
    """Returns row numbers, or a boolean mask, that select some of n rows, or raises DataError."""
    out = np.asarray(rows)
    mask = out.dtype.kind == "b" and out.shape == (n,)
    numbered = out.ndim == 1 and out.dtype.kind in "iu" and (out.size == 0 or (out.min() >= -n and out.max() < n))
    if not (mask or numbered or (out.ndim == 1 and out.size == 0)):
        rule = f"must be row numbers from 0 to {n - 1}, or a boolean mask of {n} rows"
        raise refuse("rows", rows, rule, "numpy.flatnonzero turns a condition into row numbers.")
    return out if out.size else out.astype(np.intp)


def threads(got: object) -> int:
    """Returns a number of threads: as given, at most one for each core, since LightGBM crashes with very many."""
    rule, remedy = "must be a whole number >= 1", "Use one per core at most."
    if isinstance(got, bool) or not isinstance(got, int | np.integer) or got < 1:
        raise refuse("n_threads", got, rule, remedy)
    return min(int(got), os.cpu_count() or 1)


def choice(field: str, got: object, allowed: Sequence[str]) -> str:
    """Returns `got` if it is one of the allowed strings, or raises DataError."""
    if not isinstance(got, str) or got not in allowed:
        raise refuse(field, got, f"must be one of {', '.join(map(repr, allowed))}", "Choose one of them.")
    return str(got)


def unique(field: str, values: NDArray[Any]) -> None:
    """Raises DataError for repeated unit ids."""
    kinds, counts = np.unique(values, return_counts=True)
    if len(kinds) < len(values):
        repeated, surplus = kinds[counts > 1].tolist(), len(values) - len(kinds)
        rule = f"each unit may appear only once ({surplus} rows too many, {len(repeated)} ids repeated)"
        raise refuse(field, repeated[0], rule, "Drop the duplicates or aggregate them to one row per unit.")
