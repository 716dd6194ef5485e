"""What a tuning leaves behind: the configuration to fit, every trial as JSON, the choice in words."""

from __future__ import annotations

import json
import math
from importlib.metadata import version
from pathlib import Path
from typing import Any

from largesse import __version__
from largesse.commands.campaign import proof_turns
from largesse.commands.findings.tune_result import Found, Proven
from largesse.commands.load import Rows
from largesse.commands.procedure import Task
from largesse.commands.tune_search import Trial, label
from largesse.config import Config, dump
from largesse.evaluate.comparison import BEST_MIX
from largesse.models.hyperparameters import Value

__all__ = ["MARKER", "TUNED", "UNTOUCHED", "best_first", "document", "in_words", "summary", "tuned_config", "write"]

MARKER = "tuned.toml"
UNTOUCHED, TUNED = "untouched", "tuned"
_SHOWN = 10  # trials in a table
_RULE = "the simplest trial within one standard error of the best, that error allowing for the number of trials"


def document(config: Config, found: Found, task: Task) -> dict[str, Any]:
    """Returns everything that was found, as JSON knows it."""
    picked, search = found.chosen, found.search
    at = {t.number: k for k, t in enumerate(picked.trials)}
    return {
        "chosen": {"trial": picked.trial.number, "model": picked.trial.model,
                   "settings": _json(picked.trial.settings), "default": picked.trial.default},
        "sentence": _sentence(found), "caution": _caution(found), "proof_sentence": _proof(found), "action": _action(found),
        "stopped": search.stopped, "rule": _RULE, "standard_errors": picked.errors, "best": picked.best.number,
        "untouched": picked.untouched.number, "lead_of_best": picked.lead, "lead_by_luck": picked.luck,
        "budgets_per_head": list(task.budgets),
        "rows": {"scoring": search.rows.n, "proof": found.proof.n, "turns": len(search.turns)},
        "trials": [_trial(found, t, at.get(t.number)) for t in search.trials],
        "proof": _proven(found.proven),
        "seed": config.run.seed,
        "versions": {"largesse": __version__, "optuna": version("optuna")},
    }  # fmt: skip


def _trial(found: Found, trial: Trial, k: int | None) -> dict[str, Any]:
    score, error = (None, None) if k is None else (found.chosen.choice.score[k], found.chosen.choice.error[k])
    return {
        "number": trial.number, "model": trial.model, "settings": _json(trial.settings), "default": trial.default,
        "distance": trial.distance, "value": _finite(score), "error": _finite(error), "state": trial.state,
        "message": trial.message, "seconds": round(trial.seconds, 3),
    }  # fmt: skip


def _proven(proven: Proven) -> dict[str, Any]:
    names = ("name", "budget", "value", "low", "high", "spend", "difference", "difference_low", "difference_high")
    rows = [r for r in proven.table.rows() if r.name in (UNTOUCHED, TUNED, BEST_MIX)]
    return {
        "reference": UNTOUCHED, "difference": _finite(proven.difference), "low": _finite(proven.low),
        "high": _finite(proven.high), "verdict": _verdict(proven),
        "rows": [{n: r.name if n == "name" else _finite(getattr(r, n)) for n in names} for r in rows],
    }  # fmt: skip


def _verdict(proven: Proven) -> str:
    if TUNED not in proven.table.names:
        return "nothing changed"
    return "better" if proven.low > 0 else "worse" if proven.high < 0 else "no clear difference"


def _sentence(found: Found) -> str:
    picked = found.chosen
    reason = picked.choice.reason
    return f"Chosen: {label(picked.trial)}. {reason[0].upper()}{reason[1:]}"


def _caution(found: Found) -> str:
    picked, n = found.chosen, len(found.chosen.trials)
    if n < 2:
        return "One trial was scored, so nothing was searched."
    return (
        f"Scores are of rows that also choose, so the best of {n} trials looks better than it is: it leads "
        f"{label(picked.trials[0])} by {picked.lead:.3g} per head, and luck alone would give a lead of {picked.luck:.3g}."
    )


def _proof(found: Found) -> str:
    proven, picked = found.proven, found.chosen
    verdict = _verdict(proven)
    if verdict == "nothing changed":
        return "The models' defaults stay as they are, so there is no difference to prove."
    if not math.isfinite(proven.difference):
        return "On the rows of the proof no budget is within reach of both, so they cannot be compared."
    return (
        f"On {found.proof.n:,} rows that no trial has seen, {label(picked.trial)} brings {proven.difference:+.3g} per head "
        f"against {label(picked.untouched)}, mean over the budgets "
        f"(paired 95 % interval {proven.low:+.3g} to {proven.high:+.3g}): {verdict}."
    )


def _action(found: Found) -> str:
    return {
        "nothing changed": f"Fit {MARKER}: it names the model and leaves its settings as they were.",
        "better": f"Fit {MARKER}.",
        "no clear difference": "Not shown to pay. Keep the campaign as it is, or fit both and "
        "`largesse compare` the runs on a later trial.",
        "worse": "Do not use these settings: keep the campaign as it is.",
    }[_verdict(found.proven)]  # fmt: skip


def tuned_config(config: Config, rows: Rows, trial: Trial) -> Config:
    """Returns the campaign with one model and its settings, proven on rows that no trial has seen."""
    before = config.model.settings
    settings = {**before, trial.model: {**before.get(trial.model, {}), **trial.settings}}
    if not settings[trial.model]:
        del settings[trial.model]
    model = config.model.model_copy(update={"candidates": (trial.model,), "settings": settings})
    turns = rows.test is None and proof_turns(config, rows) > 1
    data = config.data.model_copy(update={"folds": 1}) if turns else config.data
    return config.model_copy(update={"model": model, "data": data})


def write(place: Path, config: Config, rows: Rows, found: Found, paper: dict[str, Any]) -> Config:
    """Writes tuned.toml, trials.json and summary.md into a folder; returns the configuration of the first."""
    tuned = tuned_config(config, rows, found.chosen.trial)
    head = [f"# {paper['sentence']}", f"# {paper['proof_sentence']}"]
    if tuned.data.folds != config.data.folds:
        head.append(
            "# data.folds = 1: `largesse fit` proves on the rows that no trial has seen. With parts that take turns, "
            "rows that chose the settings would prove them."
        )
    (place / MARKER).write_text("\n".join([*head, "", dump(tuned)]), encoding="utf-8")
    (place / "trials.json").write_text(json.dumps(paper, indent=1, allow_nan=False), encoding="utf-8")
    (place / "summary.md").write_text(summary(paper, config.report.title), encoding="utf-8")
    return tuned


def best_first(paper: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the best trials, the one with the highest score first."""
    done = [t for t in paper["trials"] if t["value"] is not None]
    return sorted(done, key=lambda t: (-t["value"], t["number"]))[:_SHOWN]


def in_words(settings: dict[str, Any]) -> str:
    """Returns settings on one line."""
    told = [f"{name} {'-'.join(map(str, v)) if isinstance(v, list) else v}" for name, v in settings.items()]
    return ", ".join(told) or "untouched"


def summary(paper: dict[str, Any], title: str) -> str:
    """Returns the tuning in Markdown: the choice, its proof, and the best ten trials."""
    lines = [f"# {title}: tuning", "", f"**{paper['sentence']}**", "", paper["proof_sentence"], paper["action"], ""]
    lines += [paper["caution"], *([paper["stopped"]] if paper["stopped"] else []), ""]
    lines += ["| trial | model | score | error | settings |", "|---:|---|---:|---:|---|"]
    for t in best_first(paper):
        mark = " **chosen**" if t["number"] == paper["chosen"]["trial"] else ""
        cells = (t["number"], t["model"] + mark, f"{t['value']:.4g}", f"{t['error']:.2g}", in_words(t["settings"]))
        lines.append(f"| {' | '.join(map(str, cells))} |")
    missing = [t for t in paper["trials"] if t["value"] is None]
    if missing:
        lines += ["", f"Without a score: {len(missing)}.", ""]
        lines += [f"- trial {t['number']}, {t['model']}: {' '.join(t['message'].split())}" for t in missing]
    lines += [
        "",
        f"Score: value per head, mean over the budgets, on {paper['rows']['scoring']:,} rows the trial did not learn from. "
        f"Error: standard error of its difference from the best. Rule: {paper['rule']} "
        f"(here {paper['standard_errors']:.2g} standard errors). Every trial: `trials.json`.",
        "",
    ]
    return "\n".join(lines)


def _json(settings: dict[str, Value]) -> dict[str, Any]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in settings.items()}


def _finite(x: Any) -> float | None:
    return None if x is None or not math.isfinite(x) else float(x)
