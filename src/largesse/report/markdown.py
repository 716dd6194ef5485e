"""Renders a report as Markdown, for a pull request, a wiki or a message."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from largesse.report.blocks import Block, Bullets, Chart, Facts, Section, Table, Text, Where
from largesse.report.content import Headline
from largesse.report.numbers import UNKNOWN

__all__ = ["markdown", "table", "text"]

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~])")


def markdown(headline: Headline, sections: Sequence[Section], pictures: Collection[str] = ()) -> str:
    """Returns the summary of a report.

    Args:
        headline: The first paragraph.
        sections: The sections of the report; blocks that only a page can show are left out.
        pictures: Names of the pictures beside the summary.
    """
    parts = [f"# {text(headline.title)}", f"**{text(headline.sentence)}**", text(" ".join(headline.summary))]
    parts.append(f"**What to do:** {text(headline.action)}" if headline.action else "")
    for section in sections:
        body = [_block(block, pictures) for block in section.blocks if block.where is not Where.PAGE]
        parts += [f"## {text(section.title)}", *body] if any(body) else []
    return "\n\n".join(part for part in parts if part) + "\n"


def text(words: str) -> str:
    r"""Returns the text on one line with its markup escaped.

    >>> print(text("a *b*"))
    a \*b\*
    """
    return _SPECIAL.sub(r"\\\1", " ".join(words.split()))


def table(shown: Table) -> str:
    """Returns a table, quiet columns in brackets behind the column to their left; ``""`` where it has no rows."""
    columns, rows = shown.flat()
    quiet = [c.quiet for c in columns]
    lines = [_joined([c.name for c in columns], quiet), [":--" if c.words else "--:" for c in columns if not c.quiet]]
    lines += [_joined([str(cell) for cell in row], quiet) for row in rows]
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines) if rows else ""
    return f"### {text(shown.title)}\n\n{body}" if body and shown.title else body


def _joined(cells: Sequence[str], quiet: Sequence[bool]) -> list[str]:
    """Returns the escaped cells of a row, each quiet one behind the cell before it."""
    out: list[str] = []
    for cell, behind in zip(cells, quiet, strict=True):
        if behind:
            out[-1] += f" ({text(cell)})" if cell != UNKNOWN else ""
        else:
            out.append(text(cell) or " ")
    return out


def _block(block: Block, pictures: Collection[str]) -> str:
    if isinstance(block, Table):
        return table(block)
    if isinstance(block, Text):
        return (f"**{text(block.lead)}** " if block.lead else "") + text(block.words)
    if isinstance(block, Chart):
        return f"![{text(block.title)}]({block.picture})" if block.picture in pictures else ""
    if isinstance(block, Facts):
        return "\n".join(f"- {text(name)}: {text(fact)}" for name, fact in block.entries)
    if isinstance(block, Bullets):
        return "\n".join(f"- {text(sentence)}" for sentence in block.sentences)
    return ""
