"""Numbers of a proof into the parts of a report."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse import report
from largesse.checks.soundness import Soundness
from largesse.commands.procedure import Learned, Proof, Task
from largesse.config import Config
from largesse.evaluate.bootstrap import interval, row_weights
from largesse.evaluate.comparison import (
    BEST_MIX,
    NO_ONE,
    RANDOM_MIX,
    Bootstrap,
    Comparison,
    EffectShare,
    compare,
    effect_share,
)
from largesse.logs import Logs
from largesse.models.base import Model
from largesse.report.numbers import percent

__all__ = ["Evidence", "evidence", "results"]

_CURVE = 25  # budgets along the drawn curve
_GROUPS, _FEATURES = 4, 4
POLICY = "policy"


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What the proof rows say.

    Attributes:
        table: Policy, candidates and baselines at the budgets; differences from the best mix of arms.
        line: The same along the whole curve.
        share: The share kept of the effect of giving everyone the dearest treatment, at the headline budget.
        head: Position of the headline budget.
        spend: Realised spend per head of the decisions and its interval, (B, 3).
    """

    table: Comparison
    line: Comparison
    share: EffectShare
    head: int
    spend: NDArray[np.float64]


def evidence(proof: Proof, task: Task) -> Evidence:
    """Returns the comparison on the proof rows, at the budgets and along the curve."""
    bootstrap = Bootstrap(draws=task.draws, seed=task.settings.seed)
    table = compare(proof.logs, proof.menus, task.budgets, bootstrap=bootstrap).against(BEST_MIX)
    dearest = max(arm.cost for arm in table.arms)
    budgets = np.linspace(0, dearest, _CURVE)
    line = compare(
        proof.logs, proof.menus, budgets, bootstrap=Bootstrap(draws=min(task.draws, 200), seed=task.settings.seed)
    )
    head = len(task.budgets) // 2
    full = max(table.arms, key=lambda arm: arm.cost).name
    return Evidence(table, line, effect_share(table, POLICY, head, full=full), head, _realised(proof, task))


def _realised(proof: Proof, task: Task) -> NDArray[np.float64]:
    """Spend per head of the decisions, by inverse propensity on the proof rows, with percentile intervals."""
    logs = proof.logs
    paid = np.where(proof.decided == logs.treatment, logs.inverse_propensity * logs.cost, 0.0)  # (B, N)
    draws = np.array([paid @ w for w in row_weights(logs, task.draws, task.settings.seed)]) / logs.total_weight
    return np.column_stack([paid.sum(1) / logs.total_weight, interval(draws, 0.95)])


def results(
    config: Config,
    sound: Soundness,
    proof: Proof,
    found: Evidence,
    final: Learned,
    task: Task,
    about: report.Provenance,
    trust: tuple[report.TrustRow, ...] = (),
    groups: report.Clusters | None = None,
) -> report.Results:
    """Returns everything the report shows."""
    names = [n for n in proof.menus if n != POLICY and set(proof.chosen) != {n}]  # one that always won is the policy
    labels = list(task.labels)
    roles = {
        POLICY: "policy",
        BEST_MIX: "baseline",
        NO_ONE: "baseline",
        RANDOM_MIX: "baseline",
        **dict.fromkeys(set(proof.menus) - {POLICY}, "candidate"),
    }
    return report.Results(
        headline=_headline(config, sound, proof, found, task, final),
        value_unit=config.report.value_unit, money_unit=config.report.money_unit, head=config.report.head,
        findings=tuple(report.Finding(name=f.name, status=f.status, sentence=f.verdict) for f in sound),
        curves=tuple(_line(found.line, name, roles[name]) for name in (POLICY, BEST_MIX, *names)),
        arms=tuple(
            report.ArmPoint(name=a.name, cost=a.cost, value=a.value, low=a.value_low, high=a.value_high, control=j == 0)
            for j, a in enumerate(found.table.arms)
        ),
        budgets=tuple(_budget_rows(found, labels, roles)),
        league=_league(final, task), trust=trust,
        mix=_mix("Budget", labels, proof.decided, proof.logs),
        feature_mixes=tuple(_feature_mixes(proof, found.head, labels[found.head])), clusters=groups,
        spend=tuple(
            report.SpendRow(budget=b, budget_label=labels[k], planned_by_model=float(proof.by_model[k]),
                            planned_by_curve=float(proof.by_curve[k]), realised=float(found.spend[k, 0]),
                            low=float(found.spend[k, 1]), high=float(found.spend[k, 2]))
            for k, b in enumerate(task.budgets)
        ),
        provenance=about, cautions=(*_left_out(final), *_cautions(proof, found, task)),
    )  # fmt: skip


def _headline(
    config: Config, sound: Soundness, proof: Proof, found: Evidence, task: Task, final: Learned
) -> report.Headline:
    k, table, share = found.head, found.table, found.share
    at = table.index(POLICY)
    verdict = _verdict(table.difference_low[at, k], table.difference_high[at, k])
    unit = config.report.value_unit
    head = config.report.head
    way = (
        f"in turns over {len(proof.chosen)} parts of the trial"
        if len(proof.chosen) > 1
        else "on rows kept apart for it"
    )
    summary = (
        f"That is {table.spend[at, k]:.3g} {config.report.money_unit} per {head} of the {task.budgets[k]:.3g} allowed; "
        f"all of the cash, and the full effect, is giving {share.arm!r} to everyone.",
        f"Against the best mix of arms for the same money, the policy brings {table.difference[at, k]:+.3g} {unit} per "
        f"{head} (95 % interval {table.difference_low[at, k]:+.3g} to {table.difference_high[at, k]:+.3g}): {verdict}.",
        f"Proven {way}: {proof.logs.n:,} rows whose outcomes took no part in learning the policy that is judged on them.",
        sound.verdict,
    )
    sentence = (
        f"With {percent(share.cash)} of the cash, {percent(share.effect)} of the effect "
        f"(95 % interval {percent(share.low)} to {percent(share.high)})."
    )
    if not np.isfinite([share.low, share.high]).all():
        sentence = "These rows cannot tell the best arm from no one, so no share of an effect is given."
    action = {
        "better": "Ship the policy, and confirm it with an experiment against the best mix of arms.",
        "no clear difference": "The rows do not show that targeting pays more than the best mix of arms: "
        "run a larger trial, or ship the mix.",
        "worse": "Do not ship this policy: the best mix of arms does better.",
    }[verdict]
    if not sound.ok:
        action = "First explain what the checks of the data found; until then nothing below can be relied on."
    return report.Headline(title=config.report.title, sentence=sentence, summary=summary, action=action)


def _verdict(low: float, high: float) -> str:
    return "better" if low > 0 else "worse" if high < 0 else "no clear difference"


def _line(table: Comparison, name: str, role: Any) -> report.CurveLine:
    p = table.index(name)
    band = {"low": table.low[p], "high": table.high[p]} if role == "policy" else {}
    return report.CurveLine(name=name, cost=tuple(table.budgets), value=tuple(table.value[p]), role=role, **band)


def _budget_rows(found: Evidence, labels: list[str], roles: dict[str, Any]) -> list[report.BudgetRow]:
    shown = [n for n in found.table.names if roles[n] != "candidate"]
    return [
        report.BudgetRow(
            policy=r.name, budget=r.budget, budget_label=labels[int(np.argmin(np.abs(found.table.budgets - r.budget)))],
            value=r.value, low=r.low, high=r.high, role=roles[r.name],
            difference=None if r.name == BEST_MIX else r.difference, difference_low=r.difference_low,
            difference_high=r.difference_high,
        )
        for r in found.table.rows() if r.name in shown
    ]  # fmt: skip


def _league(final: Learned, task: Task) -> report.League:
    names = list(final.models)
    seen = final.choice.seen
    score, ends = np.full(len(names), np.nan), np.full((len(names), 2), np.nan)  # where no budget is within reach
    if seen.any():
        score = final.league.value[: len(names)][:, seen].mean(1)
        ends = interval(final.league.draws[:, : len(names)][:, :, seen].mean(2), 0.95)
    rows = [
        report.LeagueRow(name=n, score=float(score[k]), low=float(ends[k, 0]), high=float(ends[k, 1]),
                         chosen=n == final.name, seconds=final.seconds[n], note=_strength(final.models[n]))
        for k, n in enumerate(names)
    ]  # fmt: skip
    rows.sort(key=lambda row: -row.score)
    return report.League(
        rows=tuple(rows), score="value per head on validation rows, mean over the budgets", reason=final.choice.reason
    )


def _strength(model: Model) -> str:
    """Says how far a model went from its two stages towards its decision loss, and why."""
    if getattr(model, "choice_", None) is None:
        return ""
    share = float(getattr(model, "strength_", 0.0))
    said = "kept at its two stages" if share == 0 else f"went {percent(share)} of the way to its decision loss"
    return f"{said}, by rows in turns"


def _mix(title: str, labels: list[str], decided: NDArray[np.int32], logs: Logs, caption: str = "") -> report.MixTable:
    shares = [np.bincount(d, logs.weights, logs.n_treatments) / logs.total_weight for d in decided]
    return report.MixTable(
        title=title,
        labels=tuple(labels),
        treatments=logs.treatments,
        shares=tuple(tuple(s) for s in shares),
        caption=caption,
    )


def _groups(column: NDArray[np.float32]) -> tuple[NDArray[np.int64], list[str]]:
    """Returns the group of each row and the groups' names: the values themselves if few, else quantile bins."""
    kinds = np.unique(column)
    if len(kinds) <= _GROUPS:
        names = ["no", "yes"] if kinds.tolist() == [0.0, 1.0] else [f"{k:.4g}" for k in kinds]
        return np.searchsorted(kinds, column), names
    cuts = np.unique(np.quantile(column, np.linspace(0, 1, _GROUPS + 1)))
    group = np.clip(np.searchsorted(cuts, column, side="right") - 1, 0, len(cuts) - 2)
    return group, [f"{a:.3g} to {b:.3g}" for a, b in pairwise(cuts)]


def _feature_mixes(proof: Proof, k: int, label: str) -> list[report.MixTable]:
    """The features along which the mix of treatments differs most, by total variation between groups."""
    logs, decided, found = proof.logs, proof.decided[k], []
    arms = np.eye(logs.n_treatments)[decided] * logs.weights[:, None]
    for f, name in enumerate(logs.features):
        group, names = _groups(logs.x[:, f])
        size = np.bincount(group, logs.weights, len(names))
        if len(names) < 2 or (size == 0).any():
            continue
        shares = np.stack([np.bincount(group, arms[:, j], len(names)) / size for j in range(logs.n_treatments)], 1)
        distance = float(np.abs(shares - arms.sum(0) / logs.total_weight).sum(1) @ size / logs.total_weight)
        found.append((distance, f, name, names, shares))
    found.sort(key=lambda entry: (-entry[0], entry[1]))
    return [
        report.MixTable(title=name, labels=tuple(names), treatments=logs.treatments, shares=tuple(map(tuple, shares)),
                        caption=f"At {label}.")
        for distance, _, name, names, shares in found[:_FEATURES] if distance > 0
    ]  # fmt: skip


def _left_out(final: Learned) -> tuple[str, ...]:
    return tuple(f"{name} was left out: {why}" for name, why in final.left_out.items())


def _cautions(proof: Proof, found: Evidence, task: Task) -> tuple[str, ...]:
    said = [
        "Values are per unit and decision period of the trial; another season or population may differ. Confirm online.",
        "The best mix of arms is chosen on the rows that judge it, which favours it slightly.",
        *found.table.notes,
    ]
    for budget, label, (_, low, high) in zip(task.budgets, task.labels, found.spend, strict=True):
        if low > budget:
            said.append(
                f"At {label} the realised spend is above the budget ({low:.3g} to {high:.3g} against {budget:.3g}): "
                "the price curve had too few rows. Allocate with a safety, or with more trial rows."
            )
    if len(set(proof.chosen)) > 1:
        said.append(
            f"The parts of the trial chose different models ({', '.join(proof.chosen)}): the choice is not stable."
        )
    return tuple(said)
