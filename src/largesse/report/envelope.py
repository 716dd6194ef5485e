"""The sealed envelope of a simulated campaign: what each way to spend the budget truly leaves, beside what was printed."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan, nan
from typing import Any, Literal

from largesse.report.blocks import Badge, Block, Cell, Chart, Column, Row, Table, Text, Tone, Where
from largesse.report.numbers import UNKNOWN, between, count, number, percent
from largesse.report.style import POLICY, REFERENCE, faint, plain

__all__ = ["Envelope", "EnvelopeRow", "Kind", "envelope_blocks", "envelope_sentence"]

Kind = Literal["policy", "untargeted", "trial", "log", "oracle"]
_NAMES = {
    "policy": "the policy", "untargeted": "best mix of arms", "trial": "plain LightGBM on the trial",
    "log": "the same LightGBM on the log alone", "oracle": "perfect knowledge",
}  # fmt: skip
_ADVICE: dict[str, str] = {"policy": "the targeted policy", "untargeted": "the best mix of arms, without targeting"}
_COLOURS = {"policy": POLICY, "untargeted": REFERENCE, "trial": "#56b4e9", "log": "#cc79a7", "oracle": "#7b828c"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeRow:
    """One way to spend the budget; net values in money per unit, against giving nobody anything.

    Attributes:
        kind: Which way.
        net: The true expected net value.
        estimate: The net value that the run printed before; NaN if it printed none.
        low: Lower end of its interval.
        high: Upper end.
        promise: The net value that a model predicts for its own allocation; NaN where that is not shown.
    """

    kind: Kind
    net: float
    estimate: float = nan
    low: float = nan
    high: float = nan
    promise: float = nan

    @property
    def name(self) -> str:
        """The name in tables and charts."""
        return _NAMES[self.kind]

    @property
    def covered(self) -> bool | None:
        """Whether the printed interval contains the truth; None where there is no interval."""
        return None if isnan(self.low) or isnan(self.high) else self.low <= self.net <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The truth about one budget.

    Attributes:
        budget: Spend per unit, the same in every row.
        units: Number of units that the truth is the mean of.
        advised: What the run led with: the policy, or the best untargeted one.
        rows: One of each kind.
    """

    budget: float
    units: int
    advised: Kind
    rows: tuple[EnvelopeRow, ...]

    def of(self, kind: Kind) -> EnvelopeRow:
        """Returns the row of a kind."""
        return next(row for row in self.rows if row.kind == kind)

    @property
    def share(self) -> float:
        """Share of the way from the best untargeted policy to perfect knowledge that the policy goes."""
        low, high = self.of("untargeted").net, self.of("oracle").net
        return (self.of("policy").net - low) / (high - low)


def envelope_sentence(shown: Envelope, unit: str) -> str:
    """Returns the result in one sentence.

    Args:
        shown: The truth.
        unit: E.g. ``"EUR per customer"``.
    """
    ours, mix, best = (shown.of(kind).net for kind in ("policy", "untargeted", "oracle"))
    return (
        f"largesse advised {_ADVICE[shown.advised]}. The truth at the same spend: the policy leaves "
        f"{_money(ours)} {unit}, the best mix of arms without targeting "
        f"{_money(mix)}, perfect knowledge {_money(best)}."
    )


def _money(x: float) -> str:
    return number(x, decimals=2, sign=True)


def envelope_blocks(shown: Envelope, *, money: str, head: str, level: float) -> list[Block]:
    """Returns the blocks of the section: the sentence, the chart, the table and how to read it.

    Args:
        shown: The truth.
        money: Unit of the cost, e.g. ``"EUR"``.
        head: What one unit is, e.g. ``"customer"``.
        level: Level of the printed intervals.
    """
    unit = f"{money} per {head}"
    intro = (
        "The customers of this campaign are simulated, so the exact expected result of every coupon for every one of them is "
        f"known. It was kept from the decision above and is opened only now, for {count(shown.units)} new {head}s. Every row "
        f"spends {number(shown.budget)} {unit}; the numbers are what is left after that cost, against giving nobody anything."
    )
    caption = (
        f"How to read it: a bar is the true net value, in {unit}. A dot with its line is what the report printed before, with "
        f"its {percent(level)} interval: the end of the bar should lie within the line."
    )
    return [
        Text(envelope_sentence(shown, unit), lead=""),
        Text(intro),
        Chart(name="envelope", label=f"True net value, {unit}", figure=lambda: envelope_chart(shown, unit), caption=caption,
              title="The sealed envelope", where=Where.PAGE),
        _table(shown, unit, head, level),
        Text(_coverage(shown, level), quiet=True),
    ]  # fmt: skip


def _table(shown: Envelope, unit: str, head: str, level: float) -> Table:
    columns = (
        Column("Who decides", words=True), Column(f"True net {unit}"), Column("Printed before"),
        Column(f"{percent(level)} interval", quiet=True), Column("Truth within it?", words=True), Column("In words", words=True),
    )  # fmt: skip
    rows = tuple(Row(_cells(row, shown, head), ours=row.kind == shown.advised) for row in shown.rows)
    return Table(columns=columns, rows=rows)


def _cells(row: EnvelopeRow, shown: Envelope, head: str) -> tuple[Cell, ...]:
    printed = UNKNOWN if isnan(row.estimate) else _money(row.estimate)
    within: Cell = UNKNOWN
    if row.covered is not None:
        within = Badge("yes", Tone.GOOD) if row.covered else Badge("no", Tone.BAD)
    ends = between(row.low, row.high, decimals=2, sign=True)
    return (row.name, _money(row.net), printed, ends, within, _words(row, shown, head))


def _words(row: EnvelopeRow, shown: Envelope, head: str) -> str:
    mix = shown.of("untargeted").net
    more = f"{number(abs(row.net - mix), decimals=2)} {'more' if row.net >= mix else 'less'} than without targeting"
    if row.kind == "policy":
        return f"The targeted policy of largesse, from the trial and the log: {more}."
    if row.kind == "untargeted":
        return f"The best that random coupons can do: the same mix for every {head}."
    if row.kind == "trial":
        return f"Predict, then optimise, without choice, calibration or proof: {more}."
    if row.kind == "log":
        return (
            f"Past campaigns favoured some {head}s, so its predictions are biased: it promises {_money(row.promise)} and leaves "
            f"{_money(row.net)}; {more}."
        )
    return (
        f"The most that any policy can leave: the exact expected result of every coupon is known. {more.capitalize()}."
    )


def _coverage(shown: Envelope, level: float) -> str:
    known = [row for row in shown.rows if row.covered is not None]
    within = sum(bool(row.covered) for row in known)
    return (
        f"{within} of the {len(known)} printed intervals contain the truth; they share their rows, so they tend to be right or "
        f"wrong together. Over many campaigns about {percent(level)} should be right. The policy goes {percent(shown.share)} of "
        "the way from the best mix of arms to perfect knowledge."
    )


def envelope_chart(shown: Envelope, unit: str) -> Any:
    """Returns horizontal bars of the true net values, with the printed estimates and intervals on them."""
    import plotly.graph_objects as go

    from largesse.report.figures import house_figure

    figure = house_figure(90 + 46 * len(shown.rows))
    names = [plain(row.name) for row in shown.rows]
    figure.add_trace(
        go.Bar(
            x=[row.net for row in shown.rows], y=names, orientation="h", name="truth", showlegend=False, width=0.6,
            marker={"color": [faint(_COLOURS[row.kind], 0.75) for row in shown.rows]}, hoverinfo="text",
            hovertext=[f"<b>{plain(row.name)}</b><br>truth: {_money(row.net)} {plain(unit)}" for row in shown.rows],
        )
    )  # fmt: skip
    known = [row for row in shown.rows if row.covered is not None]
    figure.add_trace(
        go.Scatter(
            x=[row.estimate for row in known], y=[plain(row.name) for row in known], mode="markers", name="printed before",
            error_x={"type": "data", "symmetric": False, "array": [row.high - row.estimate for row in known],
                     "arrayminus": [row.estimate - row.low for row in known], "color": "#3d4650", "thickness": 2, "width": 5},
            marker={"size": 9, "color": "#3d4650", "line": {"color": "white", "width": 1}}, showlegend=False, hoverinfo="text",
            hovertext=[f"<b>{plain(row.name)}</b><br>printed: {_money(row.estimate)} "
                       f"({between(row.low, row.high, decimals=2, sign=True)}) {plain(unit)}" for row in known],
        )
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="", ticklabelstandoff=6)
    figure.update_xaxes(
        title_text=f"true net value, {plain(unit)}", zeroline=True, zerolinecolor="rgba(128, 134, 144, 0.75)"
    )
    figure.update_layout(margin={"t": 10})
    return figure
