"""Writes the result of a tuning: the configuration to fit, every trial as JSON, a page."""

from __future__ import annotations

import math
from importlib.metadata import version
from pathlib import Path
from typing import Any

from largesse import __version__
from largesse._check import written
from largesse.commands.campaign import proof_folds
from largesse.commands.findings.tune_result import Outcome, Proven, TuningResult
from largesse.commands.load import Rows
from largesse.commands.procedure import Task
from largesse.commands.tune_search import Trial, label
from largesse.config import Config, dump
from largesse.evaluate.comparison import BEST_MIX
from largesse.report.blocks import Badge, Bullets, Cell, Column, Row, Section, Table, Text, Tone
from largesse.report.content import Headline
from largesse.report.files import write_report
from largesse.report.numbers import number, places, resting
from largesse.result import json_text, plain

__all__ = [
    "MARKER",
    "TUNED",
    "UNTOUCHED",
    "best_first",
    "document",
    "in_words",
    "page",
    "trial_table",
    "tuned_config",
    "write",
]

MARKER = "tuned.toml"
UNTOUCHED, TUNED = "untouched", "tuned"
_SHOWN = 10  # trials in a table
_RULE = "the simplest trial within one standard error of the best, adjusted for the number of trials"


def document(config: Config, result: TuningResult, task: Task) -> dict[str, Any]:
    """Returns the content of trials.json."""
    picked, search = result.chosen, result.search
    at = {t.number: k for k, t in enumerate(picked.trials)}
    return plain({
        "chosen": {"trial": picked.trial.number, "model": picked.trial.model,
                   "settings": picked.trial.settings, "default": picked.trial.default},
        "sentence": _sentence(result), "caution": _caution(result), "proof_sentence": _proof(result), "action": _action(result),
        "stopped": search.stopped, "rule": _RULE, "standard_errors": picked.standard_errors, "best": picked.best.number,
        "untouched": picked.untouched.number, "lead_of_best": picked.lead, "lead_by_luck": picked.luck,
        "budgets_per_head": list(task.budgets),
        "rows": {"scoring": search.rows.n, "proof": result.proof.n, "folds": len(search.folds)},
        "trials": [_trial(result, t, at.get(t.number)) for t in search.trials],
        "proof": _proven(result.proven),
        "seed": config.run.seed,
        "versions": {"largesse": __version__, "optuna": version("optuna")},
    })  # fmt: skip


def _trial(result: TuningResult, trial: Trial, k: int | None) -> dict[str, Any]:
    score, error = (
        (None, None) if k is None else (result.chosen.choice.score[k], result.chosen.choice.standard_error[k])
    )
    return {
        "number": trial.number, "model": trial.model, "settings": trial.settings, "default": trial.default,
        "distance": trial.distance, "value": score, "standard_error": error, "state": trial.state,
        "message": trial.message, "seconds": round(trial.seconds, 3),
    }  # fmt: skip


def _proven(proven: Proven) -> dict[str, Any]:
    rows = [r for r in proven.table.rows() if r.name in (UNTOUCHED, TUNED, BEST_MIX)]
    return {
        "reference": UNTOUCHED, "difference": proven.difference, "low": proven.low, "high": proven.high,
        "verdict": proven.outcome, "rows": rows,
    }  # fmt: skip


def _sentence(result: TuningResult) -> str:
    picked = result.chosen
    reason = picked.choice.reason
    return f"Chosen: {label(picked.trial)}. {reason[0].upper()}{reason[1:]}"


def _caution(result: TuningResult) -> str:
    picked, n = result.chosen, len(result.chosen.trials)
    if n < 2:
        return "Only one trial has a score, so there was nothing to choose from."
    return (
        f"The rows that score the {n} trials also choose among them, so the best score is too high: it leads "
        f"{label(picked.trials[0])} by {written(picked.lead, 3)} per unit, and chance alone would "
        f"give a lead of {written(picked.luck, 3)}."
    )


def _proof(result: TuningResult) -> str:
    proven, picked = result.proven, result.chosen
    if proven.outcome is Outcome.UNCHANGED:
        return "The models' defaults are kept, so there is no difference to evaluate."
    if not math.isfinite(proven.difference):
        return "On the held-out rows no budget is within reach of both, so they cannot be compared."
    decimals = places([(proven.high - proven.low) / 2])
    shown = resting(proven.low, proven.high, proven.events, decimals=decimals, sign=True)
    return (
        f"On {result.proof.n:,} held-out rows, which no trial used, {label(picked.trial)} brings "
        f"{number(proven.difference, decimals=decimals, sign=True)} per unit against {label(picked.untouched)}, mean over the "
        f"budgets (paired 95 % interval {shown}): {proven.outcome.value}."
    )


def _action(result: TuningResult) -> str:
    return {
        Outcome.UNCHANGED: f"Fit {MARKER}: it names the model and keeps its settings.",
        Outcome.BETTER: f"Fit {MARKER}.",
        Outcome.UNCLEAR: "No gain is shown. Keep the campaign as it is, or fit both and "
        "`largesse compare` the runs on a later trial.",
        Outcome.WORSE: "Do not use these settings: keep the campaign as it is.",
    }[result.proven.outcome]  # fmt: skip


def tuned_config(config: Config, rows: Rows, trial: Trial) -> Config:
    """Returns the campaign with one model and its settings, to be evaluated on rows that no trial used."""
    before = config.model.settings
    settings = {**before, trial.model: {**before.get(trial.model, {}), **trial.settings}}
    if not settings[trial.model]:
        del settings[trial.model]
    model = config.model.model_copy(update={"candidates": (trial.model,), "settings": settings})
    folded = rows.test is None and proof_folds(config, rows) > 1
    changes = {"folds": 1} if folded else {}
    data = config.data.model_copy(update=changes if rows.test is not None else {**changes, "refit": True})
    return config.model_copy(update={"model": model, "data": data})


def write(place: Path, config: Config, rows: Rows, result: TuningResult, content: dict[str, Any]) -> Config:
    """Writes tuned.toml, trials.json and the report into a folder; returns the configuration of the first."""
    tuned = tuned_config(config, rows, result.chosen.trial)
    head = [f"# {content['sentence']}", f"# {content['proof_sentence']}"]
    if tuned.data.folds != config.data.folds:
        head.append(
            "# data.folds = 1: `largesse fit` evaluates on the rows that no trial used. Cross-fitting would evaluate on "
            "rows that also chose the settings."
        )
    if tuned.data.refit:
        head.append("# data.refit: the policy that is used is then learned again from all rows.")
    (place / MARKER).write_text("\n".join([*head, "", dump(tuned)]), encoding="utf-8")
    (place / "trials.json").write_text(json_text(content), encoding="utf-8")
    write_report(*page(content, config.report.title), {}, place)
    return tuned


def best_first(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the best trials, the one with the highest score first."""
    done = [t for t in content["trials"] if t["value"] is not None]
    return sorted(done, key=lambda t: (-t["value"], t["number"]))[:_SHOWN]


def in_words(settings: dict[str, Any]) -> str:
    """Returns settings on one line."""
    shown = [f"{name} {'-'.join(map(str, v)) if isinstance(v, list) else v}" for name, v in settings.items()]
    return ", ".join(shown) or "untouched"


def trial_table(content: dict[str, Any]) -> Table:
    """Returns the best trials."""
    head = ("Settings", "Model", "Trial", "Score", "Standard error", "Choice")
    rows = []
    for t in best_first(content):
        chosen: Cell = Badge("chosen", Tone.GOOD) if t["number"] == content["chosen"]["trial"] else ""
        cells = (
            in_words(t["settings"]),
            t["model"],
            str(t["number"]),
            written(t["value"], 4),
            written(t["standard_error"], 2),
            chosen,
        )
        rows.append(Row(cells))
    return Table(columns=tuple(Column(name, words=k in (0, 1, 5)) for k, name in enumerate(head)), rows=tuple(rows))


def page(content: dict[str, Any], title: str) -> tuple[Headline, list[Section]]:
    """Returns the report: the choice, its evaluation, and the ten best trials."""
    headline = Headline(
        title=f"{title}: tuning", sentence=content["sentence"], action=content["action"],
        summary=(content["proof_sentence"], content["caution"], *([content["stopped"]] if content["stopped"] else [])),
    )  # fmt: skip
    missing = [t for t in content["trials"] if t["value"] is None]
    note = (
        f"Score: value per unit, mean over the budgets, on {content['rows']['scoring']:,} validation rows. Standard error: of "
        f"the difference from the best. Rule: {content['rule']} (here {written(content['standard_errors'], 2)} standard "
        "errors). Every trial: trials.json."
    )
    failed = Bullets(tuple(f"trial {t['number']}, {t['model']}: {t['message']}" for t in missing))
    parts = [Section("trials", "Best trials", [trial_table(content), Text(note)])]
    parts += [Section("failed", f"Without a score: {len(missing)}", [failed])] if missing else []
    return headline, parts
