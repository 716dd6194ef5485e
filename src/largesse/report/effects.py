"""What the report of an experiment says, its sections, and its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Literal, NamedTuple

from largesse import _check
from largesse._files import atomic_bytes
from largesse.report import markdown, pictures
from largesse.report.charts import forest_chart
from largesse.report.content import Finding, Headline, Provenance
from largesse.report.forest_plot import EffectRow
from largesse.report.html import Safe, join, tag
from largesse.report.numbers import UNKNOWN, between, count, number, percent, percent_interval, places
from largesse.report.page import document
from largesse.report.parts import Section, badge, cautions_body, findings_body, made_body, plot, table, words

__all__ = ["EffectRow", "Effects", "InfluenceRow", "VerdictRow", "write_effects"]

Agreement = Literal["agree", "the bulk, not the mean", "too little data"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictRow:
    """Whether STATE may be read as the mean effect of one arm on one metric, in a word and in a sentence."""

    metric: str
    arm: str
    verdict: Agreement
    sentence: str


class InfluenceRow(NamedTuple):
    """A row that moves the adjusted mean most: what both estimates would change by if it were left out."""

    metric: str
    arm: str
    row: int
    value: float
    mlrate: float
    state: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """Everything the report of an experiment shows; a part that is empty leaves its section out.

    Attributes:
        headline: The first paragraph.
        level: Level of the intervals.
        findings: Is the experiment sound?
        effects: Every metric, arm and estimator, in the order to print them.
        verdicts: May STATE be read as the mean effect?
        tails: How heavy the tails of each metric are: its name and a sentence.
        influence: The rows that count most.
        provenance: How it was made.
        cautions: What to mind.
    """

    headline: Headline
    level: float = 0.95
    findings: tuple[Finding, ...] = ()
    effects: tuple[EffectRow, ...] = ()
    verdicts: tuple[VerdictRow, ...] = ()
    tails: tuple[tuple[str, str], ...] = ()
    influence: tuple[InfluenceRow, ...] = ()
    provenance: Provenance | None = None
    cautions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check.number("level", self.level, low=0.5, high=0.9999)


class WrittenEffects(NamedTuple):
    """The files of the report; None where there was nothing to draw."""

    html: Path
    summary: Path
    forest: Path | None


def write_effects(shown: Effects, folder: str | Path) -> WrittenEffects:
    """Writes report.html, summary.md and forest.png into a folder (made if it is missing), and returns their paths."""
    folder = Path(folder)
    forest = pictures.forest_png(shown.effects, shown.level) if shown.effects else None
    page = document(shown.headline, sections(shown))
    text = _markdown(shown, forest is not None)
    folder.mkdir(parents=True, exist_ok=True)
    html, summary = (
        atomic_bytes(folder / name, data.encode()) for name, data in (("report.html", page), ("summary.md", text))
    )
    return WrittenEffects(html, summary, None if forest is None else atomic_bytes(folder / "forest.png", forest))


def sections(shown: Effects) -> list[Section]:
    """Returns the sections that have something to say, in reading order."""
    parts = (
        ("data", "Is the experiment sound?", findings_body(shown.findings)),
        ("effects", "What each arm brings", _effects(shown)),
        ("guard", "Is STATE the mean effect?", _verdicts(shown)),
        ("tails", "How much hangs on a few rows", _tails(shown)),
        ("made", "How it was made", made_body(shown.provenance)),
        ("cautions", "What to mind", cautions_body(shown.cautions)),
    )
    return [part for part in parts if part[2]]


def _effects(shown: Effects) -> Safe:
    if not shown.effects:
        return Safe()
    caption = (
        f"How to read it: dots are estimates, bars their {percent(shown.level)} intervals; a bar that does not cross zero "
        "is an effect. All estimators see the same rows: the shorter bars are those that know more about the units."
    )
    chart = plot("forest", forest_chart(shown.effects, shown.level), "Effects with intervals", caption)
    head, rows = _effect_table(shown)
    body = [
        tag(
            "tr",
            tag("th", cells[0], scope="row", class_="text"),
            words(cells[1]),
            *(tag("td", cell) for cell in cells[2:]),
            class_="ours" if effect.reading else None,
        )
        for effect, cells in zip(shown.effects, rows, strict=True)
    ]
    note = tag("p", _NOTE, class_="note")
    return join([chart, table(head, body, text=(0, 1)), note])


_NOTE = (
    "Error: standard error as a share of that of the difference in means; a half means that a quarter of the rows would do. "
    "Where there are several arms or metrics, p is raised for their number (Holm)."
)


def _effect_table(shown: Effects) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    level = f"{percent(shown.level)} interval"
    head = ("Metric and arm", "Estimator", "Effect", level, "Lift", "p", "Error")
    digits = {m: places((e.high - e.low) / 2 for e in shown.effects if e.metric == m) for m in _metrics(shown)}
    rows: list[tuple[str, ...]] = []
    for e in shown.effects:
        shown_places = digits[e.metric] if e.method != "STATE" else None
        rows.append(
            (
                e.group, e.method, number(e.effect, decimals=shown_places, sign=True),
                between(e.low, e.high, decimals=shown_places, sign=True),
                UNKNOWN if isnan(e.lift) else percent_interval(e.lift, e.lift_low, e.lift_high, sign=True),
                UNKNOWN if isnan(e.p_value) else f"{e.p_value:.2g}", UNKNOWN if isnan(e.error) else percent(e.error),
            )
        )  # fmt: skip
    return head, rows


def _metrics(shown: Effects) -> list[str]:
    return list(dict.fromkeys(e.metric for e in shown.effects))


def _verdicts(shown: Effects) -> Safe:
    if not shown.verdicts:
        return Safe()
    rows = [
        tag(
            "tr",
            tag("th", f"{v.metric}: {v.arm}", scope="row", class_="text"),
            words(badge(v.verdict)),
            words(v.sentence),
        )
        for v in shown.verdicts
    ]
    return join([tag("p", _GUARD), table(("Metric and arm", "Verdict", "What it says"), rows, text=(0, 1, 2))])


_GUARD = (
    "STATE says how far the bulk of the units has moved. That is the mean effect where all units gain alike, and is not where "
    "few units react. A paired test of STATE against the regression-adjusted mean tells them apart."
)


def _tails(shown: Effects) -> Safe:
    if not shown.tails:
        return Safe()
    said = [tag("p", tag("b", f"{name}: "), sentence) for name, sentence in shown.tails]
    if not shown.influence:
        return join(said)
    head, rows = _influence_table(shown.influence)
    body = [
        tag("tr", tag("th", cells[0], scope="row", class_="text"), *(tag("td", c) for c in cells[1:])) for cells in rows
    ]
    return join([*said, tag("h3", "The rows that move the mean most"), table(head, body)])


def _influence_table(influence: Sequence[InfluenceRow]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    head = ("Metric and arm", "Row", "Value", "Without it, MLRATE changes by", "STATE by")
    rows: list[tuple[str, ...]] = [
        (f"{i.metric}: {i.arm}", count(i.row), number(i.value), number(i.mlrate, sign=True), number(i.state, sign=True))
        for i in influence
    ]
    return head, rows


def _markdown(shown: Effects, drawn: bool) -> str:
    head, rows = _effect_table(shown)
    verdicts = [(f"{v.metric}: {v.arm}", v.verdict, v.sentence) for v in shown.verdicts]
    parts = [
        markdown.findings(shown.findings),
        markdown.table("What each arm brings", head, rows, (0, 1)),
        markdown.picture("Effects with intervals", "forest.png") if drawn else "",
        markdown.table("Is STATE the mean effect?", ("Metric and arm", "Verdict", "What it says"), verdicts, (0, 1, 2)),
        "\n".join(f"- {markdown.text(name)}: {markdown.text(sentence)}" for name, sentence in shown.tails),
        markdown.made(shown.provenance),
        markdown.cautions(shown.cautions),
    ]
    return markdown.together(shown.headline, parts)
