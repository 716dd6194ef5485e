"""The interactive charts: every mark stands where its number is, and every axis says what it shows."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import resources
from itertools import pairwise
from math import nan

import numpy as np
import plotly.graph_objects as go
import pytest

from largesse.report import EffectRow, charts
from largesse.report.style import dot_rows, treatment_colours
from tests.common.results import TREATMENTS, clusters, mix, results


def titles(figure: go.Figure) -> list[str]:
    """The titles of the panels: the texts that stand above the axes."""
    return [a.text for a in figure.layout.annotations if a.yref == "paper" and a.y == 1]


def panels(figure: go.Figure) -> int:
    return sum(name.startswith("xaxis") for name in figure.to_dict()["layout"])


def named(figure: go.Figure, name: str, axis: str = "x") -> go.Scatter:
    (trace,) = [t for t in figure.data if t.name == name and (t.xaxis or "x") == axis]
    return trace


def test_same_policy_same_colour() -> None:
    figures = (charts.cost_chart(results()), charts.budget_chart(results()))
    curve = {trace.name: trace.line.color for trace in figures[0].data if trace.mode == "lines" and trace.line.color}
    dots = {trace.name: trace.marker.color for trace in figures[1].data}
    assert all(curve[name] == colour for name, colour in dots.items())
    assert len(set(curve.values())) == len(curve)


def test_dots_do_not_cross_groups() -> None:
    pairs = [(group, name) for group in "ab" for name in "pqrstuvwxyz"]
    heights, ticks = dot_rows(pairs)
    assert len(set(heights)) == len(pairs)
    assert all(abs(height - ticks[group]) < 0.5 for height, (group, _) in zip(heights, pairs, strict=True))


@pytest.mark.parametrize("n", [2, 3, 5, 12])
def test_treatments_have_different_colours(n: int) -> None:
    assert len(set(treatment_colours(n))) == n


def test_value_at_budgets_and_the_difference_stand_side_by_side() -> None:
    shown = results()
    figure = charts.budget_chart(shown)
    assert titles(figure) == ["results collected per person", f"difference from {shown.reference}"]
    rows = [row for row in shown.budgets if row.policy == "network"]
    left, right = named(figure, "network"), named(figure, "network", "x2")
    np.testing.assert_allclose(left.x, [row.value for row in rows])
    np.testing.assert_allclose(right.x, [row.difference for row in rows])
    np.testing.assert_allclose(right.error_x.array, [row.difference_high - row.difference for row in rows])
    np.testing.assert_allclose(right.error_x.arrayminus, [row.difference - row.difference_low for row in rows])
    assert list(left.y) == list(right.y)
    assert not any(t.name == "best mix of arms" and t.xaxis == "x2" for t in figure.data)
    assert [line.x0 for line in figure.layout.shapes if line.xref == "x2" and line.x0 == line.x1] == [0]


def test_groups_are_divided_by_lines() -> None:
    shown = results()
    groups = len({row.budget_label for row in shown.budgets})
    for figure, panels_of_it in ((charts.budget_chart(shown), 2), (charts.spend_chart(shown), 1)):
        lines = [shape.y0 for shape in figure.layout.shapes if shape.y0 == shape.y1]
        assert len(lines) == (groups - 1) * panels_of_it
        ticks = sorted(figure.layout.yaxis.tickvals)
        between = [(low + high) / 2 for low, high in pairwise(ticks)]
        np.testing.assert_allclose(sorted(set(lines)), between)


def test_without_a_reference_values_stand_alone() -> None:
    shown = results()
    rows = tuple(replace(row, difference=None, difference_low=nan, difference_high=nan) for row in shown.budgets)
    figure = charts.budget_chart(replace(shown, budgets=rows))
    assert titles(figure) == ["results collected per person"]
    assert panels(figure) == 1
    assert len(figure.data) == 3


def test_value_against_spend() -> None:
    shown = results()
    figure = charts.cost_chart(shown)
    policy = next(t for t in figure.data if t.name == "boosted trees")
    np.testing.assert_allclose(policy.y, shown.curves[0].value)
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == (
        "USD per person spent",
        "results collected per person",
    )
    band = next(t for t in figure.data if t.name == "95 % interval")
    np.testing.assert_allclose(band.y, shown.curves[0].high)
    assert sum(t.mode == "markers" for t in figure.data) == len(shown.arms)
    for point in shown.arms:
        (arm,) = [t for t in figure.data if t.name == point.name and t.mode == "markers"]
        assert (arm.x[0], arm.y[0]) == (point.cost, point.value)
        assert arm.error_y.array[0] == pytest.approx(point.high - point.value)
        assert arm.error_y.arrayminus[0] == pytest.approx(point.value - point.low)
        assert arm.marker.symbol == ("x-thin" if point.control else "diamond")
    lines = sorted(line.x0 for line in figure.layout.shapes)
    np.testing.assert_allclose(lines, sorted({row.budget for row in shown.budgets}))


def test_where_an_interval_is_not_known_none_is_drawn() -> None:
    shown = results()
    line, points = shown.curves[0], tuple(replace(point, low=nan, high=nan) for point in shown.arms)
    low = (nan, *line.low[1:])
    figure = charts.cost_chart(replace(shown, curves=(replace(line, low=low),), arms=points))
    band = next(t for t in figure.data if t.name == "95 % interval")
    assert list(band.x) == list(line.cost[1:])
    arms = [t for t in figure.data if t.mode == "markers"]
    assert len(arms) == len(points)
    assert all(t.error_y.array is None for t in arms)
    rows = tuple(replace(row, low=nan, high=nan) for row in shown.budgets)
    dots = charts.budget_chart(replace(shown, budgets=rows))
    assert list(named(dots, "network").error_x.array) == [0.0, 0.0, 0.0]


def test_bars_of_who_gets_what_are_the_shares() -> None:
    table = mix()
    figure = charts.mix_chart(table)
    shares = np.array([bar.x for bar in figure.data]).T
    np.testing.assert_allclose(shares, np.array(table.shares))
    assert [bar.name for bar in figure.data] == list(TREATMENTS)
    assert list(figure.layout.yaxis.ticktext) == list(table.labels)
    for bar in figure.data:
        assert [bool(text) for text in bar.text] == [share >= 0.07 for share in bar.x]


def test_spend_is_a_share_of_its_budget() -> None:
    shown = results()
    figure = charts.spend_chart(shown)
    realised = named(figure, "realised on held-out rows")
    np.testing.assert_allclose(realised.x, [row.realised / row.budget for row in shown.spend])
    np.testing.assert_allclose(realised.error_x.array, [(row.high - row.realised) / row.budget for row in shown.spend])
    by_model = named(figure, "planned by the model")
    np.testing.assert_allclose(by_model.x, [row.planned_by_model / row.budget for row in shown.spend])
    by_curve = named(figure, "planned by the spend curve")
    np.testing.assert_allclose(by_curve.x, [row.planned_by_curve / row.budget for row in shown.spend])
    nothing = replace(shown.spend[0], budget=0.0, budget_label="nothing")
    figure = charts.spend_chart(replace(shown, spend=(nothing, *shown.spend)))
    assert len(named(figure, "planned by the model").x) == len(shown.spend)


def test_clusters_share_an_axis() -> None:
    all_of_them = clusters()
    figures = [charts.cluster_chart(all_of_them, card) for card in all_of_them.cards]
    assert len({tuple(figure.layout.xaxis.range) for figure in figures}) == 1
    for figure, card in zip(figures, all_of_them.cards, strict=True):
        low, high = figure.layout.xaxis.range
        assert low < min(v[1] for v in card.value)
        assert high > max(v[2] for v in card.value)
        assert [t.x[0] for t in figure.data] == [v[0] for v in card.value]
        assert list(figure.layout.yaxis.ticktext) == list(TREATMENTS)


def test_effects_by_metric_and_arm() -> None:
    rows = [
        EffectRow(metric="orders", arm="A", method=method, effect=effect, low=effect - 0.5, high=effect + 0.25)
        for method, effect in (("difference in means", 1.0), ("STATE", 2.0))
    ]
    figure = charts.forest_chart(rows, 0.9)
    state = named(figure, "STATE")
    assert (state.x[0], state.error_x.array[0], state.error_x.arrayminus[0]) == (2.0, 0.25, 0.5)
    assert state.marker.symbol == "circle"
    assert named(figure, "difference in means").marker.symbol == "diamond"
    assert "90 % intervals" in figure.layout.xaxis.title.text


def every_figure() -> dict[str, go.Figure]:
    shown, groups = results(), clusters()
    effects = [EffectRow(metric="orders", arm="A", method="STATE", effect=1.0, low=0.5, high=3.0)]
    return {
        "cost": charts.cost_chart(shown),
        "budget": charts.budget_chart(shown),
        "mix": charts.mix_chart(mix()),
        "spend": charts.spend_chart(shown),
        "cluster": charts.cluster_chart(groups, groups.cards[0]),
        "forest": charts.forest_chart(effects, 0.95),
    }


@pytest.mark.parametrize("name", ["cost", "budget", "mix", "spend", "cluster", "forest"])
def test_how_every_chart_is_drawn(name: str) -> None:
    figure = every_figure()[name]
    for trace in figure.data:
        for bars in (getattr(trace, "error_x", None), getattr(trace, "error_y", None)):
            assert bars is None or bars.array is None or bars.symmetric is False  # ends have lengths of their own
    assert not any(note.showarrow for note in figure.layout.annotations)
    assert figure.layout.xaxis.automargin is figure.layout.yaxis.automargin is True  # no label is cut off
    assert not figure.layout.xaxis.zeroline
    for axis in (figure.layout.xaxis, figure.layout.yaxis):
        assert (axis.exponentformat, axis.separatethousands) == ("none", True)  # 3,500,000, not 3.5M
    assert figure.layout.dragmode == ("zoom" if name == "cost" else False)  # a page scrolls over its charts
    assert (figure.layout.showlegend is False) == (name == "cluster")


def test_every_trace_is_of_a_type_that_the_bundle_draws() -> None:
    folder = resources.files("largesse.report").joinpath("vendor")
    (listed,) = re.findall(r"Trace types: (.*?)\.", folder.joinpath("plotly-basic.txt").read_text("utf-8"))
    kinds = set(listed.split(", "))
    script = folder.joinpath("plotly-basic.min.js").read_text("utf-8")
    assert set(re.findall(r'moduleType:"trace",name:"(\w+)"', script)) == kinds
    assert {trace.type for figure in every_figure().values() for trace in figure.data} <= kinds


def test_shares_have_an_axis_from_nothing_to_all() -> None:
    axis = charts.mix_chart(mix()).layout.xaxis
    assert list(axis.tickvals) == [0, 0.25, 0.5, 0.75, 1]
    assert list(axis.ticktext) == ["0 %", "25 %", "50 %", "75 %", "100 %"]
    assert axis.range[0] == 0
    assert 1 <= axis.range[1] < 1.01
