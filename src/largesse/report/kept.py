"""The headline and the sections of a report as data, in a file beside it, so that other pages show the same blocks again.

sections.json holds what report.html shows: text, tables, cards, and each chart as its Plotly figure. Fields at their defaults
are left out. What is read back renders to the same page.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, NoReturn, get_args, get_origin, get_type_hints

from largesse._files import PathLike, atomic_bytes, read_bounded
from largesse.errors import StoreError, why_damaged
from largesse.report.blocks import Block, Chart, Section, Slider, Table
from largesse.report.content import Headline

__all__ = ["KEPT", "Kept", "StoredFigure", "as_kept", "keep_sections", "kept_sections", "of_kept"]

KEPT = "sections.json"
"""Name of the file in the folder of a report."""
_FORMAT = 1
_MOST = 1 << 28  # bytes


class Kept(NamedTuple):
    """A report that was read back.

    Attributes:
        headline: Its first paragraph.
        sections: Its sections; their charts return a `StoredFigure`.
    """

    headline: Headline
    sections: tuple[Section, ...]


class StoredFigure:
    """A Plotly figure that was read back: its JSON is the one that was written.

    Args:
        figure: The figure as plain JSON values.
    """

    def __init__(self, figure: dict[str, Any]) -> None:
        self.figure = figure

    def __call__(self) -> StoredFigure:
        """Returns itself, so that it stands for the function of a `Chart`."""
        return self

    def to_json(self, **options: Any) -> str:
        """Returns the figure as JSON; the options of Plotly change nothing."""
        return json.dumps(self.figure, ensure_ascii=False)


def keep_sections(folder: PathLike, headline: Headline, sections: Sequence[Section]) -> Path:
    """Writes sections.json into a folder and returns its path.

    Raises:
        StoreError: It cannot be written.
    """
    return atomic_bytes(Path(folder) / KEPT, as_kept(headline, sections))


def kept_sections(folder: PathLike) -> Kept | None:
    """Returns the report that a folder keeps; None where it keeps none, as those of earlier versions.

    Raises:
        StoreError: The file is damaged, or was written by a newer version.
    """
    place = Path(folder) / KEPT
    if not place.exists():
        return None
    data = read_bounded(place, _MOST)
    try:
        return of_kept(data)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(f"{place}: is damaged ({why_damaged(error)}). Run the command that wrote it again.") from error


def as_kept(headline: Headline, sections: Sequence[Section]) -> bytes:
    """Returns the content of sections.json.

    Raises:
        TypeError: A part is of a kind that has no form in the file.
    """
    content = {"format": _FORMAT, "headline": _plain(headline), "sections": [_plain(one) for one in sections]}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def of_kept(data: bytes) -> Kept:
    """Returns the report of the content of sections.json.

    Raises:
        ValueError: A part is missing, unknown or of another kind.
    """
    content = json.loads(data, parse_constant=_no_number)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        got = content.get("format") if isinstance(content, dict) else None
        raise ValueError(f"its format is {got!r}, this version reads {_FORMAT}")
    return Kept(
        _made(Headline, content["headline"], "headline"), _made(tuple[Section, ...], content["sections"], "sections")
    )


# ---- to plain values


def _plain(part: Any) -> Any:
    if isinstance(part, StrEnum):
        return part.value
    if isinstance(part, str | bool | int | NoneType):
        return part
    if isinstance(part, list | tuple):
        return [_plain(one) for one in part]
    if isinstance(part, dict):
        return {name: _plain(one) for name, one in part.items()}
    if not is_dataclass(part) or isinstance(part, type) or type(part) not in _DATA:
        raise TypeError(f"{type(part).__name__}: has no form in {KEPT}")
    out = {"kind": kind} if (kind := getattr(part, "template", None)) else {}
    for one in fields(part):
        value = getattr(part, one.name)
        if one.default is not MISSING and value == one.default:
            continue
        out[one.name] = json.loads(value().to_json(engine="json")) if _is_figure(part, one.name) else _plain(value)
    return out


def _is_figure(part: Any, name: str) -> bool:
    return isinstance(part, Chart) and name == "figure"


# ---- back from plain values


_BLOCKS: dict[str, type] = {kind.template: kind for kind in get_args(Block)}


def _parts(kind: Any) -> set[type]:
    """Returns the dataclasses that a type is made of."""
    if isinstance(kind, type) and is_dataclass(kind):
        return {kind}
    return {one for inner in get_args(kind) for one in _parts(inner)}


def _all_parts(kinds: set[type]) -> frozenset[type]:
    """Returns the dataclasses that some dataclasses are made of, with these."""
    every: set[type] = set()
    waiting = set(kinds)
    while waiting:
        kind = waiting.pop()
        every.add(kind)
        waiting |= {one for hint in _hints(kind).values() for one in _parts(hint)} - every
    return frozenset(every)


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Returns the type of each field of a dataclass."""
    hints = get_type_hints(kind)
    return {one.name: hints[one.name] for one in fields(kind)}


_DATA = _all_parts({Headline, Section})


def _made(kind: Any, value: Any, at: str) -> Any:
    """Returns a value of a type.

    Args:
        kind: A dataclass of a report, str, bool, int, an enumeration of words, or tuples, dictionaries and unions of these.
        value: Its plain form.
        at: Where it stands, for the message.
    """
    if kind in (str, bool, int):
        return value if type(value) is kind else _wrong(at, value)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind(value) if value in list(kind) else _wrong(at, value)
    if isinstance(kind, type) and is_dataclass(kind):
        return _part(kind, value, at)
    arguments = get_args(kind)
    if get_origin(kind) in (tuple, Sequence):
        if not isinstance(value, list):
            _wrong(at, value)
        open_ended = Ellipsis in arguments or len(arguments) == 1
        kinds = arguments[:1] * len(value) if open_ended else arguments
        if len(kinds) != len(value):
            _wrong(at, value)
        return tuple(_made(inner, one, f"{at}[{k}]") for k, (inner, one) in enumerate(zip(kinds, value, strict=True)))
    if get_origin(kind) is dict:
        if not isinstance(value, dict):
            _wrong(at, value)
        return {name: _made(arguments[1], one, f"{at}.{name}") for name, one in value.items()}
    if value is None and NoneType in arguments:
        return None
    return _made(_option(arguments, value, at), value, at)


def _option(options: tuple[Any, ...], value: Any, at: str) -> Any:
    """Returns the member of a union that a plain value is of."""
    if isinstance(value, dict) and "kind" in value:
        kind = _BLOCKS.get(value["kind"]) if isinstance(value["kind"], str) else None
        return kind if kind in options else _wrong(at, value["kind"])
    for one in options:
        if isinstance(value, str) == (one is str) and one is not NoneType:
            return one
    return _wrong(at, value)


def _part(kind: type, value: Any, at: str) -> Any:
    if not isinstance(value, dict):
        _wrong(at, value)
    hints = _hints(kind)
    given = {name: one for name, one in value.items() if name != "kind"}
    if unknown := set(given) - set(hints):
        raise ValueError(f"{at}.{min(unknown)} is unknown")
    missing = [one.name for one in fields(kind) if one.default is MISSING and one.name not in given]
    if missing:
        raise ValueError(f"{at}.{missing[0]} is missing")
    made = kind(**{
        name: _figure(one, at) if kind is Chart and name == "figure" else _made(hints[name], one, f"{at}.{name}")
        for name, one in given.items()
    })  # fmt: skip
    if not _fits(made):
        raise ValueError(f"{at}: the rows have another number of cells than there are columns")
    return made


def _fits(part: Any) -> bool:
    """Returns whether every row of a table, or stop of a slider, has as many cells as there are columns."""
    if isinstance(part, Table):
        return all(len(row.cells) == len(part.columns) for row in part.rows)
    if isinstance(part, Slider):
        return 0 <= part.start < len(part.stops) and all(
            len(stop.cells) == len(part.columns) and len(stop.shares) == len(part.parts) for stop in part.stops
        )
    return True


def _figure(value: Any, at: str) -> StoredFigure:
    layout = value.get("layout") if isinstance(value, dict) else None
    if not isinstance(layout, dict) or not isinstance(value.get("data"), list):
        _wrong(f"{at}.figure", value)
    if not isinstance(layout.get("height"), int | float):
        _wrong(f"{at}.figure.layout.height", layout.get("height"))
    return StoredFigure(value)


def _wrong(at: str, value: Any) -> NoReturn:
    raise ValueError(f"{at} == {str(value)[:60]!r} is of another kind")


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")
