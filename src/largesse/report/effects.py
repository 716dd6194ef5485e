"""The report of an experiment: its content, its sections and its files."""

from __future__ import annotations

from dataclasses import dataclass
from math import isinf, isnan
from pathlib import Path
from typing import Any, NamedTuple

from largesse import _check
from largesse._arguments import checked
from largesse._files import PathLike
from largesse.checks.finding import Finding
from largesse.experiment.estimators.guard import Agreement
from largesse.experiment.returns import ArmReturn
from largesse.report.blocks import Badge, Block, Chart, Column, Row, Section, Table, Text, Tone
from largesse.report.content import Headline
from largesse.report.files import write_report
from largesse.report.forest_plot import EffectRow, forest
from largesse.report.numbers import UNKNOWN, between, count, number, p_value, percent, percent_interval, places
from largesse.report.provenance import Provenance
from largesse.report.sections import closing, kept, soundness_blocks

__all__ = [
    "EffectRow",
    "Effects",
    "InfluenceRow",
    "VerdictRow",
    "cautions",
    "effect_table",
    "return_table",
    "roi_words",
    "sections",
    "write_effects",
]

_AGREEMENT = {
    Agreement.AGREE: Badge("agree", Tone.GOOD),
    Agreement.BULK: Badge("typical unit, not the mean", Tone.MIND),
    Agreement.SPIKE: Badge("not for this metric", Tone.NONE),
    Agreement.NOT_SHOWN: Badge("not shown", Tone.NONE),
}


class VerdictRow(NamedTuple):
    """Whether STATE may be read as the mean effect of one arm on one metric."""

    metric: str
    arm: str
    verdict: Agreement
    sentence: str


class InfluenceRow(NamedTuple):
    """An influential row: the change of both estimates if it were left out."""

    metric: str
    arm: str
    row: int
    value: float
    mlrate: float
    state: float


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """The content of the report of an experiment; an empty part leaves its section out.

    Attributes:
        headline: The first paragraph.
        level: Level of the intervals.
        findings: The checks of the data.
        effects: Every metric, arm and estimator, in the order to print them.
        verdicts: Whether STATE may be read as the mean effect, for each arm and metric.
        tails: Name of each metric, and a sentence about its tails.
        influence: The most influential rows.
        returns: Net effect and return of each arm.
        provenance: How the results were made.
        cautions: Limitations.
    """

    headline: Headline
    level: float = 0.95
    findings: tuple[Finding, ...] = ()
    effects: tuple[EffectRow, ...] = ()
    verdicts: tuple[VerdictRow, ...] = ()
    tails: tuple[tuple[str, str], ...] = ()
    influence: tuple[InfluenceRow, ...] = ()
    returns: tuple[ArmReturn, ...] = ()
    provenance: Provenance | None = None
    cautions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check.number("level", self.level, low=0.5, high=0.9999)


@checked
def write_effects(shown: Effects, folder: PathLike) -> dict[str, Path]:
    """Writes report.html, summary.md, sections.json and forest.png into a folder, which is made if it is missing.

    Returns:
        File name → path of every file that was written.

    Raises:
        StoreError: A file cannot be written.
    """
    from largesse.report import pictures

    drawn = forest(shown.effects).rows if shown.effects else ()
    picture = pictures.forest_png(shown.effects, shown.level) if drawn else None
    return write_report(shown.headline, sections(shown), {"forest.png": picture}, folder)


def sections(shown: Effects) -> list[Section]:
    """Returns the sections of an experiment's report that have content, in reading order."""
    return kept(
        (
            Section("data", "Is the experiment sound?", soundness_blocks(shown.findings)),
            Section("effects", "What each arm brings", _effects(shown)),
            Section("returns", "What is left after the cost", _returns(shown)),
            Section("guard", "Does STATE measure the mean effect?", _verdicts(shown)),
            Section("tails", "How much depends on a few rows", _tails(shown)),
            *closing(shown.provenance, shown.cautions),
        )
    )


_NOTE = (
    "Relative standard error: as a share of that of the difference in means; at 50 %, a quarter of the rows would be enough. "
    "With several arms or metrics, p is adjusted for their number (Holm); the intervals are not, each holds by itself. "
    "Events: the number of equally large contributions that would carry as much as those of the arm with fewer; a cluster "
    "counts once."
)


def _effects(shown: Effects) -> list[Block]:
    if not shown.effects:
        return []
    caption = (
        f"How to read it: dots are estimates, bars their {percent(shown.level)} intervals; a bar that does not cross zero shows "
        "an effect. All estimators use the same rows; features that predict the metric make the bars shorter."
    )
    table, drawn = effect_table(shown.effects, shown.level), forest(shown.effects).rows
    note = _NOTE
    if len(drawn) < len(shown.effects):
        note += " An effect without a lift is not in the picture: control's level may be 0."

    def figure() -> Any:
        from largesse.report.charts import forest_chart

        return forest_chart(shown.effects, shown.level)

    chart = Chart(
        name="forest", label="Effects with intervals", figure=figure, caption=caption, title="Effects with intervals",
        picture="forest.png",
    )  # fmt: skip
    warnings = [Text(f"{text}.") for text in cautions(shown.effects)]
    return [*([chart] if drawn else []), table, *warnings, Text(note, quiet=True)]


def cautions(effects: tuple[EffectRow, ...]) -> list[str]:
    """Returns the warnings of the intervals, the estimators with the same one together."""
    by_text: dict[tuple[str, str], list[str]] = {}
    for e in effects:
        if e.caution:
            by_text.setdefault((e.group, e.caution), []).append(e.method)
    return [f"{group}: {_intervals(methods)} {text}" for (group, text), methods in by_text.items()]


def _intervals(methods: list[str]) -> str:
    *first, last = methods
    return f"each interval by {', '.join(first)} and {last}" if first else f"the interval by {last}"


def _events(effect: EffectRow) -> str | Badge:
    """Returns the number of events to two digits, marked where it is small."""
    if isnan(effect.events):
        return UNKNOWN
    size = f"{effect.events:.0f}" if effect.events < 100 else count(float(f"{effect.events:.2g}"))
    return Badge(size, Tone.MIND) if effect.caution else size


def effect_table(effects: tuple[EffectRow, ...], level: float) -> Table:
    """Returns every effect: metric and arm, estimator, effect, interval, events behind it, lift, p, relative standard error."""
    ends = f"{percent(level)} interval"
    names = dict.fromkeys(e.metric for e in effects)
    digits = {m: places((e.high - e.low) / 2 for e in effects if e.metric == m) for m in names}
    rows = []
    for e in effects:
        shown = digits[e.metric] if e.method != "STATE" else None
        cells = (
            e.group, e.method, number(e.effect, decimals=shown, sign=True), between(e.low, e.high, decimals=shown, sign=True),
            _events(e),
            UNKNOWN if isnan(e.lift) else percent_interval(e.lift, e.lift_low, e.lift_high, sign=True),
            p_value(e.p_value),
            UNKNOWN if isnan(e.relative_error) else percent(e.relative_error),
        )  # fmt: skip
        rows.append(Row(cells, ours=e.reading))
    return Table(
        columns=(Column("Metric and arm", words=True), Column("Estimator", words=True),
                 *map(Column, ("Effect", ends, "Events", "Lift", "p", "Relative standard error"))),
        rows=tuple(rows),
    )  # fmt: skip


_RETURNS = (
    "Net: value in money less cost, row by row, so that its interval counts how the two vary together. Return: extra value per "
    "unit of extra cost; its interval (Fieller) has no ends where the extra cost may be 0. A cost that is the same in every row "
    "of an arm is a number without an interval."
)


def _returns(shown: Effects) -> list[Block]:
    return [return_table(shown.returns, shown.level), Text(_RETURNS, quiet=True)] if shown.returns else []


def return_table(returns: tuple[ArmReturn, ...], level: float) -> Table:
    """Returns the net effect of every arm per unit, what it consists of, and what comes back for each unit spent."""
    ends = f"{percent(level)} interval"
    digits = places((one.high - one.low) / 2 for one in returns)
    rows = tuple(
        Row((one.arm, number(one.net, decimals=digits, sign=True), between(one.low, one.high, decimals=digits, sign=True),
             number(one.value, decimals=digits, sign=True), number(one.cost, decimals=digits, sign=True),
             UNKNOWN if isnan(one.roi) else number(one.roi),
             UNKNOWN if isnan(one.roi) or isinf(one.roi_low) else between(one.roi_low, one.roi_high)))
        for one in returns
    )  # fmt: skip
    names = ("Net effect", ends, "Extra value", "Extra cost", "Return", ends)
    return Table(columns=(Column("Arm", words=True), *map(Column, names)), rows=rows)


def roi_words(one: ArmReturn) -> str:
    """Returns what comes back for each unit of the extra cost, in words."""
    if isnan(one.roi):
        return "it does not cost more than control, so there is no return on the cost"
    if isinf(one.roi_low) or isinf(one.roi_high):
        return f"{number(one.roi)} comes back for each 1 spent, without an interval, since the extra cost may be 0"
    return f"{number(one.roi)} comes back for each 1 spent ({between(one.roi_low, one.roi_high)})"


_GUARD = (
    "STATE measures the effect on the typical unit. That equals the mean effect where all units gain alike, and differs from it "
    "where few units react. It is read as the mean effect only where any difference that the rows leave possible is small beside "
    "its own interval, and never for a metric with a spike; elsewhere the mean stands in bold."
)


def _verdicts(shown: Effects) -> list[Block]:
    if not shown.verdicts:
        return []
    table = Table(
        columns=tuple(Column(name, words=True) for name in ("Metric and arm", "Verdict", "Explanation")),
        rows=tuple(Row((f"{v.metric}: {v.arm}", _AGREEMENT[v.verdict], v.sentence)) for v in shown.verdicts),
    )
    return [Text(_GUARD), table]


def _tails(shown: Effects) -> list[Block]:
    sentences = [Text(sentence, lead=f"{name}: ") for name, sentence in shown.tails]
    if not (sentences and shown.influence):
        return [*sentences]
    head = ("Metric and arm", "Row", "Value", "Without it, MLRATE changes by", "STATE by")
    rows = [
        Row(
            (
                f"{i.metric}: {i.arm}",
                count(i.row),
                number(i.value),
                number(i.mlrate, sign=True),
                number(i.state, sign=True),
            )
        )
        for i in shown.influence
    ]
    columns = tuple(Column(name, words=k == 0) for k, name in enumerate(head))
    return [*sentences, Table(columns=columns, rows=tuple(rows), title="The most influential rows")]
