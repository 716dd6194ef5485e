"""Markup that cannot be forgotten to escape: text is escaped unless it is `Safe`, and only `tag` makes `Safe`.

>>> tag("p", "5 < 6 & ", tag("b", '"so"'), title='"')
'<p title="&quot;">5 &lt; 6 &amp; <b>&quot;so&quot;</b></p>'
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape

__all__ = ["Safe", "join", "raw", "script_json", "tag"]

_VOID = frozenset({"meta", "br", "hr", "img"})


class Safe(str):
    """Text that is markup already."""

    __slots__ = ()


def raw(markup: str) -> Safe:
    """Returns markup written by us, as it is."""
    return Safe(markup)


def join(children: Iterable[str]) -> Safe:
    """Returns the children one after another, each escaped unless it is `Safe`."""
    return Safe("".join(child if isinstance(child, Safe) else escape(child) for child in children))


def tag(name: str, /, *children: str, **attributes: str | None) -> Safe:
    """Returns an element; ``class_`` and ``data_x`` become ``class`` and ``data-x``, None leaves an attribute out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Safe(f"<{name}{written}>" if name in _VOID else f"<{name}{written}>{join(children)}</{name}>")


def script_json(text: str, name: str) -> Safe:
    """Returns JSON as a data block that no text inside can close."""
    json.loads(text)
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Safe(f'<script type="application/json" id="{escape(name)}">{text}</script>')
