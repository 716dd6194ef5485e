"""Renders a report as one self-contained web page, which loads nothing from the network."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import BaseLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from largesse.report.blocks import Badge, Block, Cards, Chart, Section, Slider, Where
from largesse.report.content import Headline, Results
from largesse.report.sections import sections

__all__ = ["document", "page", "templates"]

# The smallest bundle that draws our charts: whole plotly.js would make every page 5 MB.
_PLOTLY = "vendor/plotly-basic.min.js"

# The browser must not load anything from elsewhere.
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


def page(results: Results) -> str:
    """Returns the whole report as one HTML document."""
    return document(results.headline, sections(results))


def document(headline: Headline, parts: Sequence[Section]) -> str:
    """Returns a page with a headline and sections."""
    plots, slides = (any(_has(kind, block) for part in parts for block in part.blocks) for kind in (Chart, Slider))
    return _templates().get_template("page.html").render(
        headline=headline, sections=parts, policy=_POLICY, style=_asset("report.css"),
        plots=plots, scripts=[*([_asset(_PLOTLY)] if plots else []), *([_asset("report.js")] if plots or slides else [])],
    )  # fmt: skip


def _has(kind: type, block: Block) -> bool:
    inner = [b for card in block.cards for b in card.blocks] if isinstance(block, Cards) else []
    return isinstance(block, kind) or any(_has(kind, b) for b in inner)


@cache
def _templates() -> Environment:
    return templates(PackageLoader("largesse.report"))


def templates(loader: BaseLoader) -> Environment:
    """Returns an environment for templates that use the macros of `blocks.html`."""
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["figure"] = _figure
    environment.filters["prose"] = _prose
    environment.filters["stops"] = lambda stops: [asdict(stop) for stop in stops]
    environment.tests["badge"] = lambda cell: isinstance(cell, Badge)
    environment.tests["on_page"] = lambda block: block.where is not Where.TEXT
    return environment


def _prose(words: str) -> Markup:
    """Returns escaped words in which what stands between backticks is code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(words))))  # escaped just now


def _figure(chart: Chart) -> dict[str, Any]:
    """Returns the Plotly figure of a chart as plain JSON values."""
    figure: dict[str, Any] = json.loads(chart.figure().to_json(engine="json"))
    return figure


@cache
def _asset(name: str) -> Markup:
    return Markup(resources.files("largesse.report").joinpath(name).read_text("utf-8"))  # our own file
