"""The sections of the page, one function each; a section without content is empty."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import Any

from largesse.report import charts
from largesse.report.content import BudgetRow, MixTable, Results
from largesse.report.html import Safe, join, script_json, tag
from largesse.report.numbers import between, count, duration, number, percent, places
from largesse.report.style import treatment_colours
from largesse.report.trust import TRUST_NOTE, trust_table

__all__ = ["Section", "sections"]

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
}

Section = tuple[str, str, Safe]  # anchor, title, body


def sections(results: Results) -> list[Section]:
    """Returns the sections that have something to say, in reading order."""
    parts = (
        ("data", "Is the data sound?", _data),
        ("curve", "What each amount of money buys", _curve),
        ("budgets", "Value at budgets", _budgets),
        ("league", "Which model, and why", _league),
        ("trust", "How far the log can be trusted", _trust),
        ("mix", "Who gets what", _mix),
        ("spend", "Planned and realised spend", _spend),
        ("made", "How it was made", _made),
        ("cautions", "What to mind", _cautions),
    )
    found = [(anchor, title, body(results)) for anchor, title, body in parts]
    return [section for section in found if section[2]]


def _badge(word: str) -> Safe:
    kind, text = _BADGES[word]
    return tag("span", text, class_=f"badge {kind}")


def _plot(name: str, figure: Any, label: str, caption: str = "") -> Safe:
    height = f"min-height:{figure.layout.height:.0f}px"
    body = tag("div", class_="plot", data_figure=f"{name}-data", role="img", aria_label=label, style=height)
    note = tag("figcaption", caption) if caption else Safe()
    return join([tag("figure", body, note), script_json(figure.to_json(engine="json"), f"{name}-data")])


def _table(head: Sequence[str], *groups: Sequence[Safe], text: Sequence[int] = (0,)) -> Safe:
    """Returns a table of groups of rows; the columns numbered in `text` hold words, the others numbers."""
    cells = [tag("th", name, scope="col", class_="text" if k in text else None) for k, name in enumerate(head)]
    bodies = [tag("tbody", *rows) for rows in groups]
    return tag("div", tag("table", tag("thead", tag("tr", *cells)), *bodies), class_="wide")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _words(content: str) -> Safe:
    return tag("td", content, class_="text")


def _data(results: Results) -> Safe:
    if not results.findings:
        return Safe()
    rows = [
        tag(
            "tr",
            tag("th", finding.name, scope="row", class_="text"),
            _words(_badge(finding.status)),
            _words(finding.sentence),
        )
        for finding in results.findings
    ]
    bad = [f.name for f in results.findings if f.status == "fail"]
    look = [f.name for f in results.findings if f.status == "warn"]
    if bad:
        lead = f"Not yet. Explain {_and(bad)} before you rely on any number below."
    elif look:
        lead = f"Yes, with something to look at: {_and(look)}."
    else:
        lead = f"Yes. All {len(rows)} checks passed." if len(rows) > 1 else "Yes. The check passed."
    return join([tag("p", lead), _table(("Check", "Result", "What it says"), rows, text=(0, 1, 2))])


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _curve(results: Results) -> Safe:
    if not (results.curves or results.arms):
        return Safe()
    what = f"{results.value_label} against {results.money_label}"
    caption = (
        "How to read it: further up is worth more, further left is cheaper. Follow the thick line from left to right "
        f"to see what more money buys; the shaded band is its {percent(results.level)} interval at each amount. "
        f"Grey marks show what happens when everyone gets the same treatment, with {percent(results.level)} intervals. "
        + ("Dotted verticals are the budgets of the next section. " if results.budgets else "")
        + "Lines whose bands overlap may still differ: the paired differences at budgets decide."
    )
    return _plot("curve", charts.cost_chart(results), f"Cost curve: {what}", caption)


def _budgets(results: Results) -> Safe:
    rows = results.budgets
    if not rows:
        return Safe()
    caption = (
        f"How to read it: dots are estimates on held-out rows, bars their {percent(results.level)} intervals. "
        f"On the right, a bar wholly to the right of zero means better than the {results.reference}, and a bar that "
        "crosses zero means that these rows cannot tell them apart."
    )
    chart = _plot("budgets", charts.budget_chart(results), f"{results.value_label} at each budget", caption)
    level = f"{percent(results.level)} interval"
    head = ("Policy", _capital(results.value_label), level, f"Against {results.reference}", level, "Verdict")
    shown = places((row.high - row.low) / 2 for row in rows)
    apart = places((row.difference_high - row.difference_low) / 2 for row in rows)
    groups = [
        [
            _budget_head(label, results),
            *(_budget_row(row, shown, apart, results) for row in rows if row.budget_label == label),
        ]
        for label in results.budget_labels
    ]
    return join([chart, _table(head, *groups, text=(0, 5))])


def _budget_head(label: str, results: Results) -> Safe:
    budget = next(row.budget for row in results.budgets if row.budget_label == label)
    money = tag("span", f"  {number(budget)} {results.money_label}", class_="quiet")
    return tag("tr", tag("th", tag("b", label), money, scope="rowgroup", colspan="6", class_="text"), class_="group")


def _budget_row(row: BudgetRow, shown: int, apart: int, results: Results) -> Safe:
    known = row.difference is not None and not isnan(row.value)
    difference = number(row.difference or 0.0, decimals=apart, sign=True) if known else "–"
    ends = between(row.difference_low, row.difference_high, decimals=apart, sign=True) if known else "–"
    return tag(
        "tr",
        tag("th", row.policy, scope="row", class_="text"),
        tag("td", number(row.value, decimals=shown)),
        tag("td", between(row.low, row.high, decimals=shown), class_="quiet"),
        tag("td", difference),
        tag("td", ends, class_="quiet"),
        _words(_badge(row.verdict)),
        class_="ours" if row.policy == results.policy else None,
    )


def _league(results: Results) -> Safe:
    league = results.league
    if league is None or not league.rows:
        return Safe()
    shown = places((row.high - row.low) / 2 for row in league.rows)
    notes = any(row.note for row in league.rows)
    body = [
        tag(
            "tr",
            tag("th", row.name, scope="row", class_="text"),
            tag("td", number(row.score, decimals=shown)),
            tag("td", between(row.low, row.high, decimals=shown), class_="quiet"),
            tag("td", duration(row.seconds)),
            _words(tag("span", "chosen", class_="badge good") if row.chosen else ""),
            *([_words(row.note)] if notes else []),
            class_="ours" if row.chosen else None,
        )
        for row in league.rows
    ]
    head = (
        "Model",
        _capital(league.score),
        f"{percent(results.level)} interval",
        "Time to learn",
        "",
        *(["Note"] if notes else []),
    )
    reason = tag("p", league.reason) if league.reason else Safe()
    note = tag(
        "p",
        "Scores are from validation rows: they chose the model, so they flatter it. The rows of the sections "
        "above were not used to choose.",
        class_="note",
    )
    return join([reason, _table(head, body, text=(0, 4, 5)), note])


def _trust(results: Results) -> Safe:
    if not results.trust:
        return Safe()
    head, rows = trust_table(results)
    body = [
        tag("tr", tag("th", row[0], scope="row", class_="text"), *(tag("td", cell) for cell in row[1:])) for row in rows
    ]
    return join([_table(head, body), tag("p", TRUST_NOTE, class_="note")])


def _mix(results: Results) -> Safe:
    tables = ([results.mix] if results.mix else []) + list(results.feature_mixes)
    if not tables:
        return Safe()
    parts = [_key(tables[0].treatments)]
    if results.mix:
        caption = results.mix.caption or "How to read it: each bar is everyone at one budget, cut by what they get."
        parts.append(_plot("mix", charts.mix_chart(results.mix), f"Who gets what by {results.mix.title}", caption))
        parts.append(_numbers(results.mix))
    cards = []
    for k, table in enumerate(results.feature_mixes):
        key = _key(table.treatments) if table.treatments != tables[0].treatments else Safe()
        plot = _plot(f"feature-{k}", charts.mix_chart(table), f"Who gets what by {table.title}", table.caption)
        cards.append(tag("div", tag("h3", f"By {table.title}"), key, plot, _numbers(table), class_="card"))
    return join([*parts, tag("div", *cards, class_="cards") if cards else Safe()])


def _key(treatments: Sequence[str]) -> Safe:
    items = [
        tag("li", tag("span", class_="swatch", style=f"background:{colour}"), name)
        for name, colour in zip(treatments, treatment_colours(len(treatments)), strict=True)
    ]
    return tag("ul", *items, class_="key")


def _numbers(table: MixTable) -> Safe:
    rows = [
        tag(
            "tr",
            tag("th", label, scope="row", class_="text"),
            *(tag("td", percent(share, decimals=1)) for share in row),
        )
        for label, row in zip(table.labels, table.shares, strict=True)
    ]
    inner = _table((table.title, *table.treatments), rows)
    return tag("details", tag("summary", "The numbers"), inner)


def _spend(results: Results) -> Safe:
    rows = results.spend
    if not rows:
        return Safe()
    caption = (
        "How to read it: the grey rule is the budget. The realised bar should cover it. The price curve was calibrated "
        "on trial rows; the model's own plan shows how far its costs could be trusted without that."
    )
    chart = _plot("spend", charts.spend_chart(results), "Spend as a share of the budget", caption)
    shown = places((row.high - row.low) / 2 for row in rows)
    head = (
        "Budget",
        results.money_label,
        "Planned by the model",
        "Planned by the price curve",
        "Realised",
        f"{percent(results.level)} interval",
        "Verdict",
    )
    body = [
        tag(
            "tr",
            tag("th", row.budget_label, scope="row", class_="text"),
            *(
                tag("td", number(x, decimals=shown))
                for x in (row.budget, row.planned_by_model, row.planned_by_curve, row.realised)
            ),
            tag("td", between(row.low, row.high, decimals=shown), class_="quiet"),
            _words(_badge(row.verdict)),
        )
        for row in rows
    ]
    return join([chart, _table(head, body, text=(0, 6))])


def _made(results: Results) -> Safe:
    made = results.provenance
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


def _cautions(results: Results) -> Safe:
    return (
        tag("ul", *(tag("li", caution) for caution in results.cautions), class_="cautions")
        if results.cautions
        else Safe()
    )
