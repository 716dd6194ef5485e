"""The sections of the page, one function each; a section without content is empty."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

from largesse.report import charts
from largesse.report.cluster_cards import card_title, cluster_note, response_rows, who
from largesse.report.content import BudgetRow, MixTable, Results
from largesse.report.html import Safe, join, tag
from largesse.report.numbers import between, duration, number, percent, places
from largesse.report.parts import Section, cautions_body, findings_body, made_body
from largesse.report.parts import badge as _badge
from largesse.report.parts import plot as _plot
from largesse.report.parts import table as _table
from largesse.report.parts import words as _words
from largesse.report.style import treatment_colours
from largesse.report.trust import TRUST_NOTE, trust_table

__all__ = ["Section", "sections"]


def sections(results: Results) -> list[Section]:
    """Returns the sections that have something to say, in reading order."""
    parts = (
        ("data", "Is the data sound?", lambda r: findings_body(r.findings)),
        ("curve", "What each amount of money buys", _curve),
        ("budgets", "Value at budgets", _budgets),
        ("league", "Which model, and why", _league),
        ("trust", "How far the log can be trusted", _trust),
        ("mix", "Who gets what", _mix),
        ("clusters", "The clusters", _clusters),
        ("spend", "Planned and realised spend", _spend),
        ("made", "How it was made", lambda r: made_body(r.provenance)),
        ("cautions", "What to mind", lambda r: cautions_body(r.cautions)),
    )
    found = [(anchor, title, body(results)) for anchor, title, body in parts]
    return [section for section in found if section[2]]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


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


def _clusters(results: Results) -> Safe:
    found = results.clusters
    if found is None:
        return Safe()
    level = f"{percent(results.level)} interval"
    head = ("Treatment", _capital(results.value_label), level, _capital(results.money_label), level)
    cards = []
    for k, card in enumerate(found.cards):
        title = card_title(card)
        plot = _plot(f"cluster-{k}", charts.cluster_chart(found, card), f"{title}: {results.value_label} by treatment")
        rows = [
            tag("tr", tag("th", name, scope="row", class_="text"), *(tag("td", cell) for cell in cells))
            for name, *cells in response_rows(found, card)
        ]
        numbers = tag("details", tag("summary", "The numbers"), _table(head, rows))
        cards.append(tag("div", tag("h3", title), tag("p", who(card)), plot, numbers, class_="card"))
    return join([tag("p", cluster_note(found, results.level), class_="note"), tag("div", *cards, class_="cards")])


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
