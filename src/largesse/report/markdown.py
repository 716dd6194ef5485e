"""The report in short, as Markdown: for a pull request, a wiki or a message."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from math import isnan

from largesse.report.cluster_cards import cluster_note, cluster_table
from largesse.report.content import Finding, Headline, Provenance, Results
from largesse.report.numbers import count, duration, interval, number, percent, places
from largesse.report.trust import TRUST_NOTE, trust_table

__all__ = ["cautions", "findings", "made", "markdown", "picture", "table", "text", "together"]

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~])")


def markdown(results: Results, pictures: Sequence[tuple[str, str]] = ()) -> str:
    """Returns the summary; `pictures` are the title and the file name of each picture beside it."""
    parts = [findings(results.findings), _budgets(results), *(picture(*named) for named in pictures)]
    parts += [_league(results), _trust(results), _mix(results), _clusters(results), _spend(results)]
    return together(results.headline, [*parts, made(results.provenance), cautions(results.cautions)])


def together(words: Headline, parts: Sequence[str]) -> str:
    """Returns the headline and the parts that are not empty."""
    top = [f"# {text(words.title)}", f"**{text(words.sentence)}**", text(" ".join(words.summary))]
    top.append(f"**What to do:** {text(words.action)}" if words.action else "")
    return "\n\n".join(part for part in (*top, *parts) if part) + "\n"


def picture(title: str, name: str) -> str:
    """Returns a picture that lies beside the summary."""
    return f"![{text(title)}]({name})"


def text(words: str) -> str:
    """Returns the text on one line with its markup switched off."""
    return _SPECIAL.sub(r"\\\1", " ".join(words.split()))


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]], words: Sequence[int] = (0,)) -> str:
    """Returns a heading and a table; the columns numbered in `words` hold words, the others numbers."""
    rule = [":--" if k in words else "--:" for k in range(len(head))]
    lines = [[text(cell) for cell in head], rule, *([text(cell) for cell in row] for row in rows)]
    return "\n".join([f"## {title}", "", *("| " + " | ".join(line) + " |" for line in lines)]) if len(lines) > 2 else ""


def findings(found: Sequence[Finding]) -> str:
    """Returns what the checks found."""
    rows = [(f.name, f.status, f.sentence) for f in found]
    return table("Is the data sound?", ("Check", "Result", "What it says"), rows, (0, 1, 2))


def _budgets(results: Results) -> str:
    shown = places((row.high - row.low) / 2 for row in results.budgets)
    apart = places((row.difference_high - row.difference_low) / 2 for row in results.budgets)
    rows = [
        (
            row.budget_label,
            row.policy,
            interval(row.value, row.low, row.high, decimals=shown),
            "–"
            if row.difference is None or isnan(row.value)
            else interval(row.difference, row.difference_low, row.difference_high, decimals=apart, sign=True),
            row.verdict,
        )
        for row in results.budgets
    ]
    value = f"{results.value_label} ({percent(results.level)} interval)"
    return table(
        "Value at budgets", ("Budget", "Policy", value, f"Against {results.reference}", "Verdict"), rows, (0, 1, 4)
    )


def _league(results: Results) -> str:
    if results.league is None:
        return ""
    shown = places((row.high - row.low) / 2 for row in results.league.rows)
    rows = [
        (
            row.name,
            interval(row.score, row.low, row.high, decimals=shown),
            duration(row.seconds),
            "chosen" if row.chosen else "",
        )
        for row in results.league.rows
    ]
    rated = table("Which model, and why", ("Model", results.league.score, "Time to learn", " "), rows, (0, 3))
    return "\n\n".join(part for part in (rated, text(results.league.reason)) if part)


def _trust(results: Results) -> str:
    if not results.trust:
        return ""
    return "\n\n".join([table("How far the log can be trusted", *trust_table(results)), text(TRUST_NOTE)])


def _mix(results: Results) -> str:
    if results.mix is None:
        return ""
    rows = [
        (label, *(percent(share, decimals=0) for share in row))
        for label, row in zip(results.mix.labels, results.mix.shares, strict=True)
    ]
    return table("Who gets what", (results.mix.title, *results.mix.treatments), rows)


def _clusters(results: Results) -> str:
    found = results.clusters
    if found is None:
        return ""
    rated = table("The clusters", *cluster_table(found, results.level), (0, 3))
    return "\n\n".join([rated, text(cluster_note(found, results.level))])


def _spend(results: Results) -> str:
    shown = places((row.high - row.low) / 2 for row in results.spend)
    rows = [
        (
            row.budget_label,
            *(number(x, decimals=shown) for x in (row.budget, row.planned_by_model, row.planned_by_curve)),
            interval(row.realised, row.low, row.high, decimals=shown),
            row.verdict,
        )
        for row in results.spend
    ]
    head = ("Budget", results.money_label, "Planned by the model", "Planned by the price curve", "Realised", "Verdict")
    return table("Planned and realised spend", head, rows, (0, 5))


def made(how: Provenance | None) -> str:
    """Returns how the results were made."""
    if how is None:
        return ""
    facts = [how.model, how.outcome, ", ".join(f"{count(n)} {what}" for what, n in how.rows)]
    facts += ["" if isnan(how.seconds) else f"run time {duration(how.seconds)}"]
    facts += ["" if how.seed is None else f"seed {how.seed}"]
    facts += [", ".join(f"{name} {version}" for name, version in how.versions), how.made]
    return "\n".join(["## How it was made", "", *(f"- {text(fact)}" for fact in facts if fact)])


def cautions(words: Sequence[str]) -> str:
    """Returns what to mind, as a list."""
    return "\n".join(["## What to mind", "", *(f"- {text(c)}" for c in words)]) if words else ""
