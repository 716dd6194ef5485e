"""Columns of features as JSON: an object for each row, with sorted names, the same as each row alone gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from largesse.serving.ledger.terms import WrittenColumn

__all__ = ["texts_of"]

_encoder = msgspec.json.Encoder()


def texts_of(names: Sequence[str], columns: Sequence[Sequence[Any]], n: int) -> WrittenColumn:
    """Returns n rows as JSON, given their columns and the names of these, sorted."""
    if not names:
        return WrittenColumn(["{}"] * n)
    lines = _encoder.encode_lines(list(map(_object(tuple(names)), *columns)))  # no text in JSON has a line break
    return WrittenColumn(lines.decode().split("\n")[:-1])


@lru_cache(maxsize=64)
def _object(names: tuple[str, ...]) -> Callable[..., Any]:
    """Returns a function that makes an object of its fields, which have these names."""
    fields = {f"f{k}": name for k, name in enumerate(names)}
    try:
        return msgspec.defstruct("Features", [(field, Any) for field in fields], rename=fields, gc=False)
    except ValueError:  # a name has quotation marks or control characters
        return lambda *cells: dict(zip(names, cells, strict=True))
