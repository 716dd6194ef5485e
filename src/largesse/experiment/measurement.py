"""One experiment: every metric by every estimator, arm by arm, with the guard, the tails and the checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import tea_tasting as tt
from tea_tasting.experiment import ExperimentResult

from largesse import _check
from largesse.checks.soundness import Finding
from largesse.errors import DataError
from largesse.experiment.data.columns import Columns, rows_of, sample_of
from largesse.experiment.data.crossfit import CrossFit
from largesse.experiment.data.sample import Sample
from largesse.experiment.data.soundness import soundness
from largesse.experiment.estimators.contrast import Contrast, contrast
from largesse.experiment.estimators.effect import METHODS, Effect
from largesse.experiment.estimators.guard import RELEVANT, Agreement, Guard, guard
from largesse.experiment.estimators.means import means
from largesse.experiment.estimators.tails import Tails, tails
from largesse.experiment.estimators.totals import Totals, totals, unit_totals
from largesse.result import Tabular, columns_of, plain

__all__ = ["Measured", "Measurement", "Settings", "measure", "measure_sample"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How an experiment is measured.

    Attributes:
        nu: Degrees of freedom of the Student-t, in [0.3, 500]; None estimates them.
        level: Coverage of the intervals.
        relevant: See `guard`.
        cross_fit: How predictions are made.

    Raises:
        DataError: A number is out of its range.
    """

    nu: float | None = 10.0
    level: float = 0.95
    relevant: float = RELEVANT
    cross_fit: CrossFit = field(default_factory=CrossFit)

    def __post_init__(self) -> None:
        if self.nu is not None:
            _check.number("nu", self.nu, low=0.3, high=500)
        _check.number("level", self.level, low=0.5, high=0.9999)
        _check.number("relevant", self.relevant, low=0, high=10)


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Measured(Tabular):
    """One metric.

    Attributes:
        metric: Its name.
        arms: Names of the arms, control first (M,).
        rows: Rows by arm (M,).
        effects: Every arm by every estimator, arm by arm.
        contrasts: STATE and the adjusted mean of each arm, with what lies behind them (M - 1,).
        guards: Whether they agree (M - 1,).
        tails: How heavy the tails are.
        explained: Share of the variance that the prediction explains, NaN where there is none.
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
        return columns_of(self.effects, Effect._fields)

    def to_dict(self) -> dict[str, Any]:
        """Returns all numbers as plain JSON values; what lies behind STATE stands with its guard."""
        behind = ("difference", "difference_se", "units", "nu", "scale", "status", "passes", "largest", "influential")
        pairs = zip(self.guards, self.contrasts, strict=True)
        return plain(
            {
                "metric": self.metric, "rows": dict(zip(self.arms, self.rows, strict=True)), "effects": self.effects,
                "guards": [
                    {"arm": c.arm, **g.to_dict(), **{name: getattr(c, name) for name in behind}} for g, c in pairs
                ],
                "tails": self.tails, "explained": self.explained,
            }
        )  # fmt: skip

    def effect(self, method: str, arm: str | None = None) -> Effect:
        """Returns an arm's effect by an estimator; of the first arm beside control where none is named.

        Raises:
            DataError: There is no such estimator or arm.
        """
        arm = self.arms[1] if arm is None else _check.choice("arm", arm, self.arms[1:])
        found = {effect.method: effect for effect in self.effects if effect.arm == arm}
        return found[_check.choice("method", method, tuple(found))]

    def reading(self, arm: str | None = None) -> Effect:
        """Returns the effect to read: STATE where it agrees with the mean, else CUPAC, CUPED or the plain difference.

        Raises:
            DataError: There is no such arm.
        """
        arm = self.arms[1] if arm is None else _check.choice("arm", arm, self.arms[1:])
        if self.guards[self.arms.index(arm) - 1].verdict is Agreement.AGREE:
            return self.effect("STATE", arm)
        found = {effect.method: effect for effect in self.effects if effect.arm == arm}
        return next(found[method] for method in ("CUPAC", "CUPED", "difference in means") if method in found)


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Measurement(Tabular):
    """One experiment.

    Attributes:
        metrics: Each metric.
        findings: What the checks found.
        level: Coverage of the intervals.
    """

    metrics: tuple[Measured, ...]
    findings: tuple[Finding, ...]
    level: float

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return all(finding.ok for finding in self.findings)

    def __getitem__(self, name: str) -> Measured:
        """Returns a metric by its name, or refuses."""
        found = {one.metric: one for one in self.metrics}
        return found[_check.choice("metric", name, tuple(found))]

    def _columns(self) -> dict[str, list[Any]]:
        every = [(one.metric, effect) for one in self.metrics for effect in one.effects]
        return {"metric": [metric for metric, _ in every], **columns_of([e for _, e in every], Effect._fields)}

    def to_dict(self) -> dict[str, Any]:
        """Returns all numbers as plain JSON values."""
        return plain({"level": self.level, "findings": [f.row for f in self.findings], "metrics": self.metrics})


def measure(
    table: Any, columns: Columns, settings: Settings = Settings(), *, planned: Mapping[str, float] | None = None
) -> Measurement:
    """Returns what an experiment has brought: every metric by every estimator, arm by arm.

    Args:
        table: A file (Parquet, CSV, Feather) or a dataframe, one row per unit, or several with a cluster.
        columns: Which column is what.
        settings: How it is measured.
        planned: Share of each arm by label, for the sample-ratio test; equal where none are given.

    Raises:
        DataError: A column breaks a rule: one arm, an empty arm, a missing cell, a constant metric, a unit twice.
        SchemaError: A column is missing.

    >>> import numpy as np
    >>> from largesse.experiment import Metric
    >>> rng = np.random.default_rng(0)
    >>> before, group = rng.normal(size=2000), rng.choice(["control", "new"], 2000)
    >>> data = {"group": group, "before": before, "spend": 10 + before + 0.3 * (group == "new") + rng.normal(size=2000)}
    >>> found = measure(data, Columns(arm="group", metrics=(Metric("spend", covariate="before"),)))
    >>> [effect.method for effect in found["spend"].effects], found["spend"].guards[0].verdict.value
    (['difference in means', 'CUPED', 'STATE'], 'agree')
    """
    rows = rows_of(table, columns)
    findings = soundness(rows, columns, planned=planned, seed=settings.cross_fit.seed)
    measured = [
        measure_sample(sample_of(rows, columns, metric, settings.cross_fit), settings, name=metric.name)
        for metric in columns.metrics
    ]
    return Measurement(metrics=_together(measured), findings=findings, level=settings.level)


def measure_sample(sample: Sample, settings: Settings = Settings(), *, name: str = "value") -> Measured:
    """Returns what one metric has brought, of rows whose arms and predictions are known.

    Raises:
        DataError: The metric does not vary in control and one of the arms.
    """
    try:
        return _measured(sample, settings, name)
    except DataError as error:
        if error.field != "value":
            raise
        raise error.about(name) from error


def _measured(sample: Sample, settings: Settings, name: str) -> Measured:
    by_row, by_unit = totals(sample), unit_totals(sample)
    others = range(1, len(sample.arms))
    pairs = [contrast(sample, k, nu=settings.nu, level=settings.level, sums=by_row) for k in others]
    effects: list[Effect] = []
    for k, pair in zip(others, pairs, strict=True):
        effects += means(sample, k, level=settings.level, sums=by_unit)
        effects += [pair.mlrate] * (sample.prediction is not None) + [pair.state]
    g, everyone = "prediction", by_row.of(*range(len(sample.arms)))
    return Measured(
        metric=name, arms=sample.arms, rows=tuple(int(n) for n in by_row.rows), effects=tuple(effects),
        contrasts=tuple(pairs), guards=tuple(guard(pair, relevant=settings.relevant) for pair in pairs),
        tails=tails(sample.value), explained=_explained(everyone, g) if g in by_row.names else float("nan"),
    )  # fmt: skip


def _explained(sums: Totals, g: str) -> float:
    """Squared correlation of the linearised metric with the prediction, over all rows."""
    y, z = "value", "denominator"
    ratio = sums.mean(0, y) / sums.mean(0, z)
    own = sums.spread(0, y, y) - 2 * ratio * sums.spread(0, y, z) + ratio**2 * sums.spread(0, z, z)
    other, both = sums.spread(0, g, g), sums.spread(0, y, g) - ratio * sums.spread(0, z, g)
    return float(both**2 / (own * other)) if own > 0 and other > 0 else 0.0


class _P(NamedTuple):
    """What tea-tasting's corrections read."""

    pvalue: float


def _together(measured: list[Measured]) -> tuple[Measured, ...]:
    """Fills in p-values that allow for the number of metrics and arms (Holm), each estimator for itself."""
    adjusted: dict[tuple[str, str, str], float] = {}
    for method in METHODS:
        found = {
            arm: ExperimentResult(
                {m.metric: _P(e.p_value) for m in measured for e in m.effects if (e.method, e.arm) == (method, arm)}
            )
            for arm in measured[0].arms[1:]
        }
        if not any(found.values()):
            continue
        holm = tt.adjust_fwer(found, arbitrary_dependence=True, method="bonferroni")
        for row in holm.to_dicts():
            adjusted[str(row["metric"]), str(row["comparison"]), method] = float(row["pvalue_adj"])
    return tuple(replace(one, effects=_filled(one, adjusted)) for one in measured)


def _filled(one: Measured, adjusted: dict[tuple[str, str, str], float]) -> tuple[Effect, ...]:
    return tuple(e._replace(p_adjusted=adjusted[one.metric, e.arm, e.method]) for e in one.effects)
