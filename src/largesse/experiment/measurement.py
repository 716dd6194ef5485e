"""Measures an experiment: every metric by every estimator and arm, with the guard, tail diagnostics and checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import tea_tasting as tt
from tea_tasting.experiment import ExperimentResult

from largesse import _check
from largesse._arguments import checked
from largesse.checks.soundness import Finding, Grade
from largesse.errors import DataError, UndefinedMetric
from largesse.experiment.data.columns import Columns, cost_of, rows_of, sample_of
from largesse.experiment.data.crossfit import CrossFit
from largesse.experiment.data.sample import Sample
from largesse.experiment.data.soundness import soundness
from largesse.experiment.estimators.contrast import Contrast, contrast, spread_of
from largesse.experiment.estimators.effect import METHODS, SHOWN, Effect
from largesse.experiment.estimators.guard import Agreement, Guard, guard
from largesse.experiment.estimators.means import means
from largesse.experiment.estimators.tails import Tails, tails
from largesse.experiment.estimators.totals import Totals, totals, unit_totals
from largesse.experiment.returns import ArmReturn, returns
from largesse.result import Tabular, columns_of, plain

__all__ = ["Measured", "Measurement", "Settings", "measure", "measure_sample"]


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of the estimators.

    Attributes:
        nu: Degrees of freedom of the Student-t, in [0.3, 500]; None estimates them.
        level: Coverage of the intervals.
        cross_fit: How predictions are made.
        value_per_unit: Money that one unit of the first metric brings, for `Columns.cost`.

    Raises:
        DataError: A number is out of its range.
    """

    nu: float | None = 10.0
    level: float = 0.95
    cross_fit: CrossFit = field(default_factory=CrossFit)
    value_per_unit: float = 1.0

    def __post_init__(self) -> None:
        if self.nu is not None:
            _check.number("nu", self.nu, low=0.3, high=500)
        _check.number("level", self.level, low=0.5, high=0.9999)
        _check.number("value_per_unit", self.value_per_unit, low=1e-12, high=_check.LARGEST)


@checked
@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Measured(Tabular):
    """One metric of an experiment.

    Attributes:
        metric: Name of the metric.
        arms: Labels of the arms, control first (M,).
        rows: Rows per arm (M,).
        effects: The effect of every arm by every estimator, arm by arm.
        contrasts: STATE and the adjusted mean of each arm, with their diagnostics (M - 1,); an arm whose metric does not vary,
            in it and in control, is left out here and in `effects`.
        guards: Whether STATE may be read as the mean effect, in the same order.
        tails: Tail diagnostics.
        explained: Share of the variance that the prediction explains, NaN without a prediction.
    """

    metric: str
    arms: tuple[str, ...]
    rows: tuple[int, ...]
    effects: tuple[Effect, ...]
    contrasts: tuple[Contrast, ...]
    guards: tuple[Guard, ...]
    tails: Tails
    explained: float

    def _columns(self) -> dict[str, list[Any]]:
        return columns_of(self.effects, SHOWN)

    def to_dict(self) -> dict[str, Any]:
        """Returns all numbers as plain JSON values, the diagnostics of STATE together with its guard."""
        fields = ("difference", "difference_se", "units", "nu", "scale", "status", "passes", "largest", "influential")
        pairs = zip(self.guards, self.contrasts, strict=True)
        return plain(
            {
                "metric": self.metric, "rows": dict(zip(self.arms, self.rows, strict=True)), "effects": self.effects,
                "guards": [
                    {"arm": c.arm, **g.to_dict(), **{name: getattr(c, name) for name in fields}} for g, c in pairs
                ],
                "tails": self.tails, "explained": self.explained,
            }
        )  # fmt: skip

    @property
    def compared(self) -> tuple[str, ...]:
        """The arms whose effects are known."""
        return tuple(contrast.arm for contrast in self.contrasts)

    def effect(self, method: str, arm: str | None = None) -> Effect:
        """Returns the effect of an arm by an estimator; by default of the first arm after control.

        Raises:
            DataError: There is no such estimator or arm.
        """
        effects = self._by_method(arm)
        return effects[_check.choice("method", method, tuple(effects))]

    def reading(self, arm: str | None = None) -> Effect:
        """Returns the effect to report: CUPAC, CUPED or the difference in means; STATE only where it is shown to be equal.

        Raises:
            DataError: There is no such arm.
        """
        effects = self._by_method(arm)
        verdict = self.guards[self.compared.index(effects["STATE"].arm)].verdict
        order = ("STATE",) if verdict is Agreement.AGREE else ("CUPAC", "CUPED", "difference in means")
        return next(effects[method] for method in order if method in effects)

    def _by_method(self, arm: str | None) -> dict[str, Effect]:
        arm = self.compared[0] if arm is None else _check.choice("arm", arm, self.compared)
        return {effect.method: effect for effect in self.effects if effect.arm == arm}


@checked
@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Measurement(Tabular):
    """The result of an experiment.

    Attributes:
        metrics: The results by metric.
        findings: The results of the checks.
        level: Coverage of the intervals.
        returns: Net effect and return of every arm, where there is a column of costs.
    """

    _pictured: ClassVar[bool] = True
    metrics: tuple[Measured, ...]
    findings: tuple[Finding, ...]
    level: float
    returns: tuple[ArmReturn, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return all(finding.ok for finding in self.findings)

    def __getitem__(self, name: str) -> Measured:
        """Returns the result of a metric; refuses an unknown name."""
        by_name = {metric.metric: metric for metric in self.metrics}
        return by_name[_check.choice("metric", name, tuple(by_name))]

    def _columns(self) -> dict[str, list[Any]]:
        names = [metric.metric for metric in self.metrics for _ in metric.effects]
        return {"metric": names, **columns_of([e for metric in self.metrics for e in metric.effects], SHOWN)}

    def to_dict(self) -> dict[str, Any]:
        """Returns all numbers as plain JSON values."""
        return plain({"level": self.level, "findings": [f.row for f in self.findings], "metrics": self.metrics,
                      "returns": self.returns})  # fmt: skip


@checked
def measure(
    table: Any, columns: Columns, settings: Settings = Settings(), *, planned: Mapping[str, float] | None = None
) -> Measurement:
    """Returns the effect of every arm on every metric by every estimator.

    Args:
        table: A file (Parquet, CSV, Feather) or a dataframe, one row per unit, or several with a cluster.
        columns: The role of each column.
        settings: Settings of the estimators.
        planned: Share of each arm by label, for the sample-ratio test; None for equal shares.

    Raises:
        DataError: A column breaks a rule: one arm, an empty arm, a missing cell, two rows of a unit.
        UndefinedMetric: No metric varies. One that does not is left out where there are others; a finding says so.
        SchemaError: A column is missing.

    >>> import numpy as np
    >>> from largesse.experiment import Metric
    >>> rng = np.random.default_rng(0)
    >>> before, group = rng.normal(size=2000), rng.choice(["control", "new"], 2000)
    >>> data = {"group": group, "before": before, "spend": 10 + before + 0.3 * (group == "new") + rng.normal(size=2000)}
    >>> result = measure(data, Columns(arm="group", metrics=(Metric("spend", covariate="before"),)))
    >>> [effect.method for effect in result["spend"].effects], result["spend"].guards[0].verdict.value
    (['difference in means', 'CUPED', 'STATE'], 'agree')
    """
    rows = rows_of(table, columns)
    findings = soundness(rows, columns, planned=planned, seed=settings.cross_fit.seed)
    metrics: list[Measured] = []
    left_out: list[UndefinedMetric] = []
    back: tuple[ArmReturn, ...] = ()
    for metric in columns.metrics:
        try:
            sample = sample_of(rows, columns, metric, settings.cross_fit)
            metrics.append(measure_sample(sample, settings, name=metric.name))
            if metric is columns.metrics[0] and columns.cost is not None:
                cost, brings = cost_of(rows, columns), settings.value_per_unit
                back = returns(sample, cost, value_per_unit=brings, level=settings.level)
        except UndefinedMetric as error:
            left_out.append(error)
    if not metrics:
        raise left_out[0]
    notes = [str(error) for error in left_out]
    notes += [
        f"{one.metric}: no effect of {arm!r}, since every row of it and of {one.arms[0]!r} has the same value."
        for one in metrics for arm in one.arms[1:] if arm not in one.compared
    ]  # fmt: skip
    findings += tuple(Finding(name="nothing to compare", status=Grade.WARN, sentence=note) for note in notes)
    return Measurement(metrics=_with_adjusted_p(metrics), findings=findings, level=settings.level, returns=back)


@checked
def measure_sample(sample: Sample, settings: Settings = Settings(), *, name: str = "value") -> Measured:
    """Returns the effect of every arm on one metric, from checked rows; the p-values are not adjusted.

    Raises:
        DataError: The metric does not vary in control and one of the arms.
    """
    by_row, by_unit = totals(sample), unit_totals(sample)
    able = [k for k in range(1, len(sample.arms)) if spread_of(by_row, k)]
    others = able or [1]  # refused if there is nothing to compare in any arm
    try:
        pairs = [contrast(sample, k, nu=settings.nu, level=settings.level, sums=by_row) for k in others]
    except DataError as error:
        if error.field != "value":
            raise
        raise error.about(name) from error
    effects: list[Effect] = []
    diagnostics = tails(sample.value)
    for k, pair in zip(others, pairs, strict=True):
        effects += means(sample, k, level=settings.level, sums=by_unit)
        effects += [pair.mlrate] * (sample.prediction is not None) + [pair.state]
    return Measured(
        metric=name, arms=sample.arms, rows=tuple(int(n) for n in by_row.rows), effects=tuple(effects),
        contrasts=tuple(pairs), guards=tuple(guard(pair, spike=diagnostics.mode_share) for pair in pairs), tails=diagnostics,
        explained=_explained(by_row.of(*range(len(sample.arms)))),
    )  # fmt: skip


def _explained(sums: Totals) -> float:
    """Returns the squared correlation of the linearised metric with the prediction over all rows, NaN without one."""
    y, z, g = "value", "denominator", "prediction"
    if g not in sums.names:
        return float("nan")
    ratio = sums.mean(0, y) / sums.mean(0, z)
    variance = sums.linearised(0, ratio)
    of_prediction, covariance = sums.spread(0, g, g), sums.spread(0, y, g) - ratio * sums.spread(0, z, g)
    return float(covariance**2 / (variance * of_prediction)) if variance > 0 and of_prediction > 0 else 0.0


class _PValue(NamedTuple):
    """A metric's result in the form that tea-tasting's corrections read."""

    pvalue: float


def _with_adjusted_p(metrics: list[Measured]) -> tuple[Measured, ...]:
    """Returns the metrics with p-values adjusted for the number of metrics and arms (Holm), separately by estimator."""
    adjusted: dict[tuple[str, str, str], float] = {}
    for method in METHODS:
        by_arm = {
            arm: ExperimentResult(
                {m.metric: _PValue(e.p_value) for m in metrics for e in m.effects if (e.method, e.arm) == (method, arm)}
            )
            for arm in metrics[0].arms[1:]
        }
        by_arm = {arm: result for arm, result in by_arm.items() if result}
        if not by_arm:
            continue
        holm = tt.adjust_fwer(by_arm, arbitrary_dependence=True, method="bonferroni")
        for row in holm.to_dicts():
            adjusted[str(row["metric"]), str(row["comparison"]), method] = float(row["pvalue_adj"])
    return tuple(
        replace(m, effects=tuple(e._replace(p_adjusted=adjusted[m.metric, e.arm, e.method]) for e in m.effects))
        for m in metrics
    )
