"""The charts as PNG pictures by Matplotlib: twice the usual resolution, readable when 800 pixels wide."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from io import BytesIO
from math import isnan

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter

from largesse.report.content import ArmPoint, BudgetRow, CurveLine, MixTable, Results
from largesse.report.forest_plot import EffectRow, forest
from largesse.report.numbers import percent
from largesse.report.style import ARM, dark, dot_rows, near_right, policy_colours, shorten, treatment_colours

__all__ = ["budgets_png", "cost_curve_png", "forest_png", "mix_png"]

_INK, _QUIET, _RULE = "#1c2128", "#5b6470", "#e3e7eb"
_DPI = 200  # 8 inches: 1600 pixels
_MARKERS = {"policy": "o", "baseline": "D", "candidate": "s"}


def _text(text: str, most: int = 42) -> str:
    """Returns a text for Matplotlib: shortened, dollars escaped, and without the leading underscore that hides a label."""
    line = shorten(text, most).replace("$", r"\$")
    return " " + line if line.startswith("_") else line


def _png(draw: Callable[[Figure], None], height: float) -> bytes:
    figure = Figure(figsize=(8, height), dpi=_DPI, facecolor="white", layout="constrained")
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)  # shows a box
        draw(figure)
        out = BytesIO()
        canvas.print_png(out)  # type: ignore[no-untyped-call]  # print_figure would draw it twice
    return out.getvalue()


def _plain_axes(axes: Axes, *, grid: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#b5bcc5")
    axes.tick_params(colors=_QUIET, labelsize=10, length=3)
    axes.grid(axis=grid, color=_RULE, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(_INK)
        label.set_fontsize(11)


def cost_curve_png(results: Results) -> bytes:
    """Returns the cost curve as a PNG."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        colours = policy_colours(results)
        for line in results.curves:
            _curve(axes, line, colours[line.name], results.level)
        for point, right in zip(results.arms, near_right(results), strict=True):
            _arm(axes, point, right)
        for budget, label in {row.budget: row.budget_label for row in results.budgets}.items():
            axes.axvline(budget, color="#a3abb5", linewidth=1, linestyle=":", zorder=0)
            place = {"xytext": (-2, 5), "textcoords": "offset points", "xycoords": axes.get_xaxis_transform()}
            look = {"rotation": 90, "ha": "right", "va": "bottom", "fontsize": 8.5, "color": _QUIET}
            axes.annotate(_text(label, 24), (budget, 0), **place, **look)  # type: ignore[arg-type]
        axes.set(xlabel=_text(results.spend_axis, 80), ylabel=_text(results.value_label, 80))
        axes.margins(x=0.03, y=0.07)
        if results.budgets:  # room for their names
            low, high = axes.get_ylim()
            axes.set_ylim(low - 0.09 * (high - low), high)
        _plain_axes(axes, grid="both")
        if axes.get_legend_handles_labels()[0]:
            figure.legend(loc="outside upper left", ncols=3, fontsize=10, frameon=False, labelcolor=_INK)

    return _png(draw, 4.7)


def _curve(axes: Axes, line: CurveLine, colour: str, level: float) -> None:
    width, style, order = {"policy": (2.6, "-", 4), "baseline": (1.8, "--", 3), "candidate": (1.1, "-", 2)}[line.role]
    axes.plot(
        line.cost, line.value, color=colour, linewidth=width, linestyle=style, label=_text(line.name), zorder=order
    )
    if line.low and line.role == "policy":
        label = f"{percent(level)} interval"
        axes.fill_between(line.cost, line.low, line.high, color=colour, alpha=0.17, linewidth=0, label=label, zorder=1)


def _arm(axes: Axes, point: ArmPoint, right: bool) -> None:
    bars = None
    if not (isnan(point.low) or isnan(point.high)):  # rounding may put an end on the wrong side of the estimate
        bars = [[max(0.0, point.value - point.low)], [max(0.0, point.high - point.value)]]
    axes.errorbar(
        point.cost,
        point.value,
        yerr=bars,
        fmt="x" if point.control else "D",
        color=ARM,
        markersize=6,
        elinewidth=1.2,
        capsize=3,
        zorder=5,
    )
    axes.annotate(
        _text(point.name, 28),
        (point.cost, point.value if isnan(point.low) else point.low),
        xytext=(4 if right else -4, -4),
        textcoords="offset points",
        va="top",
        ha="right" if right else "left",
        path_effects=[withStroke(linewidth=3, foreground="white")],
        fontsize=9.5,
        color=_QUIET,
        zorder=6,
    )


def budgets_png(results: Results) -> bytes:
    """Returns the value at budgets and the differences from the reference as a PNG."""
    heights, ticks = dot_rows((row.budget_label, row.policy) for row in results.budgets)
    names = list(dict.fromkeys(row.policy for row in results.budgets))

    def draw(figure: Figure) -> None:
        colours = policy_colours(results)
        paired = any(row.difference is not None for row in results.budgets)
        panels = figure.subplots(1, 1 + paired, sharey=True, squeeze=False)[0]
        for row, height in zip(results.budgets, heights, strict=True):
            _dot(panels[0], (row.value, row.low, row.high), height, row, colours[row.policy])
            if row.difference is not None:
                ends = (row.difference, row.difference_low, row.difference_high)
                _dot(panels[1], ends, height, row, colours[row.policy])
        for axes, title in zip(panels, (results.value_label, f"difference from {results.reference}"), strict=False):
            axes.set_title(_text(title, 60), fontsize=11, color=_INK)
            axes.set_yticks(list(ticks.values()), [_text(label, 26) for label in ticks])
            axes.set_ylim(0.5 - len(ticks), 0.5)
            axes.locator_params(axis="x", nbins=5)
            _plain_axes(axes, grid="x")
            axes.tick_params(axis="y", length=0)
        if paired:
            panels[1].axvline(0, color="#8d95a0", linewidth=1.2, zorder=1)
        roles = {row.policy: row.role for row in results.budgets}
        handles = [
            Line2D([], [], color=colours[name], marker=_MARKERS[roles[name]], label=_text(name)) for name in names
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=3, fontsize=10, frameon=False, labelcolor=_INK)

    return _png(draw, 1.5 + len(ticks) * max(0.5, 0.21 * len(names) + 0.1))


def _dot(axes: Axes, ends: tuple[float, float, float], height: float, row: BudgetRow, colour: str) -> None:
    x, low, high = ends
    if isnan(x):
        return
    if not (isnan(low) or isnan(high)):
        axes.plot([low, high], [height, height], color=colour, linewidth=2, solid_capstyle="butt", zorder=2)
    axes.plot([x], [height], color=colour, marker=_MARKERS[row.role], markersize=7, linestyle="none", zorder=3)


def mix_png(table: MixTable) -> bytes:
    """Returns who gets what by group as a PNG."""
    colours = treatment_colours(len(table.treatments))

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        groups = range(len(table.labels))
        left = [0.0] * len(table.labels)
        for j, (name, colour) in enumerate(zip(table.treatments, colours, strict=True)):
            shares = [row[j] for row in table.shares]
            axes.barh(groups, shares, left=left, height=0.72, color=colour, edgecolor="white", label=_text(name, 28))
            for k, share in enumerate(shares):
                if share >= 0.06:
                    ink = "white" if dark(colour) else _INK
                    words = percent(share, decimals=0)
                    axes.text(left[k] + share / 2, k, words, ha="center", va="center", fontsize=9.5, color=ink)
            left = [start + share for start, share in zip(left, shares, strict=True)]
        axes.set_yticks(list(groups), [_text(label, 30) for label in table.labels])
        axes.set(xlim=(0, 1))
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        _plain_axes(axes, grid="x")
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.tick_params(length=0)
        figure.legend(loc="outside upper left", ncols=5, fontsize=10, frameon=False, labelcolor=_INK)

    return _png(draw, 1.1 + 0.42 * len(table.labels) + 0.25 * (len(table.treatments) > 5))


def forest_png(effects: Sequence[EffectRow], level: float) -> bytes:
    """Returns effects with intervals, by metric, arm and estimator, as a PNG."""
    plot = forest(effects)
    heights, ticks = dot_rows((row.group, row.method) for row in plot.rows)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axvline(0, color="#8d95a0", linewidth=1.2, zorder=1)
        for row, (x, low, high), height in zip(plot.rows, plot.ends, heights, strict=True):
            colour, mark = plot.colours[row.method], "o" if row.method == "STATE" else "D"
            axes.plot([low, high], [height, height], color=colour, linewidth=2, solid_capstyle="butt", zorder=2)
            axes.plot([x], [height], color=colour, marker=mark, markersize=6, linestyle="none", zorder=3)
        axes.set_yticks(list(ticks.values()), [_text(label, 30) for label in ticks])
        axes.set_ylim(0.5 - len(ticks), 0.5)
        axes.set(xlabel=_text(f"{plot.label}, {percent(level)} intervals", 80))
        if plot.relative:
            axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        _plain_axes(axes, grid="x")
        axes.tick_params(axis="y", length=0)
        handles = [
            Line2D([], [], color=colour, marker="o" if name == "STATE" else "D", label=name)
            for name, colour in plot.colours.items()
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=5, fontsize=10, frameon=False, labelcolor=_INK)

    return _png(draw, 1.2 + len(ticks) * max(0.6, 0.24 * len(plot.colours) + 0.1))
