"""Arguments of the client as JSON bodies: ids, keys, cells and amounts, each refused by name before anything is sent."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from datetime import date
from typing import Any
from uuid import uuid4

from largesse.client.terms import Ask, Outcome
from largesse.errors import DataError

__all__ = ["ask_body", "encoded", "number", "outcome_body", "refuse", "text", "with_keys"]

_LONGEST = 500  # bytes of an id or a key, as the ledger has it
_SHOWN = 100  # characters of a value in a message


def refuse(field: str, got: object, rule: str, remedy: str) -> DataError:
    """Returns the error for one value; the caller raises it. `largesse._check` would import NumPy."""
    shown = repr(got)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
    return DataError.at(field, f" == {shown}: {rule}. {remedy}")


def text(field: str, got: object) -> str:
    """Returns a name, an id or a key as text, or raises DataError."""
    got = _plain(got)
    if isinstance(got, bool) or not isinstance(got, str | int):
        raise refuse(field, got, "must be text or a whole number", "Give the id as text.")
    out = str(got)
    if not 0 < len(out.encode(errors="replace")) <= _LONGEST:
        raise refuse(field, got, f"must have 1 to {_LONGEST} bytes", "Give a shorter id, or its hash.")
    return out


def number(field: str, got: object, *, low: float = -math.inf) -> float:
    """Returns a finite number that is at least `low`, or raises DataError."""
    got = _plain(got)
    if isinstance(got, bool) or not isinstance(got, int | float) or not math.isfinite(got) or got < low:
        rule = "must be a finite number" + ("" if math.isinf(low) else f" >= {low:g}")
        raise refuse(field, got, rule, "Give a number.")
    return float(got)


def with_keys(asks: Iterable[Ask]) -> list[Ask]:
    """Returns the asks, each with a key of its own."""
    return [one if one.key is not None else one._replace(key=uuid4().hex) for one in asks]


def ask_body(one: Ask, place: str = "") -> dict[str, Any]:
    """Returns an ask as its JSON document.

    Args:
        one: The ask, with its key.
        place: Where it stands among several, e.g. "[3].", for messages.

    Raises:
        DataError: A field violates a rule.
    """
    if not isinstance(one.features, Mapping):
        kind = type(one.features).__name__
        raise DataError.at(f"{place}features", f": must be a mapping from column to cell, it is a {kind}. Give a dict.")
    cells = {str(name): _cell(f"{place}features[{name!r}]", cell) for name, cell in one.features.items()}
    out: dict[str, Any] = {"unit": text(f"{place}unit", one.unit), "features": cells}
    if one.campaign is not None:
        out["campaign"] = text(f"{place}campaign", one.campaign)
    if one.allowed is not None:
        out["allowed"] = _names(f"{place}allowed", one.allowed)
    return out | {"key": text(f"{place}key", one.key)}


def outcome_body(one: Outcome, place: str = "") -> dict[str, Any]:
    """Returns an outcome as its JSON document.

    Raises:
        DataError: A field violates a rule.
    """
    if not one.decision:
        remedy = "A decision that was made offline has no id, and no outcome: its cost is not of the campaign's budget."
        raise refuse(f"{place}decision", one.decision, "is no id of a decision", remedy)
    return {
        "decision": text(f"{place}decision", one.decision), "key": text(f"{place}key", one.key),
        "cost": number(f"{place}cost", one.cost), "value": number(f"{place}value", one.value), "final": bool(one.final),
        "void": bool(one.void),
    }  # fmt: skip


def encoded(content: Any) -> bytes:
    """Returns a JSON body."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _names(field: str, got: Collection[str]) -> list[str]:
    if isinstance(got, str) or not isinstance(got, Collection):
        raise refuse(field, got, "must be several names", "Give a list.")
    return [text(field, one) for one in got]


def _cell(field: str, cell: object) -> Any:
    """Returns a cell as JSON has it."""
    cell = _plain(cell)
    if isinstance(cell, float):
        if math.isinf(cell):
            raise refuse(field, cell, "must be finite", "Give a number, or None if it is missing.")
        return None if math.isnan(cell) else cell
    if cell is None or isinstance(cell, bool | int | str):
        return cell
    if isinstance(cell, date):
        return cell.isoformat()
    rule = f"must be a number, text, a bool, a date, a time or None, it is a {type(cell).__name__}"
    raise refuse(field, cell, rule, "Give such a cell.")


def _plain(got: object) -> object:
    """Returns a scalar of NumPy as Python's own; anything else as it is."""
    return got.item() if hasattr(got, "dtype") and hasattr(got, "item") and getattr(got, "ndim", 1) == 0 else got
