"""An empty Plotly figure in the house style, and plain charts of days and lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from largesse.report.style import faint, plain

__all__ = ["GRID", "LINE", "band_chart", "bars_chart", "day_chart", "house_figure", "lines_chart", "signed_bars"]

GRID = "rgba(128, 134, 144, 0.22)"
"""Colour of a grid, on light and dark paper."""
LINE = "rgba(128, 134, 144, 0.75)"
"""Colour of an axis, likewise."""
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_COLOURS = ("#0072b2", "#d55e00", "#8a93a0")  # of several lines, which also differ in their dashes
_DASHES = ("dash", "solid", "dot")


def house_figure(height: int, *, columns: int = 1, titles: Iterable[str] = (), **layout: Any) -> go.Figure:
    """Returns an empty figure in the house style."""
    style = {
        "template": "none", "height": height, "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
        "hovermode": "closest", "dragmode": False, "font": {"family": _FONT, "size": 13, "color": "#5b6470"},
        "hoverlabel": {"font": {"family": _FONT, "size": 13}, "align": "left"},
        "legend": {
            "orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "font": {"size": 12.5},
        },
        "margin": {"l": 8, "r": 12, "t": 40, "b": 8},
        **layout,
    }  # fmt: skip
    axis = {
        "gridcolor": GRID, "zeroline": False, "linecolor": LINE, "ticks": "outside", "ticklen": 4, "tickcolor": GRID,
        "automargin": True, "exponentformat": "none", "separatethousands": True,
        "title": {"standoff": 10, "font": {"size": 13.5}},
    }  # fmt: skip
    names = list(titles)
    if columns == 1 and not names:  # checked once by Plotly; each update of a figure checks all of it again
        return go.Figure(layout={**style, "xaxis": {"anchor": "y", "domain": [0.0, 1.0], **axis},
                                 "yaxis": {"anchor": "x", "domain": [0.0, 1.0], **axis}})  # fmt: skip
    figure = make_subplots(rows=1, cols=columns, shared_yaxes=True, horizontal_spacing=0.06, subplot_titles=names)
    axes = ["xaxis", "yaxis", *(f"{xy}axis{k}" for k in range(2, columns + 1) for xy in "xy")]
    return figure.update_layout({**style, **dict.fromkeys(axes, axis)})


def day_chart(amounts: Mapping[str, float], title: str) -> go.Figure:
    """Returns an amount of each day as bars; the days are dates."""
    figure = house_figure(260, margin={"l": 8, "r": 12, "t": 12, "b": 8})
    figure.add_trace(go.Bar(x=list(amounts), y=list(amounts.values()), marker={"color": "#0072b2"}, name=title))
    figure.update_yaxes(title_text=title, rangemode="tozero")
    return figure


def bars_chart(names: Sequence[str], series: Mapping[str, Sequence[float]]) -> go.Figure:
    """Returns shares as bars, those of several series side by side.

    Args:
        names: What the bars are of, (K,).
        series: Name → share of each, (K,).
    """
    figure = house_figure(320, barmode="group", bargap=0.25)
    for k, (name, shares) in enumerate(series.items()):
        marker = {"color": _COLOURS[k % 3]}
        figure.add_trace(go.Bar(x=list(range(len(names))), y=list(shares), name=plain(name), marker=marker))
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    figure.update_xaxes(tickvals=list(range(len(names))), ticktext=[plain(one, 24) for one in names], showgrid=False)
    figure.update_layout(showlegend=len(series) > 1)
    return figure


def signed_bars(
    amounts: Mapping[str, float],
    x_title: str,
    y_title: str,
    *,
    marked: str = "",
    ends: Mapping[str, tuple[float, float]] | None = None,
) -> go.Figure:
    """Returns an amount of each name as bars, with a line at 0.

    Args:
        amounts: Name → amount, in order.
        x_title: What the names are.
        y_title: What the amounts are, with their unit.
        marked: The name whose bar has the colour of the policy.
        ends: Name → both ends of a range around its amount; None: there are none.
    """
    figure = house_figure(320, margin={"l": 8, "r": 12, "t": 12, "b": 8})
    names, y = list(amounts), list(amounts.values())
    bar: dict[str, Any] = {"marker": {"color": [_COLOURS[0] if name == marked else "#8a93a0" for name in names]}}
    if ends is not None:
        bar["error_y"] = {
            "type": "data", "symmetric": False, "array": [ends[name][1] - amounts[name] for name in names],
            "arrayminus": [amounts[name] - ends[name][0] for name in names], "color": LINE, "thickness": 1.5,
        }  # fmt: skip
    figure.add_trace(go.Bar(x=list(range(len(names))), y=y, name=y_title, **bar))
    figure.add_hline(y=0, line={"color": LINE, "width": 1})
    ticks = [plain(one, 24) for one in names]
    figure.update_xaxes(title_text=x_title, tickvals=list(range(len(names))), ticktext=ticks, showgrid=False)
    figure.update_yaxes(title_text=y_title)
    return figure


def lines_chart(
    x: Sequence[float], lines: Mapping[str, Sequence[float]], x_title: str, y_title: str, *, bold: str = ""
) -> go.Figure:
    """Returns several lines over the same numbers, the bold one thicker; the colours also differ in lightness."""
    figure = house_figure(320)
    for k, (name, y) in enumerate(lines.items()):
        first = name == bold
        line = {"color": _COLOURS[k % 3], "width": 3 if first else 2, "dash": "solid" if first else _DASHES[k % 3]}
        figure.add_trace(go.Scatter(x=list(x), y=list(y), name=name, mode="lines", line=line))
    figure.update_xaxes(title_text=x_title)
    figure.update_yaxes(title_text=y_title)
    figure.update_layout(showlegend=True)
    return figure


def band_chart(
    x: Sequence[float], bands: Mapping[str, Sequence[tuple[float, float, float]]], lines: Mapping[str, Sequence[float]],
    x_title: str, y_title: str,
) -> go.Figure:  # fmt: skip
    """Returns lines over the same numbers, some of them within a band; a line at 0 shows where nothing is left.

    Args:
        x: Where the lines have their points, rising, (K,).
        bands: Name → the line and both ends of its interval at each point, (K, 3).
        lines: Name → a line without a band, (K,), dashed.
        x_title: Title of the x-axis.
        y_title: Title of the y-axis.
    """
    figure = house_figure(360)
    for k, (name, ends) in enumerate(bands.items()):
        colour = _COLOURS[k % 3]
        edge: dict[str, Any] = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
        known = [(at, *three) for at, three in zip(x, ends, strict=True) if not any(end != end for end in three)]
        figure.add_trace(go.Scatter(x=[one[0] for one in known], y=[one[2] for one in known], **edge))
        figure.add_trace(
            go.Scatter(
                x=[one[0] for one in known],
                y=[one[3] for one in known],
                fill="tonexty",
                fillcolor=faint(colour, 0.2),
                **edge,
            )
        )
        line = {"color": colour, "width": 3}
        figure.add_trace(go.Scatter(x=list(x), y=[three[0] for three in ends], name=name, mode="lines", line=line))
    for k, (name, y) in enumerate(lines.items()):
        line = {"color": _COLOURS[(k + len(bands)) % 3], "width": 2, "dash": "dash"}
        figure.add_trace(go.Scatter(x=list(x), y=list(y), name=name, mode="lines", line=line))
    figure.add_hline(y=0, line={"color": LINE, "width": 1}, layer="below")
    figure.update_xaxes(title_text=x_title)
    figure.update_yaxes(title_text=y_title)
    figure.update_layout(showlegend=True)
    return figure
