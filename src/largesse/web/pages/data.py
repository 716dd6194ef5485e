"""The page Data: what a run was learned from, and whether the units to be decided are like that."""

from __future__ import annotations

from typing import Any

from largesse.checks.finding import Finding, Grade
from largesse.commands.findings.understood import Understood
from largesse.commands.studio.data import Beside, shares_of, understood_of
from largesse.config import Config
from largesse.report.blocks import Badge, Chart, Column, Facts, Row, Table, Text, Tone
from largesse.report.numbers import UNKNOWN, count, number, percent
from largesse.report.table import finding_table
from largesse.serving.watch.features import Spread
from largesse.web.opened import Opened, Studio
from largesse.web.pages.money import run_of
from largesse.web.query import Query
from largesse.web.view import Drawn, Field, Heading, Reading, Shown, View
from largesse.web.words import words

__all__ = ["PATH", "view"]

PATH = "/data"
_SHOWN = 3  # labels that are named in a cell
_NEXT = (
    "Find out what changed in {column} (a broken feed, a new meaning, other units). Where the units are right, the run predicts "
    "for units unlike those it was learned from: prove it on a trial of such units before you spend much on them."
)


def view(studio: Studio, query: Query) -> View:
    """Returns the page.

    Raises:
        DataError: There is no such run or feature.
        StoreError: A file of the run is damaged.
    """
    run = run_of(studio, query)
    about = understood_of(run.metrics, run.folder / "metrics.json")
    findings = [Finding(**one) for one in run.metrics.get("findings", [])]
    beside = run.drift or tuple(Beside(one, None, None) for one in run.spreads)
    names = tuple(one.spread.name for one in beside)
    column = query.choice("column", names, names[0] if names else "")
    return View(
        headline=_headline(run, about, beside), badge=_badge(run, findings), summary=_summary(run, findings),
        action=_action(run, findings), readings=_readings(run, about),
        moving=tuple(_moving(run, beside, column)), fixed=tuple(_fixed(run, about, findings)),
        fields=_fields(names, column), document=_document(run, about, findings),
    )  # fmt: skip


# ---- the answer


def _headline(run: Opened, about: Understood, beside: tuple[Beside, ...]) -> str:
    rows = ", ".join(f"{count(n)} rows {what}" for what, n in about.rows.items())
    learned = f"Learned from {rows}, with {len(about.arms)} arms and {len(about.features)} features"
    if run.population is None or not run.spreads:
        return f"{learned}."
    changed = [one for one in beside if one.changed]
    units = f"{count(run.population.n)} units to be decided"
    if not changed:
        return f"{learned}; the {units} are spread like that in every feature."
    named = ", ".join(repr(one.spread.name) for one in changed[:_SHOWN])
    more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    return f"{learned}; the {units} differ in {len(changed)} of {len(beside)} features: {named}{more}."


def _worst(findings: list[Finding]) -> Grade:
    return Grade.worst(one.status for one in findings)


def _badge(run: Opened, findings: list[Finding]) -> Badge:
    if _worst(findings) is Grade.FAIL:
        return Badge("unsound", Tone.BAD)
    if any(one.changed for one in run.drift):
        return Badge("drift", Tone.MIND)
    return Badge("look", Tone.MIND) if _worst(findings) is Grade.WARN else Badge("sound", Tone.GOOD)


def _summary(run: Opened, findings: list[Finding]) -> tuple[str, ...]:
    bad = [one for one in findings if one.status in (Grade.FAIL, Grade.WARN)]
    out = [f"{one.name}: {one.sentence}" for one in bad]
    if not bad:
        tested = sum(one.status is Grade.OK for one in findings)
        out.append(f"{tested} checks of the trial found nothing to do.")
    return tuple(out)


def _action(run: Opened, findings: list[Finding]) -> str:
    if (failed := next((one for one in findings if one.status is Grade.FAIL), None)) is not None:
        return f"Explain this first: {failed.sentence}"
    if changed := [one for one in run.drift if one.changed]:
        return _NEXT.format(column=repr(changed[0].spread.name))
    if not run.spreads:
        return words("data.no.spreads")
    return words("data.no.units") if run.population is None else ""


def _readings(run: Opened, about: Understood) -> tuple[Reading, ...]:
    out = [Reading(f"Rows {what}", count(n)) for what, n in about.rows.items()]
    power = run.metrics.get("power")
    if isinstance(power, dict) and isinstance(power.get("proof_rows"), int):
        out.append(Reading("Held-out rows, which prove it", count(power["proof_rows"])))
    out += [Reading("Arms", count(len(about.arms))), Reading("Features", count(len(about.features)))]
    if run.population is not None:
        changed = sum(one.changed for one in run.drift)
        out.append(Reading("Units to be decided", count(run.population.n)))
        if run.drift:
            out.append(Reading("Features that changed", count(changed), f"of {len(run.drift)}"))
    return tuple(out)


# ---- features


def _moving(run: Opened, beside: tuple[Beside, ...], column: str) -> list[Shown]:
    if not beside:
        return [Text(words("data.no.spreads"), quiet=True)]
    if not run.drift:
        chosen = next(one for one in beside if one.spread.name == column)
        return [_chart(chosen), _feature_table(run.spreads)]
    changed, alike = [one for one in beside if one.changed], [one for one in beside if not one.changed]
    out: list[Shown] = []
    if changed:
        out.append(_drift_table(changed, words("data.drift"), folded=False))
    out.append(_chart(next(one for one in beside if one.spread.name == column)))
    if alike:
        out.append(_drift_table(alike, words("data.like"), folded=bool(changed) or len(alike) > 12))
    return out


def _chart(one: Beside) -> Drawn:
    """Returns the shares of one feature: the trial, and the units where there are any."""
    shares = shares_of(one)
    names = [name for name, _, _ in shares]
    series = {words("data.trial"): [then for _, then, _ in shares]}
    if one.counts is not None:
        series[words("data.units")] = [now or 0.0 for _, _, now in shares]

    def figure() -> Any:
        from largesse.report.figures import bars_chart

        return bars_chart(names, series)

    columns = (Column(one.spread.name, words=True), *(Column(f"Share of {name}") for name in series))
    rows = tuple(
        Row((name, *(percent(several[k], decimals=1) for several in series.values()))) for k, name in enumerate(names)
    )
    index = "" if one.worst is None else (
        f" The stability index (PSI) is {number(one.worst.psi)}; from {number(one.worst.threshold)} on it counts as changed."
    )  # fmt: skip
    caption = f"Shares of the rows in each group of {one.spread.name!r}.{index}"
    label = f"Shares of {one.spread.name} in {' and '.join(series)}"
    chart = Chart(
        name="feature", label=label, figure=figure, title=words("data.of", feature=one.spread.name), caption=caption
    )
    return Drawn(chart, Table(columns=columns, rows=rows))


def _drift_table(several: list[Beside], title: str, *, folded: bool) -> Table:
    columns = (
        Column("Feature", words=True), Column("State", words=True), Column("PSI"), Column("Changed from", quiet=True),
        Column("What changed most", words=True), Column("Trial"), Column("Units"), Column("Missing, trial"),
        Column("Missing, units"),
    )  # fmt: skip
    return Table(columns=columns, rows=tuple(_drift_row(one) for one in several), title=title, folded=folded)


def _drift_row(one: Beside) -> Row:
    then = percent(one.spread.shares[-1], decimals=1)
    if one.worst is None or one.counts is None:
        return Row(
            (
                one.spread.name,
                Badge("not known", Tone.BAD),
                UNKNOWN,
                UNKNOWN,
                one.problem,
                UNKNOWN,
                UNKNOWN,
                then,
                UNKNOWN,
            )
        )
    worst = one.worst
    state = Badge("changed", Tone.MIND) if one.changed else Badge("as in the trial", Tone.GOOD)
    return Row((
        one.spread.name, state, number(worst.psi), number(worst.threshold), worst.bin, percent(worst.then, decimals=1),
        percent(worst.now, decimals=1), then, percent(float(one.counts[-1]) / max(1, int(one.counts.sum())), decimals=1),
    ))  # fmt: skip


def _feature_table(several: tuple[Spread, ...]) -> Table:
    columns = (
        Column("Feature", words=True), Column("Holds", words=True), Column("In the trial", words=True), Column("Missing")
    )  # fmt: skip
    rows = tuple(
        Row((one.name, "labels" if one.text else "numbers", _range(one), percent(one.shares[-1], decimals=1)))
        for one in several
    )
    return Table(columns=columns, rows=rows, title=words("data.features"), folded=len(rows) > 12)


def _range(one: Spread) -> str:
    """Returns where the rows of the trial are, in words."""
    if one.text:
        pairs = sorted(zip(one.levels, one.shares, strict=False), key=lambda pair: -pair[1])
        named = ", ".join(f"{name} {percent(share)}" for name, share in pairs[:_SHOWN])
        more = len(one.levels) - _SHOWN
        return f"{len(one.levels)} labels: {named}" + (f" and {more} more" if more > 0 else "")
    if len(one.edges) < 2:
        groups = [(name, share) for name, share in zip(one.bins, one.shares, strict=True) if share]
        return ", ".join(f"{name}: {percent(share)}" for name, share in groups[:_SHOWN])
    inside = sum(one.shares[1 : len(one.edges)])
    return f"{percent(inside)} from {number(one.edges[0])} to {number(one.edges[-1])}"


# ---- rows, arms, checks


def _fixed(run: Opened, about: Understood, findings: list[Finding]) -> list[Shown]:
    facts, *others = about.blocks()
    assert isinstance(facts, Facts)
    out: list[Shown] = [Facts((*facts.entries, ("Propensities", _propensities(run.config)))), *others]
    if run.drift:
        out.insert(0, _feature_table(run.spreads))
    return [*out, Heading("checks", words("data.checks")), finding_table(findings)]


def _propensities(config: Config) -> str:
    """Returns with which probabilities the trial gave its treatments."""
    if config.design.stratified and config.columns.propensity is not None:
        return words("data.propensity.rows", column=repr(config.columns.propensity))
    planned = config.design.rct_propensity
    if isinstance(planned, dict):
        total = sum(planned.values())
        shares = ", ".join(f"{name} {percent(share / total, decimals=1)}" for name, share in planned.items())
        return words("data.propensity.planned", shares=shares)
    return words(f"data.propensity.{planned}")


def _fields(names: tuple[str, ...], column: str) -> tuple[Field, ...]:
    if not names:
        return ()
    options = tuple((name, name) for name in names)
    return (Field(name="column", label=words("data.column"), value=column, kind="choice", options=options),)


def _document(run: Opened, about: Understood, findings: list[Finding]) -> dict[str, Any]:
    return {
        "run": run.name, "understood": run.metrics["understood"], "findings": [one.row for one in findings],
        "features": [one._asdict() for one in run.spreads],
        "drift": [
            {
                "feature": one.spread.name, "changed": one.changed, "problem": one.problem,
                "counts": None if one.counts is None else one.counts.tolist(),
                **({} if one.worst is None else one.worst._asdict()),
            }
            for one in run.drift
        ],
    }  # fmt: skip
