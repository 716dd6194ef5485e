"""The interactive charts, as Plotly figures. Colours of text and paper are left to the page (light, dark, print)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isnan
from typing import Any

import plotly.graph_objects as go

from largesse.report.cluster_cards import ClusterCard, Clusters
from largesse.report.content import ArmPoint, BudgetRow, CurveLine, MixTable, Results
from largesse.report.figures import GRID, LINE, house_figure
from largesse.report.forest_plot import EffectRow, forest
from largesse.report.numbers import interval, number, percent, places
from largesse.report.style import (
    ARM,
    CONTROL,
    dark,
    dot_rows,
    faint,
    near_right,
    plain,
    policy_colours,
    treatment_colours,
)

__all__ = [
    "budget_chart",
    "cluster_chart",
    "cost_chart",
    "forest_chart",
    "mix_chart",
    "spend_chart",
]

_SYMBOLS = {"policy": "circle", "baseline": "diamond", "candidate": "square"}


def _bold(name: str) -> str:
    return f"<b>{plain(name, 80)}</b>"


def cost_chart(results: Results) -> go.Figure:
    """Returns value against spend per unit: the policy with its band, the baselines, the arms."""
    figure = house_figure(480)
    colours = policy_colours(results)
    for line in sorted(results.curves, key=lambda line: ("candidate", "baseline", "policy").index(line.role)):
        if line.low and line.role == "policy":
            _band(figure, line, colours[line.name], results.level)
        figure.add_trace(_curve(line, colours[line.name], results))
    for point, right in zip(results.arms, near_right(results), strict=True):
        figure.add_trace(_arm(point, results))
        figure.add_trace(_arm_name(point, right))
    for budget, label in {row.budget: row.budget_label for row in results.budgets}.items():
        figure.add_vline(x=budget, line={"color": LINE, "width": 1, "dash": "dot"}, layer="below")
        figure.add_annotation(
            x=budget,
            y=0.01,
            yref="paper",
            yanchor="bottom",
            xanchor="right",
            textangle=-90,
            showarrow=False,
            text=plain(label, 24),
            font={"size": 11},
            opacity=0.75,
        )
    figure.update_xaxes(title_text=f"{plain(results.spend_axis)}", rangemode="tozero")
    figure.update_yaxes(title_text=plain(results.value_label))
    figure.update_layout(dragmode="zoom")
    return figure


def _band(figure: go.Figure, line: CurveLine, colour: str, level: float) -> None:
    keep = [k for k in range(len(line.cost)) if not (isnan(line.low[k]) or isnan(line.high[k]))]
    edge: dict[str, Any] = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    cost = [line.cost[k] for k in keep]
    figure.add_trace(go.Scatter(x=cost, y=[line.low[k] for k in keep], legendgroup=line.name, **edge))
    figure.add_trace(
        go.Scatter(
            x=cost,
            y=[line.high[k] for k in keep],
            fill="tonexty",
            fillcolor=faint(colour, 0.2),
            name=f"{percent(level)} interval",
            legendgroup=line.name,
            **edge,
        )
    )


def _curve(line: CurveLine, colour: str, results: Results) -> go.Scatter:
    look = {"policy": (3.2, "solid"), "baseline": (2.0, "dash"), "candidate": (1.4, "solid")}[line.role]
    blank = (float("nan"),) * len(line.cost)
    ends = zip(line.cost, line.value, line.low or blank, line.high or blank, strict=True)
    hover = [
        f"{_bold(line.name)}<br>{number(cost)} {plain(results.spend_label)}<br>"
        f"{interval(value, low, high)} {plain(results.value_label)}"
        for cost, value, low, high in ends
    ]
    return go.Scatter(
        x=list(line.cost),
        y=list(line.value),
        mode="lines",
        name=plain(line.name),
        legendgroup=line.name,
        legendrank={"policy": 1, "baseline": 2, "candidate": 3}[line.role],
        hovertext=hover,
        hoverinfo="text",
        line={"color": colour, "width": look[0], "dash": look[1]},
        opacity=0.85 if line.role == "candidate" else 1.0,
    )


def _arm(point: ArmPoint, results: Results) -> go.Scatter:
    known = not (isnan(point.low) or isnan(point.high))
    bars = {
        "type": "data",
        "symmetric": False,
        "array": [max(0.0, point.high - point.value)],
        "arrayminus": [max(0.0, point.value - point.low)],
        "color": ARM,
        "thickness": 1.4,
        "width": 4,
        "visible": known,
    }
    hover = (
        f"{_bold(point.name)}<br>{number(point.cost)} {plain(results.spend_label)}<br>"
        f"{interval(point.value, point.low, point.high)} {plain(results.value_label)}"
    )
    return go.Scatter(
        x=[point.cost],
        y=[point.value],
        mode="markers",
        error_y=bars if known else None,
        showlegend=False,
        hovertext=hover,
        hoverinfo="text",
        name=plain(point.name),
        cliponaxis=False,
        marker={
            "size": 9,
            "color": ARM,
            "symbol": "x-thin" if point.control else "diamond",
            "line": {"width": 2 if point.control else 0, "color": ARM},
        },
    )


def _arm_name(point: ArmPoint, right: bool) -> go.Scatter:
    """Returns the arm's name below and right of its interval: rising curves pass above it."""
    return go.Scatter(
        x=[point.cost],
        y=[point.value if isnan(point.low) else point.low],
        mode="text",
        text=[plain(point.name, 28)],
        textposition="bottom left" if right else "bottom right",
        textfont={"size": 12},
        showlegend=False,
        hoverinfo="skip",
        cliponaxis=False,
    )


def budget_chart(results: Results) -> go.Figure:
    """Returns dots with intervals: value per unit at each budget, and the paired difference from the reference."""
    rows = results.budgets
    paired = any(row.difference is not None for row in rows)
    titles = (plain(results.value_label), f"difference from {plain(results.reference)}")[: 1 + paired]
    heights, ticks = dot_rows((row.budget_label, row.policy) for row in rows)
    figure = house_figure(_height(rows), columns=1 + paired, titles=titles)
    for name in dict.fromkeys(row.policy for row in rows):
        mine = [k for k, row in enumerate(rows) if row.policy == name]
        y, picked = [heights[k] for k in mine], [rows[k] for k in mine]
        look: dict[str, Any] = {"colour": policy_colours(results)[name], "role": picked[0].role, "name": name}
        figure.add_trace(
            _dots([(r.value, r.low, r.high) for r in picked], y, [r.budget_label for r in picked], **look), 1, 1
        )
        against = [(r, h) for r, h in zip(picked, y, strict=True) if r.difference is not None]
        if against:
            ends = [(r.difference or 0.0, r.difference_low, r.difference_high) for r, _ in against]
            labels = [f"{r.budget_label}: {r.verdict}" for r, _ in against]
            trace = _dots(ends, [h for _, h in against], labels, sign=True, **look)
            figure.add_trace(trace.update(showlegend=False), 1, 2)
    if paired:
        figure.add_vline(x=0, row=1, col=2, line={"color": LINE, "width": 1.5}, layer="below")
    _label_groups(figure, ticks)
    return _lift_legend(figure)


def _height(rows: Iterable[BudgetRow]) -> int:
    rows = list(rows)
    groups, names = len({row.budget_label for row in rows}), len({row.policy for row in rows})
    return 130 + groups * max(44, 20 * names + 14)


def _dots(
    ends: Sequence[tuple[float, ...]],
    y: list[float],
    labels: list[str],
    *,
    name: str,
    colour: str,
    role: str,
    sign: bool = False,
) -> go.Scatter:
    shown = places([(high - low) / 2 for _, low, high in ends])
    hover = [
        f"{_bold(name)}<br>{plain(label, 80)}<br>{interval(*end, decimals=shown, sign=sign)}"
        for end, label in zip(ends, labels, strict=True)
    ]
    arms = [
        (0.0, 0.0) if isnan(low) or isnan(high) else (max(0.0, x - low), max(0.0, high - x)) for x, low, high in ends
    ]
    return go.Scatter(
        x=[x for x, _, _ in ends],
        y=y,
        mode="markers",
        name=plain(name),
        legendgroup=name,
        hovertext=hover,
        hoverinfo="text",
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [a[1] for a in arms],
            "arrayminus": [a[0] for a in arms],
            "color": colour,
            "thickness": 2,
            "width": 0,
        },
        marker={"size": 10, "color": colour, "symbol": _SYMBOLS[role]},
    )


def _label_groups(figure: go.Figure, ticks: dict[str, float]) -> None:
    names = [plain(label, 30) for label in ticks]
    figure.update_yaxes(
        tickvals=list(ticks.values()),
        ticktext=names,
        showgrid=False,
        ticks="",
        range=[0.5 - len(ticks), 0.5],
        ticklabelstandoff=6,
    )
    for height in list(ticks.values())[1:]:
        figure.add_hline(y=height + 0.5, line={"color": GRID, "width": 1}, layer="below")


def _lift_legend(figure: go.Figure) -> go.Figure:
    """Moves the legend above the titles of the panels."""
    tall = figure.layout.height - 90
    figure.update_layout(legend={"y": 1 + 28 / tall}, margin={"t": 78})
    figure.update_annotations(font={"size": 13})
    return figure


def mix_chart(table: MixTable) -> go.Figure:
    """Returns who gets what: one bar for each group, divided by treatment. The page has the legend."""
    figure = house_figure(60 + 34 * len(table.labels), barmode="stack", bargap=0.28)
    groups = list(range(len(table.labels)))
    for name, colour, share in zip(
        table.treatments, treatment_colours(len(table.treatments)), _columns(table), strict=True
    ):
        figure.add_trace(
            go.Bar(
                x=list(share),
                y=groups,
                orientation="h",
                name=plain(name),
                showlegend=False,
                marker={"color": colour, "line": {"color": "rgba(255,255,255,0.8)", "width": 1}},
                text=[percent(s, decimals=0) if s >= 0.07 else "" for s in share],
                textposition="inside",
                textangle=0,
                insidetextanchor="middle",
                textfont={"color": "#fff" if dark(colour) else "#1c2128", "size": 12},
                hovertext=[
                    f"{_bold(label)}<br>{plain(name)}: {percent(s)}"
                    for label, s in zip(table.labels, share, strict=True)
                ],
                hoverinfo="text",
            )
        )
    labels = [plain(label, 30) for label in table.labels]
    figure.update_yaxes(
        tickvals=groups,
        ticktext=labels,
        autorange="reversed",
        showgrid=False,
        ticks="",
        showline=False,
        ticklabelstandoff=6,
    )
    quarters = [k / 4 for k in range(5)]
    texts = [percent(share, decimals=0) for share in quarters]
    figure.update_xaxes(range=[0, 1.001], tickvals=quarters, ticktext=texts, showline=False)
    figure.update_layout(margin={"t": 6, "r": 26})
    return figure


def cluster_chart(clusters: Clusters, card: ClusterCard) -> go.Figure:
    """Returns value per unit under each treatment, with intervals, on the axis that all clusters share."""
    names, (low, high) = clusters.treatments, clusters.span
    figure = house_figure(56 + 30 * len(names))
    for k, colour in enumerate(treatment_colours(len(names))):
        cost = f"costs {number(card.cost[k][0])} per unit"
        figure.add_trace(_dots([card.value[k]], [-k], [cost], name=names[k], colour=colour, role="policy"))
    _label_groups(figure, {name: -k for k, name in enumerate(names)})
    room = 0.05 * (high - low)
    figure.update_xaxes(range=[low - room, high + room])
    figure.update_layout(showlegend=False, margin={"t": 6, "r": 26})
    return figure


def _columns(table: MixTable) -> list[tuple[float, ...]]:
    return [tuple(row[j] for row in table.shares) for j in range(len(table.treatments))]


def spend_chart(results: Results) -> go.Figure:
    """Returns spend as a share of the budget: planned by model and by curve, and realised with its interval."""
    rows = [row for row in results.spend if row.budget > 0]
    unknown = float("nan")
    lines = {
        "realised on held-out rows": ("#0072b2", "policy", [(row.realised, row.low, row.high) for row in rows]),
        "planned by the spend curve": ("#e69f00", "baseline", [(r.planned_by_curve, unknown, unknown) for r in rows]),
        "planned by the model": (ARM, "candidate", [(r.planned_by_model, unknown, unknown) for r in rows]),
    }
    pairs = [(row.budget_label, kind) for row in rows for kind in lines]
    heights, ticks = dot_rows(pairs)
    figure = house_figure(96 + 74 * len(rows))
    for kind, (colour, role, ends) in lines.items():
        share = [tuple(end / row.budget for end in three) for three, row in zip(ends, rows, strict=True)]
        y = [h for h, pair in zip(heights, pairs, strict=True) if pair[1] == kind]
        trace = _dots(share, y, [row.budget_label for row in rows], name=kind, colour=colour, role=role)
        hover = [f"{_bold(kind)}<br>{interval(*three)} {plain(results.spend_label)}" for three in ends]
        figure.add_trace(trace.update(hovertext=hover))
    figure.add_vline(x=1, line={"color": CONTROL, "width": 6}, opacity=0.5, layer="below")
    figure.update_xaxes(tickformat=".0%", title_text="spend as a share of the budget")
    _label_groups(figure, ticks)
    return figure


def forest_chart(effects: Sequence[EffectRow], level: float) -> go.Figure:
    """Returns effects with intervals, by metric and arm, one colour for each estimator."""
    plot = forest(effects)
    pairs = [(row.group, row.method) for row in plot.rows]
    heights, ticks = dot_rows(pairs)
    figure = house_figure(110 + len(ticks) * max(44, 22 * len(plot.colours) + 14))
    for method, colour in plot.colours.items():
        mine = [k for k, row in enumerate(plot.rows) if row.method == method]
        labels = [plot.rows[k].group for k in mine]
        look = {"name": method, "colour": colour, "role": "policy" if method == "STATE" else "baseline"}
        figure.add_trace(_dots([plot.ends[k] for k in mine], [heights[k] for k in mine], labels, sign=True, **look))
    figure.add_vline(x=0, line={"color": LINE, "width": 1.5}, layer="below")
    figure.update_xaxes(
        title_text=f"{plain(plot.label, 80)}, {percent(level)} intervals", tickformat=".1%" if plot.relative else ""
    )
    _label_groups(figure, ticks)
    return figure
