"""Evaluates a fitted policy on its held-out rows, and describes it for the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse import report
from largesse._check import written
from largesse._workers import Workers
from largesse.checks.soundness import Soundness
from largesse.commands.findings.frontier import frontier
from largesse.commands.findings.pays import Payback, pay, payback, remedies, sentence, smaller_pays
from largesse.commands.findings.segments import by_column, by_tree, grouped, mix_of
from largesse.commands.held_out import Proof
from largesse.commands.procedure import FittedCandidates, Task
from largesse.commands.proof_rules import POLICY
from largesse.config import Config
from largesse.evaluate.comparison import (
    BEST_MIX,
    NO_ONE,
    RANDOM_MIX,
    Bootstrap,
    Comparison,
    Verdict,
    compare,
)
from largesse.evaluate.full_effect import EffectShare, effect_share
from largesse.evaluate.intervals import weighted_sum
from largesse.evaluate.paths import DecisionPath
from largesse.evaluate.segments import SegmentRow, segments
from largesse.frames.encoder import Encoder
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.models.base import Model
from largesse.report.advice import Advice, advise, advise_spending
from largesse.report.numbers import number, percent, places, resting, rests_on
from largesse.report.spend import LEAST_EVENTS
from largesse.report.table import comparison_rows

__all__ = ["POLICY", "Evidence", "Proven", "evidence", "headline_verdict", "results"]

_CURVE = 25  # budgets along the cost curve of the report
_SHARES = (
    "Full budget: the cost of giving everyone the most expensive treatment. Shares of it count from the cost of giving everyone "
    "the cheapest one."
)


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """The evaluation on held-out rows.

    Attributes:
        table: Policy, candidates and baselines at the budgets; differences from the best mix of arms.
        line: The same at budgets along the whole cost curve.
        share: Share of the effect of giving everyone the most expensive treatment, at the headline budget.
        at: Position of the headline budget.
        payback: Whether the budgets pay.
        spend: Realised spend per unit of the decisions and its interval, (B, 3).
        counts: How far each held-out row counts in the value of the policy at each budget, (B, N).
        everybody: What the policy brings without a budget, where everybody gets what pays; None where that is not known.
        frontier: The policy along the whole range of budgets, for the slider.
    """

    table: Comparison
    line: Comparison
    share: EffectShare
    at: int
    payback: Payback
    spend: NDArray[np.float64]
    counts: NDArray[np.float64]
    everybody: SegmentRow | None
    frontier: report.Frontier

    @property
    def free(self) -> dict[str, Any] | None:
        """The same for metrics.json: with its verdict, its untargeted counterpart, and whether the report leads with it."""
        if self.everybody is None:
            return None
        made = self.payback.free
        judged = {"verdict": None, "untargeted": None} if made is None else {
            "verdict": made.verdict, "untargeted": {"treatment": made.arm, **made.untargeted._asdict()}
        }  # fmt: skip
        return {**self.everybody._asdict(), **judged, "leads": self.payback.unlimited}


def _along(shared: tuple[Logs, Menu | DecisionPath, tuple[float, ...], float | None]) -> report.Frontier:
    logs, menu, budgets, value_per_unit = shared
    return frontier(logs, POLICY, menu, budgets, value_per_unit)


def evidence(proof: Proof, task: Task, value_per_unit: float | None, workers: Workers, *later: str) -> Evidence:
    """Returns the comparison on the held-out rows, at the budgets and along the cost curve.

    Args:
        proof: The held-out rows.
        task: The budgets.
        value_per_unit: What one unit of value brings in money; None: not known.
        workers: Processes that share the work with this one.
        later: Modules that they import when they are done, for what comes next.
    """
    slider = workers.beside(_along, (proof.logs, proof.menus[POLICY], task.budgets, value_per_unit))
    workers.prepare(*later)
    bootstrap = Bootstrap(draws=task.draws, seed=task.settings.seed)
    table = compare(proof.logs, proof.menus, task.budgets, bootstrap=bootstrap).against(BEST_MIX)
    most = max(arm.cost for arm in table.arms)
    budgets = np.linspace(0, most, _CURVE)
    line = compare(proof.logs, proof.menus, budgets)
    pays = payback(table, line, value_per_unit, POLICY, proof.paying)
    best = max(table.arms, key=lambda arm: arm.value)  # the most that one treatment for everyone brings
    share = effect_share(table, POLICY, pays.at, full=best.name)
    curve = table.parts.made.policies[table.index(POLICY)].curve
    counts, everybody = curve.matched(task.budgets), _without_a_budget(proof, value_per_unit)
    spend, first = _realised(proof), task.budgets[pays.at]
    return Evidence(table, line, share, pays.at, pays, spend, counts, everybody, slider().begun_at(first))


def _without_a_budget(proof: Proof, value_per_unit: float | None) -> SegmentRow | None:
    """Returns what the policy brings where everybody gets what pays by its model, as one segment of all held-out rows."""
    if proof.paying is None or value_per_unit is None:
        return None
    logs, followed = proof.logs, (proof.paying == proof.logs.treatment).astype(np.float64)
    everybody = np.zeros(logs.n, np.int64)
    return segments(logs, followed, proof.paying, everybody, ("without a budget",), value_per_unit=value_per_unit)[0]


def _realised(proof: Proof) -> NDArray[np.float64]:
    """Returns the spend per unit of the decisions, by inverse propensity on held-out rows, its interval and events, (B, 4)."""
    logs = proof.logs
    paid = np.where(proof.decided == logs.treatment, logs.inverse_propensity * logs.cost, 0.0)  # (B, N)
    mean, ends, events = weighted_sum(logs, paid.T)
    return np.column_stack([mean, ends, events])


class Proven(NamedTuple):
    """Everything that the report of a fit shows.

    Attributes:
        sound: The checks of the data.
        proof: The held-out rows with the policy's decisions.
        evidence: The evaluation on them.
        final: The candidates fitted to all training rows.
        about: Configuration, versions and counts of the run.
        trust: How far the past campaign data can be trusted, one row per treatment.
        encoder: How the columns of the campaign became features.
        clusters: The clusters of a candidate, if one has clusters.
    """

    sound: Soundness
    proof: Proof
    evidence: Evidence
    final: FittedCandidates
    about: report.Provenance
    encoder: Encoder
    trust: tuple[report.TrustRow, ...] = ()
    clusters: report.Clusters | None = None


def results(config: Config, task: Task, proven: Proven) -> report.Results:
    """Returns the content of the report."""
    proof, evidence = proven.proof, proven.evidence
    names = [
        n for n in proof.menus if n != POLICY and set(proof.chosen) != {n}
    ]  # a candidate chosen in every fold is the policy
    labels = list(task.labels)
    roles = {POLICY: "policy", BEST_MIX: "baseline", NO_ONE: "baseline", RANDOM_MIX: "baseline"}
    candidates = dict.fromkeys(names, "candidate")
    at, unit_value = labels[evidence.at], config.outcome.unit_value
    counts = evidence.counts[evidence.at]
    tree = by_tree(proof, counts, evidence.at, unit_value, proven.encoder, at=f"At {at}", seed=config.run.seed)
    groups = grouped(proven.encoder, proof.logs.x)
    columns = tuple(by_column(proof, counts, evidence.at, groups, config.report.segments, unit_value))
    return report.Results(
        headline=_headline(config, task, proven),
        value_unit=config.report.value_unit, money_unit=config.report.money, head=config.report.head,
        pay=pay(evidence.payback, task.labels, config, evidence.everybody, evidence.frontier),
        findings=tuple(proven.sound),
        curves=tuple(_line(evidence.line, name, (roles | candidates)[name]) for name in (POLICY, BEST_MIX, *names)),
        arms=tuple(
            report.ArmPoint(name=a.name, cost=a.cost, value=a.value, low=a.value_low, high=a.value_high, control=j == 0)
            for j, a in enumerate(evidence.table.arms)
        ),
        budgets=tuple(comparison_rows(evidence.table, labels, roles)),
        budget_note="" if config.budget.per_unit else _SHARES,
        leaderboard=_leaderboard(proven.final, task), trust=proven.trust,
        mix=_mix("Budget", labels, proof.decided, proof.logs),
        segments=tree, feature_segments=columns, feature_mixes=tuple(mix_of(made, at) for made in columns),
        clusters=proven.clusters,
        spend=tuple(
            report.SpendRow(budget=b, budget_label=labels[k], planned_by_model=float(proof.by_model[k]),
                            planned_by_curve=float(proof.by_curve[k]), realised=float(evidence.spend[k, 0]),
                            low=float(evidence.spend[k, 1]), high=float(evidence.spend[k, 2]),
                            events=float(evidence.spend[k, 3]))
            for k, b in enumerate(task.budgets)
        ),
        provenance=proven.about, cautions=(*_left_out(proven.final), *_cautions(proof, evidence, task)),
    )  # fmt: skip


def _headline(config: Config, task: Task, proven: Proven) -> report.Headline:
    verdict = headline_verdict(proven.evidence)
    return report.Headline(
        title=config.report.title, sentence=sentence(proven.evidence.payback, config),
        summary=(*_summary(config, task, proven, verdict), proven.sound.sentence), action=_action(config, proven, verdict),
    )  # fmt: skip


def _action(config: Config, proven: Proven, verdict: Verdict) -> str:
    """Returns what to do; where nothing is shown, what would show it."""
    pays, sound = proven.evidence.payback, proven.sound.ok
    if pays.lead is None:
        return advise(verdict, sound=sound).sentence
    advice = advise_spending(
        pays.every, pays.lead, sound=sound, smaller_pays=smaller_pays(pays), unlimited=pays.unlimited
    )
    if advice is not Advice.SPEND_NOTHING_YET:
        return advice.sentence
    all_rows = config.data.test is not None or proven.proof.logs.n >= dict(proven.about.rows)["trial"]
    ways = remedies(pays, rows=proven.proof.logs.n, all_rows=all_rows)
    return f"{advice.sentence} To learn more: {', or '.join(ways)}." if ways else advice.sentence


def headline_verdict(evidence: Evidence) -> Verdict:
    """Returns the policy against the best mix of arms at the headline budget."""
    at, k = evidence.table.index(POLICY), evidence.at
    return Verdict.of(evidence.table.difference_low[at, k], evidence.table.difference_high[at, k])


def _share_of_effect(share: EffectShare) -> str:
    if not np.isfinite([share.low, share.high]).all():
        return "These rows do not show that any treatment has an effect, so no share of an effect is given."
    return (
        f"At {percent(share.cost)} of the cost of giving everyone {share.arm!r}, the policy keeps {percent(share.effect)} of "
        f"that treatment's total effect (95 % interval {percent(share.low)} to {percent(share.high)}"
        f"{rests_on(share.events)})."
    )


def _summary(config: Config, task: Task, proven: Proven, verdict: Verdict) -> tuple[str, ...]:
    table, k, proof = proven.evidence.table, proven.evidence.at, proven.proof
    at, unit, head = table.index(POLICY), config.report.value_unit, config.report.head
    gain, low, high = (float(a[at, k]) for a in (table.difference, table.difference_low, table.difference_high))
    decimals = places([(high - low) / 2])
    shown = resting(low, high, float(table.difference_events[at, k]), decimals=decimals, sign=True)
    how = (
        f"by cross-validation in {len(proof.chosen)} parts of the trial"
        if len(proof.chosen) > 1
        else "on held-out rows"
    )
    spent, budget = written(float(table.spend[at, k]), 3), written(task.budgets[k], 3)
    spends = f"he policy spends {spent} {config.report.spend_unit}; the budget is {budget}."
    if proven.evidence.payback.unlimited:
        spends = f"Of the budgets, {task.labels[k]} is the best supported. There t{spends}"
    else:
        spends = f"T{spends}"
    return (
        spends,
        f"Against the best mix of arms for the same budget (the best that can be done without looking at features), it brings "
        f"{number(gain, decimals=decimals, sign=True)} {unit} per {head} (95 % interval {shown}): {verdict.value}.",
        _share_of_effect(proven.evidence.share),
        f"Evaluated {how}: {proof.logs.n:,} rows whose outcomes were not used to learn the policy that is judged on them.",
    )


def _line(table: Comparison, name: str, role: Any) -> report.CurveLine:
    p = table.index(name)
    band = {"low": table.low[p], "high": table.high[p]} if role == "policy" else {}
    return report.CurveLine(name=name, cost=tuple(table.budgets), value=tuple(table.value[p]), role=role, **band)


def _leaderboard(final: FittedCandidates, task: Task) -> report.Leaderboard:
    names = list(final.models)
    counted = final.choice.counted
    score, ends = np.full(len(names), np.nan), np.full((len(names), 3), np.nan)  # NaN where no budget is within reach
    if counted.any():
        score = final.leaderboard.value[: len(names)][:, counted].mean(1)
        ends = np.array([final.leaderboard.over_budgets(n, counted)[1:] for n in names])
    rows = [
        report.LeaderboardRow(name=n, score=float(score[k]), low=float(ends[k, 0]), high=float(ends[k, 1]),
                         events=float(ends[k, 2]), chosen=n == final.name, seconds=final.seconds[n],
                         note=_shrinkage(final.models[n]))
        for k, n in enumerate(names)
    ]  # fmt: skip
    rows.sort(key=lambda row: -row.score)
    return report.Leaderboard(
        rows=tuple(rows), score="value per unit on validation rows, mean over the budgets", reason=final.choice.reason
    )


def _shrinkage(model: Model) -> str:
    """Returns how much of its decision-focused part a model kept, and how that was chosen."""
    if getattr(model, "choice_", None) is None:
        return ""
    return f"shrinkage weight {float(getattr(model, 'shrinkage_weight_', 0.0)):g}, chosen by cross-fitting"


def _mix(title: str, labels: list[str], decided: NDArray[np.int32], logs: Logs) -> report.MixTable:
    shares = tuple(tuple(np.bincount(d, logs.weights, logs.n_treatments) / logs.total_weight) for d in decided)
    return report.MixTable(title=title, labels=tuple(labels), treatments=logs.treatments, shares=shares)


def _left_out(final: FittedCandidates) -> tuple[str, ...]:
    return tuple(f"{name} was left out: {why}" for name, why in final.left_out.items())


def _cautions(proof: Proof, evidence: Evidence, task: Task) -> tuple[str, ...]:
    sentences = [
        "Values are per unit and decision period of the trial. Another season or population may differ: confirm by experiment.",
        *evidence.table.notes,
    ]
    for budget, label, (_, low, high, events) in zip(task.budgets, task.labels, evidence.spend, strict=True):
        if low > budget and events >= LEAST_EVENTS:
            least, most, limit = (written(float(x), 3) for x in (low, high, budget))
            sentences.append(
                f"At {label} the realised spend is above the budget ({least} to {most} against {limit}): the spend "
                "curve was calibrated on too few rows. Allocate with a safety, or calibrate on more trial rows."
            )
    if len(set(proof.chosen)) > 1:
        sentences.append(
            f"Different models were chosen in different folds ({', '.join(proof.chosen)}): the choice is not stable."
        )
    return tuple(sentences)
