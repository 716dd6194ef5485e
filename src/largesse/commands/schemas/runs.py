"""The documents of `fit`, `tune` and `demo`."""

from __future__ import annotations

from pydantic import Field

from largesse.commands.schemas.shared import Finding, Number, Object, PolicyAtBudget, Power, Return, Returns, Understood

__all__ = ["Demo", "Fit", "Metrics", "Tune"]


class ShareOfEffect(Object):
    policy: str = Field(description="the policy")
    arm: str = Field(description="the treatment for everyone that it is compared with")
    cost: Number = Field(description="spend of the policy as a share of that of the treatment for everyone")
    effect: Number = Field(description="effect of the policy as a share of that of the treatment for everyone")
    low: Number = Field(description="lower end of its interval")
    high: Number = Field(description="upper end")
    level: Number = Field(description="level of the interval")
    events: Number = Field(description="effective number of events behind it")


class ArmForEveryone(Object):
    name: str = Field(description="the treatment")
    value: Number = Field(description="value per unit if everyone got it")
    value_low: Number = Field(description="lower end of its interval")
    value_high: Number = Field(description="upper end")
    cost: Number = Field(description="cost per unit")
    cost_low: Number = Field(description="lower end of its interval")
    cost_high: Number = Field(description="upper end")
    events: Number = Field(description="effective number of events behind the value")


class Segment(Object):
    name: str = Field(description="the segment")
    share: Number = Field(description="share of all units")
    given: list[Number] = Field(description="share of each treatment in it, control first")
    value: Number = Field(description="value per unit, less that of control")
    value_low: Number = Field(description="lower end of its interval")
    value_high: Number = Field(description="upper end")
    spend: Number = Field(description="spend per unit, less that of control")
    net: Number = Field(description="value in money less spend")
    net_low: Number = Field(description="lower end of its interval")
    net_high: Number = Field(description="upper end")
    events: Number = Field(description="effective number of events behind it")


class OneForEveryone(Return):
    treatment: str = Field(description="that treatment")


class WithoutABudget(Segment):
    verdict: str | None = Field(description="whether it pays; null where it is not judged")
    untargeted: OneForEveryone | None = Field(
        description="the best single treatment for everyone; null where that is control"
    )
    leads: bool = Field(description="whether the report leads with it")


class SegmentTable(Object):
    title: str = Field(description="what the segments are")
    rows: list[Segment] = Field(description="the segments")
    treatments: list[str] = Field(description="labels of the treatments, control first")
    known: bool = Field(description="whether the value of a unit of value is known in money")
    note: str = Field(description="how the segments were made")


class Lead(Object):
    budget: Number = Field(description="budget per unit that the report leads with")
    verdict: str | None = Field(description="the verdict on it; null where the value of a unit is not known")


class Turning(Object):
    budget: Number = Field(
        description="up to it the campaign brings back what it costs; null where it does at every budget"
    )
    low: Number = Field(description="the largest budget that is shown to pay; null where that is the last one")
    high: Number = Field(
        description="above it, the campaign is shown to lose; null where it is shown to lose at no budget"
    )
    best: Number = Field(description="the budget with the highest net value")
    best_low: Number = Field(description="the smallest budget whose net value is not shown to be lower")
    best_high: Number = Field(description="the largest such budget")


class SpendOfPolicy(Object):
    budget: Number = Field(description="budget per unit")
    planned_by_model: Number = Field(description="spend that the model predicts")
    planned_by_curve: Number = Field(description="spend by the calibrated spend curve")
    realised: Number = Field(description="realised spend")
    low: Number = Field(description="lower end of its interval")
    high: Number = Field(description="upper end")
    events: Number = Field(description="effective number of events behind it")


class TrustInTheLog(Object):
    treatment: str = Field(description="the treatment")
    rows: int = Field(description="rows of the log with it")
    effective_rows: Number = Field(description="their effective sample size")
    raw_bias: Number = Field(description="mean value in the log less that in the trial")
    raw_bias_low: Number = Field(description="lower end of its interval")
    raw_bias_high: Number = Field(description="upper end")
    residual_bias: Number = Field(description="the bias that is left after adjustment for the features")
    residual_bias_low: Number = Field(description="lower end of its interval")
    residual_bias_high: Number = Field(description="upper end")
    gate: Number = Field(description="weight of pseudo-labels in a bi-level model, mean over the units")
    gate_low: Number = Field(description="5 % of the units are below")
    gate_high: Number = Field(description="5 % of the units are above")


class TraitOfCluster(Object):
    feature: str = Field(description="the feature")
    inside: Number = Field(description="its mean in the cluster")
    everywhere: Number = Field(description="its mean over all units")
    difference: Number = Field(description="their difference, in standard deviations of all units")
    share: bool = Field(description="whether the feature is yes or no")


class ClusterOfUnits(Object):
    name: str = Field(description="number of the cluster")
    share: Number = Field(description="share of the units")
    rows: int = Field(description="its rows of the trial")
    traits: list[TraitOfCluster] = Field(description="the features in which its units differ most from all units")
    value: list[list[Number]] = Field(description="value under each treatment, with the ends of its interval")
    cost: list[list[Number]] = Field(description="cost under each treatment, likewise")


class ClustersOfModel(Object):
    cards: list[ClusterOfUnits] = Field(description="the largest clusters")
    treatments: list[str] = Field(description="labels of the treatments, control first")
    total: int = Field(description="number of clusters")
    model: str = Field(description="the candidate that they belong to")
    chosen: bool = Field(description="whether that candidate was chosen")


class Folds(Object):
    evaluated: int = Field(description="folds of the proof that were evaluated")
    planned: int = Field(description="folds that were planned")


class RulesOfProof(Object):
    file: str = Field(description="the file of the rules")
    units: int | None = Field(description="units that limits in totals are for; null where no rule has such a limit")


class Metrics(Object):
    headline: str = Field(description="the first sentence of the report")
    chosen: str = Field(description="the chosen candidate")
    chosen_by_fold: list[str] = Field(description="the candidate that each fold of the proof chose")
    reason: str = Field(description="why it was chosen")
    budgets_per_head: list[Number] = Field(description="the budgets per unit")
    effect_share: ShareOfEffect = Field(
        description="the share of the effect of one treatment for everyone that the policy keeps"
    )
    rows: list[PolicyAtBudget] = Field(
        description="one for each policy and budget; differences from the best mix of arms"
    )
    arms: list[ArmForEveryone] = Field(description="one treatment for everyone")
    returns: Returns = Field(description="against giving nobody anything")
    verdicts: list[str] = Field(description="one for each budget; none where the value of a unit is not known")
    without_a_budget: WithoutABudget | None = Field(
        description="what giving everybody what pays brings; null where not known"
    )
    lead: Lead = Field(description="the budget that the report leads with")
    break_even: Turning | None = Field(
        description="where the campaign stops paying; null where the value of a unit is not known"
    )
    spend: list[SpendOfPolicy] = Field(description="planned and realised spend, one for each budget")
    seconds_to_learn: dict[str, Number] = Field(description="seconds that each candidate took to train")
    trust_in_the_log: list[TrustInTheLog] = Field(description="one for each treatment; none without past campaign data")
    clusters: ClustersOfModel | None = Field(description="the clusters of a candidate; null where none has clusters")
    segments: list[SegmentTable] = Field(description="the segments that a tree proposes")
    segments_by_column: list[SegmentTable] = Field(description="the segments of each column")
    findings: list[Finding] = Field(description="the checks")
    versions: dict[str, str] = Field(description="versions of the packages")
    seed: int = Field(description="the seed")
    power: Power = Field(description="the smallest gains that the trial can show")
    understood: Understood = Field(description="what was understood")
    rules: RulesOfProof | None = Field(
        description="the rules that the policy obeys in the proof; null where there are none"
    )
    folds: Folds = Field(description="the folds of the proof")


class Fit(Metrics):
    folder: str = Field(description="the run folder")


Setting = float | int | str | list[int]


class TriedSettings(Object):
    number: int = Field(description="number of the trial")
    model: str = Field(description="the model")
    settings: dict[str, Setting] = Field(description="the settings that differ from the default's")
    default: bool = Field(description="whether these are the untouched settings")
    distance: Number = Field(description="mean distance of the settings from the default's, in widths of their ranges")
    value: Number = Field(description="score: value per unit, mean over the budgets; null without a score")
    standard_error: Number = Field(description="standard error of its difference from the best")
    state: str = Field(description="complete, failed, or out of reach")
    message: str = Field(description="why there is no score")
    seconds: Number = Field(description="seconds that it took")


class ChosenSettings(Object):
    trial: int = Field(description="number of the chosen trial")
    model: str = Field(description="its model")
    settings: dict[str, Setting] = Field(description="its settings")
    default: bool = Field(description="whether these are the untouched settings")


class RowsOfTuning(Object):
    scoring: int = Field(description="validation rows")
    proof: int = Field(description="held-out rows of the proof")
    folds: int = Field(description="folds of the validation")


class ProofOfTuning(Object):
    reference: str = Field(description="the policy with which the others are compared")
    difference: Number = Field(description="chosen less untouched settings, mean over the budgets")
    low: Number = Field(description="lower end of its interval")
    high: Number = Field(description="upper end")
    verdict: str = Field(description="what that shows")
    rows: list[PolicyAtBudget] = Field(description="one for each policy and budget")


class Tune(Object):
    folder: str = Field(description="the folder with tuned.toml")
    chosen: ChosenSettings = Field(description="the chosen trial")
    sentence: str = Field(description="the choice and its reason")
    caution: str = Field(description="what chance alone would show")
    proof_sentence: str = Field(description="the chosen settings against the untouched ones")
    action: str = Field(description="the next step")
    stopped: str = Field(description="why the search ended early; empty where it did not")
    rule: str = Field(description="the rule of the choice")
    standard_errors: Number = Field(description="differences of so many standard errors count as noise")
    best: int = Field(description="number of the trial with the highest score")
    untouched: int = Field(description="number of the default that would be used without tuning")
    lead_of_best: Number = Field(description="score of the best trial less that of the simplest")
    lead_by_luck: Number = Field(description="mean of that difference if all trials were equally good")
    budgets_per_head: list[Number] = Field(description="the budgets per unit")
    rows: RowsOfTuning = Field(description="numbers of rows")
    trials: list[TriedSettings] = Field(description="the trials in the order tried")
    proof: ProofOfTuning = Field(description="the comparison on held-out rows, which no trial used")
    seed: int = Field(description="the seed")
    versions: dict[str, str] = Field(description="versions of the packages")


class TruthOfPolicy(Object):
    kind: str = Field(
        description="the policy, the best untargeted one, models of the trial or the log only, or the optimum"
    )
    net: Number = Field(description="its true net value per unit at the same true spend")
    estimate: Number = Field(description="the estimate of the report")
    low: Number = Field(description="lower end of its interval")
    high: Number = Field(description="upper end")
    promise: Number = Field(description="the net value that a model predicts for its own allocation")
    covered: bool | None = Field(description="whether the interval holds the truth")


class Truth(Object):
    budget: Number = Field(description="the budget per unit that the report leads with")
    units: int = Field(description="new units of the simulated world")
    rows: list[TruthOfPolicy] = Field(description="one for each policy")


class Demo(Object):
    folder: str = Field(description="the folder of the page")
    headline: str = Field(description="the first sentence of the page")
    coupons: Metrics = Field(description="the simulated campaign: what `fit` prints, without `folder`")
    envelope: Truth = Field(description="the truth about it")
    cash: Metrics | None = Field(description="the real trial, likewise; null where its package is not installed")
