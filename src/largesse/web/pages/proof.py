"""The page Proof: whether the run can be believed; the sections of its report."""

from __future__ import annotations

from largesse.report.kept import kept_sections
from largesse.web.kept import blocks_of_report
from largesse.web.opened import Opened, Studio
from largesse.web.pages.money import run_of
from largesse.web.query import Query
from largesse.web.view import Reading, View
from largesse.web.words import words

__all__ = ["PATH", "view"]

PATH = "/proof"


def view(studio: Studio, query: Query) -> View:
    """Returns the page.

    Raises:
        DataError: There is no such run.
        StoreError: What the run keeps is damaged.
    """
    run = run_of(studio, query)
    kept = kept_sections(run.folder)
    if kept is None:
        return View(headline=words("proof.none"), action=words("proof.again"))
    first = kept.headline
    return View(
        headline=first.sentence, summary=first.summary, action=first.action, readings=_readings(run),
        fixed=blocks_of_report(kept.sections),
        links=tuple((section.title, f"#{section.anchor}") for section in kept.sections),
        document={"run": run.name, "metrics": run.metrics},
    )  # fmt: skip


def _readings(run: Opened) -> tuple[Reading, ...]:
    """Returns how much the proof rests on."""
    metrics, out = run.metrics, []
    power = metrics.get("power", {})
    if isinstance(power, dict) and isinstance(power.get("rows"), int):
        out.append(Reading(words("proof.rows"), f"{power['rows']:,}"))
    folds = metrics.get("folds", {})
    if isinstance(folds, dict) and folds.get("evaluated"):
        out.append(Reading(words("proof.folds"), f"{folds['evaluated']} of {folds.get('planned', folds['evaluated'])}"))
    if run.evidence is not None:
        out.insert(0, Reading(words("proof.judging"), f"{run.evidence.proof.logs.n:,}"))
    out.append(Reading(words("proof.model"), str(metrics.get("chosen", "–"))))
    return tuple(out)
