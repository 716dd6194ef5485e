"""`fit`: from a configuration to a run folder, whole or not at all."""

from __future__ import annotations

import time
from dataclasses import dataclass
from dataclasses import replace as changed
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from largesse import __version__, frames, report
from largesse._extras import installed
from largesse._files import atomic_folder, may_write, timed
from largesse._workers import Workers
from largesse.checks.trial_power import TuningAdvice
from largesse.commands.campaign import task_of
from largesse.commands.check import soundness
from largesse.commands.evaluated_rows import FOLDER
from largesse.commands.findings.clusters import clusters
from largesse.commands.findings.fit import Evidence, Proven, evidence, results
from largesse.commands.findings.segments import refuse_unknown
from largesse.commands.findings.trust import trust
from largesse.commands.findings.understood import understood
from largesse.commands.held_out import Proof
from largesse.commands.kept_proof import keep_proof
from largesse.commands.load import Rows, load_rows
from largesse.commands.procedure import FittedCandidates, Task
from largesse.commands.processes import threads_of
from largesse.commands.proof import fit_and_prove, modules_of
from largesse.commands.proof_rows import PROOF_ROWS, proof_rows
from largesse.commands.run_folder import RULES
from largesse.config import Config, Rules, dump
from largesse.config.text import read
from largesse.models.nets.checkpoint import checkpoints_until_done
from largesse.models.registry import default_names, left_out
from largesse.policy.deployed import Policy
from largesse.progress import Note, Say, silent
from largesse.result import Brief, json_text, plain
from largesse.serving.policy_files import write_policy
from largesse.serving.watch.features import spreads, write_spreads

__all__ = ["Run", "fit"]

_PACKAGES = ("numpy", "numba", "scipy", "scikit-learn", "lightgbm", "torch", "pyarrow")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Run(Brief):
    """A finished run: its folder, its results and the content of its metrics.json."""

    folder: Path
    results: report.Results
    metrics: dict[str, Any]


def fit(
    config: Config,
    *,
    folder: str | Path | None = None,
    replace: bool = False,
    fast: bool = False,
    rules: Path | None = None,
    units: int | None = None,
    cautions: tuple[str, ...] = (),
    say: Say = silent,
) -> Run:
    """Fits the candidates, chooses one, evaluates the policy and writes the run folder, whole or not at all.

    Args:
        config: The campaign.
        folder: The run folder; None: a new one under `run.folder`, named by the time.
        replace: Whether a complete new run may replace an older one of that name.
        fast: Whether the proof takes one held-out part of the trial, as with `data.folds` = 1, instead of all its rows.
        rules: A TOML file of rules that the policy obeys in the proof, in place of `rules.file`, see `RulesFile`.
        units: Number of units that their limits in totals are for, in place of `rules.units`.
        cautions: Further warnings for the report.
        say: Called with each stage and the share of the work that is done.

    Raises:
        LargesseError: Files, columns, rows or the configuration break a rule.
    """
    if fast:
        config = config.model_copy(update={"data": config.data.model_copy(update={"folds": 1})})
    if rules is not None or units is not None:
        declared = config.rules
        both = Rules(file=rules or declared.file, units=declared.units if units is None else units)
        config = config.model_copy(update={"rules": both})
    target = Path(folder) if folder is not None else config.run.folder / timed("")
    may_write(target, replace=replace)
    with (
        checkpoints_until_done(config.run.checkpoints, target),
        Workers(threads_of(config), modules_of(config)) as workers,
    ):
        shown, metrics = _fit(config, target, replace, cautions, say, workers)
    say("done", 1.0)
    return Run(target, shown, metrics)


def _fit(
    config: Config, target: Path, replace: bool, cautions: tuple[str, ...], say: Say, workers: Workers
) -> tuple[report.Results, dict[str, Any]]:
    began = time.perf_counter()
    say("reading", 0.0)
    rows = load_rows(config)
    task = task_of(config, rows)
    refuse_unknown(config.report.segments, rows.encoder)
    say("checking the data", 0.05)
    sound = soundness(config, rows, lambda: task, workers)
    say(Note(sound.power.sentence), 0.1)
    if not task.candidates:
        how = (rows.obs is not None, sound.power.advice is TuningAdvice.CAN_PAY)
        task, missing = changed(task, candidates=default_names(*how)), left_out(*how)
        cautions = (missing, *cautions) if missing else cautions
    final, proof, trained_on, folds, notes = fit_and_prove(config, rows, task, say, workers)
    say("evaluating", 0.9)
    evidence_ = evidence(proof, task, config.outcome.unit_value, workers, "largesse.report.pictures")
    policy = Policy(model=final.model, curve=final.curve, encoder=rows.encoder, roles=config.roles("rct"))
    about = _about(config, rows, final, proof, time.perf_counter() - began)
    trusted = trust(rows.rct, rows.obs, sound, final.models)
    groups = clusters(rows.rct, final.models, final.name)
    shown = results(config, task, Proven(sound, proof, evidence_, final, about, rows.encoder, trusted, groups))
    if rows.rules is not None:
        notes = (rows.rules.sentence, *notes)
    shown = changed(shown, cautions=(*cautions, *notes, *_units_in_both(rows), *shown.cautions))
    taken = understood(config, rows, sound)
    shown = changed(shown, understood=taken.blocks())
    say("writing", 0.95)
    metrics = _metrics(shown, evidence_, proof, final, task) | {"power": sound.power.to_dict()}
    metrics["understood"] = taken.to_dict()
    metrics["rules"] = None if rows.rules is None else {"file": str(config.rules.file), "units": config.rules.units}
    metrics["folds"] = {"evaluated": folds[0], "planned": folds[1]}
    with atomic_folder(target, replace=replace, marker="config.toml") as place:
        (place / "config.toml").write_text(dump(config), encoding="utf-8")
        (place / "metrics.json").write_text(json_text(metrics), encoding="utf-8")
        report.write(shown, place, workers)
        policy.save(place / "policy")
        if refused := write_policy(policy, place, x=rows.rct.x, price=config.outcome.price, units=config.report.units):
            say(Note(refused), 0.97)
        if policy.encoder is not None:
            write_spreads(place, spreads(policy.encoder, rows.rct.x))
        trained_on.save(place / FOLDER)
        if config.rules.file is not None:
            (place / RULES).write_text(read(config.rules.file), encoding="utf-8", newline="")
        frames.write(proof_rows(proof, evidence_.counts, config.roles("rct")), place / PROOF_ROWS)
        keep_proof(place, proof, rows.encoder)
    return shown, metrics


def _units_in_both(rows: Rows) -> tuple[str, ...]:
    """Returns a warning about training rows left out because the test file contains their units, if there are any."""
    if rows.test is None:
        return ()
    left_out = rows.rct.n - rows.rct.without_units_of(rows.test).n
    if not left_out:
        return ()
    return (
        f"{left_out:,} of {rows.rct.n:,} rows of the trial are of units that data.test contains too. The policy was trained "
        "without them: held-out rows of a unit that the model has trained on would prove nothing.",
    )


def _about(config: Config, rows: Rows, final: FittedCandidates, proof: Proof, seconds: float) -> report.Provenance:
    counts = {"trial": rows.rct.n, "proof": proof.logs.n}
    if rows.obs is not None:
        counts["log of the past policy"] = rows.obs.n
    versions = (
        ("largesse", __version__),
        *((name, version(name)) for name in _PACKAGES if installed(name.replace("scikit-learn", "sklearn"))),
    )
    return report.Provenance(
        model=f"{final.name}: {type(final.model).__name__}", outcome=rows.outcome.describe(), config=dump(config),
        seed=config.run.seed, versions=versions, rows=tuple(counts.items()), seconds=seconds,
        made=datetime.now().strftime("%Y-%m-%d %H:%M"),
    )  # fmt: skip


def _metrics(
    shown: report.Results, evidence_: Evidence, proof: Proof, final: FittedCandidates, task: Task
) -> dict[str, Any]:
    """Returns the content of metrics.json."""
    return plain({
        "headline": shown.headline.sentence,
        "chosen": final.name,
        "chosen_by_fold": list(proof.chosen),
        "reason": final.choice.reason,
        "budgets_per_head": list(task.budgets),
        "effect_share": evidence_.share,
        "rows": evidence_.table.rows(),
        "arms": evidence_.table.arms,
        "returns": evidence_.payback.table,
        "verdicts": evidence_.payback.verdicts,
        "without_a_budget": evidence_.free,
        "lead": {"budget": task.budgets[evidence_.at], "verdict": evidence_.payback.verdict},
        "break_even": None if evidence_.payback.turning is None else evidence_.payback.turning._asdict(),
        "spend": [
            {"budget": b, "planned_by_model": m, "planned_by_curve": c, "realised": r, "low": lo, "high": hi, "events": n}
            for b, m, c, (r, lo, hi, n) in zip(task.budgets, proof.by_model, proof.by_curve, evidence_.spend, strict=True)
        ],
        "seconds_to_learn": final.seconds,
        "trust_in_the_log": shown.trust,
        "clusters": shown.clusters,
        "segments": [shown.segments] if shown.segments else [],
        "segments_by_column": list(shown.feature_segments),
        "findings": [f.row for f in shown.findings],
        "versions": dict(shown.provenance.versions) if shown.provenance else {},
        "seed": task.settings.seed,
    })  # fmt: skip
