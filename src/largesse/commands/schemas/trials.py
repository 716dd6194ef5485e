"""The documents of `experiment` and `replay`."""

from __future__ import annotations

from pydantic import Field

from largesse.commands.schemas.shared import Finding, Number, Object

__all__ = ["Experiment", "Replay"]


class EffectOfArm(Object):
    method: str = Field(description="the estimator")
    arm: str = Field(description="the arm compared with control")
    control: Number = Field(description="mean, or ratio, of control")
    treatment: Number = Field(description="mean, or ratio, of the arm")
    effect: Number = Field(description="the arm less control")
    se: Number = Field(description="standard error of the effect")
    low: Number = Field(description="lower end of its interval")
    high: Number = Field(description="upper end")
    p_value: Number = Field(description="two-sided p-value")
    lift: Number = Field(description="effect as a share of control's mean")
    lift_low: Number = Field(description="lower end of its interval")
    lift_high: Number = Field(description="upper end")
    p_adjusted: Number = Field(description="p-value adjusted for the number of arms and metrics (Holm)")
    events: Number = Field(description="effective number of events behind the interval: of the arm with fewer")
    control_events: Number = Field(description="effective number of events in control")
    treatment_events: Number = Field(description="effective number of events in the arm")
    caution: str = Field(
        description="why the interval may cover less than it says; empty where nothing speaks against it"
    )
    skewness: Number = Field(description="skewness of one unit's contribution")


class InfluentialUnit(Object):
    row: int = Field(description="its position in the file, or that of the cluster")
    arm: str = Field(description="its arm")
    value: Number = Field(description="its value")
    mlrate: Number = Field(description="how far it moves the adjusted mean")
    state: Number = Field(description="how far it moves STATE")


class GuardOfArm(Object):
    arm: str = Field(description="the arm")
    verdict: str = Field(description="whether STATE may be read as the mean effect")
    sentence: str = Field(description="the verdict with its numbers")
    statistic: Number = Field(description="test statistic of a difference between STATE and the adjusted mean")
    p_value: Number = Field(description="its p-value, two-sided")
    difference: Number = Field(description="STATE less the adjusted mean")
    possible: Number = Field(description="the largest difference that the rows leave possible")
    allowed: Number = Field(description="the largest difference at which STATE may be read as the mean effect")
    difference_se: Number = Field(description="standard error of the difference")
    units: Number = Field(description="effective number of rows behind the difference")
    nu: Number = Field(description="degrees of freedom of STATE")
    scale: Number = Field(description="scale of STATE's distribution")
    status: str = Field(description="how the fit of STATE ended")
    passes: int = Field(description="passes of that fit over all rows")
    largest: Number = Field(description="share of the adjusted mean's variance that its most influential unit makes up")
    influential: list[InfluentialUnit] = Field(description="the units that move the adjusted mean most")


class TailsOfMetric(Object):
    tail_index: Number = Field(description="index of the upper tail; below 2 the variance may be infinite")
    tail_index_se: Number = Field(description="its standard error")
    used: int = Field(description="rows that it rests on")
    top_share: Number = Field(description="share of the sum that the largest 0.1 % of the rows make up")
    largest: Number = Field(description="the largest value")
    mode_share: Number = Field(description="share of the rows that have the most frequent value")
    sentence: str = Field(description="the same in words")


class MetricOfExperiment(Object):
    metric: str = Field(description="the metric")
    rows: dict[str, int] = Field(description="rows of each arm, control first")
    effects: list[EffectOfArm] = Field(description="the effect of every arm by every estimator")
    guards: list[GuardOfArm] = Field(description="whether STATE may be read as the mean effect, one for each arm")
    tails: TailsOfMetric = Field(description="the tails of the metric")
    explained: Number = Field(description="share of the variance that the prediction explains")


class ReturnOfArm(Object):
    arm: str = Field(description="the arm")
    method: str = Field(description="the estimator")
    value: Number = Field(description="incremental value in money, per unit")
    cost: Number = Field(description="incremental cost")
    net: Number = Field(description="incremental value less incremental cost")
    low: Number = Field(description="lower end of its interval")
    high: Number = Field(description="upper end")
    roi: Number = Field(description="incremental value for each unit of incremental cost")
    roi_low: Number = Field(description="lower end of its interval")
    roi_high: Number = Field(description="upper end")
    events: Number = Field(description="effective number of events behind the interval of the net effect")
    fixed_cost: bool = Field(description="whether the cost is the same in every row of each of the two arms")


class Experiment(Object):
    folder: str | None = Field(description="the folder of the page; null without --folder")
    ok: bool = Field(description="whether no check failed")
    level: Number = Field(description="level of the intervals")
    findings: list[Finding] = Field(description="the checks")
    metrics: list[MetricOfExperiment] = Field(description="one for each metric")
    returns: list[ReturnOfArm] = Field(description="net effect of every arm; none without --cost")


class ReplayedMethod(Object):
    method: str = Field(description="the estimator")
    false_positives: Number = Field(description="share of the draws without an effect in which the test is significant")
    low: Number = Field(description="lower end of its interval")
    high: Number = Field(description="upper end")
    sd: Number = Field(description="standard deviation of the estimates")
    se: Number = Field(description="root mean square of the standard errors")
    relative: Number = Field(description="variance of the estimates as a share of that of the difference in means")
    power: list[Number] = Field(description="share of the draws with an effect that are significant, one for each lift")
    skewness: Number = Field(description="skewness of one unit's contribution")


class SizeOfTest(Object):
    method: str = Field(description="the estimator")
    units: int = Field(description="units of all arms together")
    days: Number = Field(description="days until so many units have arrived; null without --per-day")
    half_width: Number = Field(description="half the width of the effect's interval at that size")


class PlannedTest(Object):
    metric: str = Field(description="the metric")
    unit: str = Field(description="the randomised unit")
    shares: dict[str, Number] = Field(description="share of each arm")
    effect: Number = Field(description="the effect to detect")
    power: Number = Field(description="probability of detecting it")
    alpha: Number = Field(description="level of the test over all looks")
    rows: list[SizeOfTest] = Field(description="the size by each estimator")
    looks: list[Number] = Field(description="share of the units at each interim look")
    z: list[Number] = Field(description="the z-value beyond which each look is significant")


class Replay(Object):
    units: int = Field(description="randomised units in each draw")
    draws: int = Field(description="number of simulated experiments")
    share: Number = Field(description="share of the units in the other arm")
    lifts: list[Number] = Field(description="effects to detect, as shares of the metric's mean")
    level: Number = Field(description="mean, or ratio, of the metric")
    warned: Number = Field(description="share of the draws without an effect in which the guard warns of STATE")
    rows: list[ReplayedMethod] = Field(description="one for each estimator")
    plan: PlannedTest | None = Field(description="the size of a test; null without --effect")
