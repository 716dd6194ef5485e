"""Pages as HTML, JSON, CSV and Markdown: the same blocks, in the form that an address asks for."""

from __future__ import annotations

import csv
import io
import json
from functools import cache
from typing import Any, Literal

from jinja2 import ChoiceLoader, Environment, PackageLoader

from largesse.report.blocks import Block, Facts, Section, Table, Text
from largesse.report.content import Headline
from largesse.report.markdown import markdown
from largesse.report.page import templates
from largesse.report.slide import Slide, slide
from largesse.result import plain
from largesse.web.view import Drawn, Heading, View, blocks_of, tables_of
from largesse.web.words import words

__all__ = ["as_csv", "as_json", "as_markdown", "as_slide", "page_templates"]


@cache
def page_templates() -> Environment:
    """Returns the templates of the studio, with those of a report."""
    environment = templates(ChoiceLoader([PackageLoader("largesse.web"), PackageLoader("largesse.report")]))
    environment.tests["drawn"] = lambda block: isinstance(block, Drawn)
    environment.tests["heading"] = lambda block: isinstance(block, Heading)
    environment.tests["table"] = lambda block: isinstance(block, Table)
    environment.globals["w"] = words
    environment.globals["tables_of"] = tables_of
    return environment


def as_json(title: str, view: View) -> str:
    """Returns a page as JSON: its sentences, its numbers, its tables as lists of objects, and what it has beside them."""
    content = {
        "page": title, "headline": view.headline, "verdict": None if view.badge is None else view.badge.text,
        "summary": list(view.summary), "action": view.action,
        "readings": [{"name": one.name, "value": one.value, "detail": one.detail} for one in view.readings],
        "tables": [_records(table) for table in tables_of(view)], "data": plain(dict(view.document)),
    }  # fmt: skip
    return json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)


def _records(table: Table) -> dict[str, Any]:
    columns, rows = table.flat()
    return {
        "title": table.title,
        "columns": [one.name for one in columns],
        "rows": [[str(cell) for cell in row] for row in rows],
    }


def as_csv(table: Table) -> str:
    """Returns a table as CSV, with a group in a column of its own; numbers are written without commas."""
    columns, rows = table.flat()
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([one.name for one in columns])
    writer.writerows([[_cell(str(cell)) for cell in row] for row in rows])
    return out.getvalue()


def _cell(shown: str) -> str:
    """Returns a number in plain digits, and words such that a spreadsheet computes nothing from them.

    >>> _cell("−12,345.6"), _cell("=SUM(A1)"), _cell("0.1 to 0.2")
    ('-12345.6', "'=SUM(A1)", '0.1 to 0.2')
    """
    digits = shown.replace(",", "").replace("−", "-").removeprefix("+")
    try:
        float(digits)
    except ValueError:
        formula = shown.startswith(("=", "@", "\t", "\r")) or (shown[:1] in "+-" and not shown[1:2].isdigit())
        return f"'{shown}" if formula and shown else shown
    return digits


def as_markdown(title: str, view: View, source: str) -> str:
    """Returns a page as Markdown, for a ticket.

    Args:
        title: Name of the page.
        view: The page.
        source: Where its numbers are from, in a sentence.
    """
    verdict = () if view.badge is None else (f"{words('verdict')}: {view.badge.text}.",)
    headline = Headline(title=title, sentence=view.headline, summary=(*verdict, *view.summary), action=view.action)
    read = tuple((one.name, f"{one.value} ({one.detail})" if one.detail else one.value) for one in view.readings)
    blocks: list[Block] = [Facts(read)] if read else []
    for block in blocks_of(view):
        if isinstance(block, Heading):
            blocks.append(Text("", lead=block.title))
        else:
            blocks.append(block.table if isinstance(block, Drawn) else block)
    return markdown(headline, [Section("numbers", words("numbers"), [*blocks, Text(source, quiet=True)])])


def as_slide(title: str, view: View, source: str, form: Literal["pdf", "png"]) -> bytes:
    """Returns a page as one slide.

    Args:
        title: Name of the page and of the campaign.
        view: The page.
        source: Where its numbers are from, in a sentence.
        form: "pdf" or "png".
    """
    facts = tuple((one.name, one.value, one.detail) for one in view.readings)
    notes = (*view.summary, *((f"{words('next')}: {view.action}",) if view.action else ()))
    content = Slide(
        title=title, sentence=view.headline, badge=view.badge, notes=notes, facts=facts, curve=view.curve, source=source
    )
    return slide(content, form)
