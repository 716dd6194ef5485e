"""Batches in JSON as columns: a list of bodies, or JSON lines, read at once; what needs a look of its own is left to others."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from math import nan
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from largesse.errors import LargesseError
from largesse.serving.cells import Column
from largesse.serving.http.decisions import Served
from largesse.serving.http.hot import DecisionBody, key_body
from largesse.serving.http.menus import cell_of
from largesse.serving.http.texts import texts_of
from largesse.serving.http.together import Alike

__all__ = ["alike_of", "bodies_of"]

_list = msgspec.json.Decoder(list[DecisionBody])
_lines = msgspec.json.Decoder(DecisionBody)
_UNSET = msgspec.UNSET


def bodies_of(body: bytes, *, lines: bool) -> list[DecisionBody] | None:
    """Returns the bodies of a batch; None where one is not sound, or may have a name twice: each is to be read alone.

    Args:
        body: The batch.
        lines: Whether it is JSON lines; else it is a list.
    """
    try:
        bodies = _lines.decode_lines(body) if lines else _list.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    fields = 2 * len(bodies)  # msgspec takes the last of two fields of one name: there are as many colons as fields
    for one in bodies:
        fields += (
            len(one.features) + (one.campaign is not _UNSET) + (one.key is not _UNSET) + (one.allowed is not _UNSET)
        )
    return bodies if fields == body.count(b":") else None


def alike_of(find: Callable[[str | None], Served], bodies: Sequence[DecisionBody]) -> Alike | None:
    """Returns bodies as columns; None where one needs a look of its own.

    Args:
        find: Returns a campaign in service by its name.
        bodies: The bodies.

    Raises:
        Refused: The campaign is not served.
    """
    campaigns = {one.campaign for one in bodies}
    if len(campaigns) != 1 or any(one.allowed is not _UNSET and one.allowed is not None for one in bodies):
        return None
    (campaign,) = campaigns
    served = find(campaign if isinstance(campaign, str) else None)
    policy = served.loaded.policy
    names = sorted(column.name for column in policy.columns)
    columns = _columns(names, [one.features for one in bodies])
    if columns is None:
        return None
    feed = {}
    for column in policy.columns:
        if (cells := _cells(column, columns[names.index(column.name)], policy.missing)) is None:
            return None
        feed[column.input] = cells[:, None]
    units = [one.unit for one in bodies]
    keys = [one.key if isinstance(one.key, str) else None for one in bodies]
    if keys.count(None) == len(keys):
        return Alike(served, units, None, None, texts_of(names, columns, len(units)) if served.features else None, feed)
    if any(len(one.features) != len(names) for one in bodies):  # a key stands for what the policy does not read, too
        return None
    texts = texts_of(names, columns, len(units))
    written = [key_body(unit, (), one) for unit, one in zip(units, texts, strict=True)]
    return Alike(served, units, keys, written, texts if served.features else None, feed)


def _columns(names: Sequence[str], rows: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]] | None:
    """Returns the columns of rows; None where one lacks a name."""
    try:
        if len(names) == 1:
            return [tuple(row[names[0]] for row in rows)]
        return list(zip(*map(itemgetter(*names), rows), strict=True))
    except KeyError:
        return None


def _cells(column: Column, cells: Sequence[Any], mark: str) -> NDArray[Any] | None:
    """Returns a column as the model reads it, (n,); None where a cell is none of the usual ones."""
    if column.kind == "text":
        if not set(map(type, cells)) <= {str, type(None)}:
            return None
        return np.array([mark if cell is None else cell.strip() for cell in cells], object)
    try:
        return np.frombuffer(array("d", cells))
    except (TypeError, OverflowError):  # most often some are missing
        pass
    try:
        return np.frombuffer(array("d", [nan if cell is None else cell for cell in cells]))
    except (TypeError, OverflowError):  # dates as text
        pass
    try:
        known = {cell: cell_of(column, cell, mark) for cell in set(cells)}
    except LargesseError:
        return None
    return np.array([known[cell] for cell in cells], np.float64)
