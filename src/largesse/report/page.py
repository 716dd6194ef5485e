"""One self-contained web page: it opens without a network and asks for nothing."""

from __future__ import annotations

from functools import cache
from importlib import resources

from plotly.offline import get_plotlyjs

from largesse.report.content import Headline, Results
from largesse.report.html import Safe, join, raw, tag
from largesse.report.sections import Section, sections

__all__ = ["document", "page"]

# The browser itself is told to load nothing from anywhere.
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


def page(results: Results) -> str:
    """Returns the whole report as one HTML document."""
    return document(results.headline, sections(results))


def document(words: Headline, parts: list[Section]) -> str:
    """Returns a page of sections under a headline."""
    plots = any("data-figure" in body for _, _, body in parts)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", words.title),
        tag("style", _asset("report.css")),
    )
    without = "The charts need JavaScript. The tables and the pictures beside this page hold the same numbers."
    scripts = [tag("script", raw(get_plotlyjs())), tag("script", _asset("report.js"))] if plots else []
    note = tag("noscript", tag("p", without)) if plots else Safe()
    body = tag("body", tag("main", _top(words), note, _contents(parts), *map(_section, parts)), *scripts)
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


@cache
def _asset(name: str) -> Safe:
    return raw(resources.files("largesse.report").joinpath(name).read_text("utf-8"))


def _top(words: Headline) -> Safe:
    action = tag("p", tag("b", "What to do: "), words.action, class_="action") if words.action else Safe()
    more = tag("p", " ".join(words.summary)) if words.summary else Safe()
    return tag(
        "header",
        tag("h1", words.title),
        tag("div", tag("p", words.sentence, class_="lead"), more, action, class_="headline"),
    )


def _contents(parts: list[Section]) -> Safe:
    links = [tag("li", tag("a", title, href=f"#{anchor}")) for anchor, title, _ in parts]
    return tag("nav", tag("ol", *links), aria_label="Contents") if parts else Safe()


def _section(part: Section) -> Safe:
    anchor, title, body = part
    return tag("section", tag("h2", title), join([body]), id=anchor)
