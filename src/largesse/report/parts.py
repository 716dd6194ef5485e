"""What the sections of every page are made of: badges, charts, tables, and the sections that all reports have."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import Any

from largesse.report.content import Finding, Provenance
from largesse.report.html import Safe, join, script_json, tag
from largesse.report.numbers import count, duration

__all__ = ["Section", "badge", "cautions_body", "findings_body", "made_body", "plot", "table", "words"]

Section = tuple[str, str, Safe]  # anchor, title, body

_BADGES = {
    "ok": ("good", "✓ ok"),
    "warn": ("mind", "! look"),
    "fail": ("bad", "✕ fail"),
    "better": ("good", "better"),
    "worse": ("bad", "worse"),
    "no clear difference": ("none", "no clear difference"),
    "on budget": ("good", "on budget"),
    "over budget": ("bad", "over budget"),
    "under budget": ("mind", "under budget"),
    "out of reach": ("mind", "out of reach"),
    "reference": ("none", "reference"),
    "agree": ("good", "agree"),
    "the bulk, not the mean": ("mind", "the bulk, not the mean"),
    "too little data": ("none", "too little data"),
}


def badge(word: str) -> Safe:
    """Returns a word of a verdict in its colour."""
    kind, text = _BADGES[word]
    return tag("span", text, class_=f"badge {kind}")


def plot(name: str, figure: Any, label: str, caption: str = "") -> Safe:
    """Returns a chart with its caption."""
    height = f"min-height:{figure.layout.height:.0f}px"
    body = tag("div", class_="plot", data_figure=f"{name}-data", role="img", aria_label=label, style=height)
    note = tag("figcaption", caption) if caption else Safe()
    return join([tag("figure", body, note), script_json(figure.to_json(engine="json"), f"{name}-data")])


def table(head: Sequence[str], *groups: Sequence[Safe], text: Sequence[int] = (0,)) -> Safe:
    """Returns a table of groups of rows; the columns numbered in `text` hold words, the others numbers."""
    cells = [tag("th", name, scope="col", class_="text" if k in text else None) for k, name in enumerate(head)]
    bodies = [tag("tbody", *rows) for rows in groups]
    return tag("div", tag("table", tag("thead", tag("tr", *cells)), *bodies), class_="wide")


def words(content: str) -> Safe:
    """Returns a cell of words."""
    return tag("td", content, class_="text")


def findings_body(findings: Sequence[Finding]) -> Safe:
    """Returns what the checks found: a table, and in a sentence whether the data is sound."""
    if not findings:
        return Safe()
    rows = [
        tag(
            "tr",
            tag("th", finding.name, scope="row", class_="text"),
            words(badge(finding.status)),
            words(finding.sentence),
        )
        for finding in findings
    ]
    bad = [f.name for f in findings if f.status == "fail"]
    look = [f.name for f in findings if f.status == "warn"]
    if bad:
        lead = f"Not yet. Explain {_and(bad)} before you rely on any number below."
    elif look:
        lead = f"Yes, with something to look at: {_and(look)}."
    else:
        lead = f"Yes. All {len(rows)} checks passed." if len(rows) > 1 else "Yes. The check passed."
    return join([tag("p", lead), table(("Check", "Result", "What it says"), rows, text=(0, 1, 2))])


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def made_body(made: Provenance | None) -> Safe:
    """Returns how the results were made."""
    if made is None:
        return Safe()
    facts = [("Model", made.model), ("Outcome", made.outcome), ("Made", made.made)]
    facts += [("Rows", ", ".join(f"{count(n)} {what}" for what, n in made.rows))]
    facts += [("Run time", "" if isnan(made.seconds) else duration(made.seconds))]
    facts += [("Seed", "" if made.seed is None else str(made.seed))]
    facts += [("Versions", ", ".join(f"{name} {version}" for name, version in made.versions))]
    shown = [join([tag("dt", name), tag("dd", text)]) for name, text in facts if text]
    config = (
        tag("details", tag("summary", "Configuration"), tag("pre", tag("code", made.config))) if made.config else Safe()
    )
    return join([tag("dl", *shown), config])


def cautions_body(cautions: Sequence[str]) -> Safe:
    """Returns what to mind, as a list."""
    return tag("ul", *(tag("li", caution) for caution in cautions), class_="cautions") if cautions else Safe()
