"""CUPAC, MLRATE and STATE as metrics of tea-tasting, for an `Experiment` beside its own.

    import tea_tasting as tt
    from largesse.experiment import Cupac, Mlrate, State

    tt.Experiment(
        mean=tt.Mean("spend"),
        cuped=tt.Mean("spend", "spend_before"),
        cupac=Cupac("spend", features=("age", "spend_before")),
        state=State("spend", features=("age", "spend_before")),
    ).analyze(table)

Each metric makes its own predictions. To make them once, add a column by `cross_fit` and name it as `prediction`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import tea_tasting as tt
from tea_tasting.metrics import MetricBaseGranular

from largesse import _check
from largesse.experiment.data.columns import Columns, Metric, Rows, clusters_of, numbers_of, sample_of
from largesse.experiment.data.crossfit import CrossFit
from largesse.experiment.data.sample import Sample
from largesse.experiment.estimators.contrast import contrast
from largesse.experiment.estimators.effect import Effect
from largesse.experiment.estimators.guard import guard
from largesse.experiment.estimators.means import means

__all__ = ["Cupac", "Mlrate", "PredictedResult", "State"]


class PredictedResult(NamedTuple):
    """The fields of tea-tasting's `MeanResult`, and what the guard says.

    Attributes:
        control: Level of control.
        treatment: Level of the other arm.
        effect_size: Their difference.
        effect_size_ci_lower: Lower end of its interval.
        effect_size_ci_upper: Upper end.
        rel_effect_size: Effect over control's level.
        rel_effect_size_ci_lower: Lower end of its interval.
        rel_effect_size_ci_upper: Upper end.
        pvalue: Two-sided.
        statistic: Effect over its standard error.
        verdict: Of the guard for STATE, else empty.
    """

    control: float
    treatment: float
    effect_size: float
    effect_size_ci_lower: float
    effect_size_ci_upper: float
    rel_effect_size: float
    rel_effect_size_ci_lower: float
    rel_effect_size_ci_upper: float
    pvalue: float
    statistic: float
    verdict: str = ""

    @classmethod
    def of(cls, e: Effect, verdict: str = "") -> PredictedResult:
        """Returns an effect as tea-tasting shows it."""
        return cls(
            e.control, e.treatment, e.effect, e.low, e.high, e.lift, e.lift_low, e.lift_high, e.p_value,
            e.effect / e.se if e.se else float("nan"), verdict,
        )  # fmt: skip


class _Predicted(MetricBaseGranular[PredictedResult]):  # type: ignore[misc]  # tea-tasting shows no types
    """What the three share: columns in, one pair of arms out."""

    def __init__(
        self, value: str, denominator: str | None = None, *, features: Sequence[str] = (),
        prediction: str | None = None, cluster: str | None = None, weight: str | None = None,
        cross_fit: CrossFit | None = None, confidence_level: float | None = None,
    ) -> None:  # fmt: skip
        """Names the columns.

        Args:
            value: The metric, or the numerator of a ratio.
            denominator: Of a ratio metric.
            features: Columns known before the experiment.
            prediction: A column of predictions, in place of features.
            cluster: Ids of the randomised units, where several rows are of one.
            weight: Row weights.
            cross_fit: How predictions are made; its defaults if left out.
            confidence_level: Of the intervals; tea-tasting's configuration if left out.

        Raises:
            SchemaError: Features and a prediction, or a feature that is the metric.
        """
        self.value, self.denominator, self.features, self.prediction = value, denominator, features, prediction
        self.cluster, self.weight, self.cross_fit = cluster, weight, cross_fit or CrossFit()
        given = tt.get_config("confidence_level") if confidence_level is None else confidence_level
        self.confidence_level = _check.number("confidence_level", given, low=0.5, high=0.9999)
        self._columns = Columns(
            arm="variant", metrics=(Metric(value, denominator),), features=tuple(features), prediction=prediction,
            cluster=cluster, weight=weight,
        )  # fmt: skip

    @property
    def cols(self) -> tuple[str, ...]:
        """The columns that tea-tasting reads."""
        return tuple(name for name in self._columns.needed if name != self._columns.arm)

    def analyze_granular(self, control: pa.Table, treatment: pa.Table) -> PredictedResult:
        """Returns the result of one pair of arms."""
        table = pa.concat_tables([control, treatment])
        arm = np.repeat(np.array([0, 1], np.int32), [control.num_rows, treatment.num_rows])
        cluster = None if self.cluster is None else clusters_of(table, self.cluster)
        weight = None if self.weight is None else numbers_of(table, self.weight)
        rows = Rows(table, arm, ("control", "treatment"), cluster, weight)
        return self._of(sample_of(rows, self._columns, self._columns.metrics[0], self.cross_fit))

    @abstractmethod
    def _of(self, sample: Sample) -> PredictedResult:
        """Returns the result of a sample of two arms."""


class Cupac(_Predicted):
    """The mean adjusted by a cross-fitted prediction (Tang et al. 2020).

    >>> import tea_tasting as tt
    >>> data = tt.make_users_data(rng=42, covariates=True, return_type="pandas")
    >>> experiment = tt.Experiment(plain=tt.Mean("orders"), cupac=Cupac("orders", prediction="orders_covariate"))
    >>> found = experiment.analyze(data)
    >>> found["cupac"].pvalue < found["plain"].pvalue
    True
    """

    def _of(self, sample: Sample) -> PredictedResult:
        return PredictedResult.of(means(sample, 1, level=self.confidence_level)[-1])


class Mlrate(_Predicted):
    """The regression-adjusted mean (Guo et al. 2021)."""

    def _of(self, sample: Sample) -> PredictedResult:
        return PredictedResult.of(contrast(sample, 1, level=self.confidence_level).mlrate)


class State(_Predicted):
    """The Student-t regression, and whether it may be read as the mean effect (`PredictedResult.verdict`)."""

    def __init__(self, value: str, denominator: str | None = None, *, nu: float | None = 10.0, **columns: Any) -> None:
        """Names the columns; see `Cupac` for those not listed.

        Args:
            value: The metric, or the numerator of a ratio.
            denominator: Of a ratio metric.
            nu: Degrees of freedom; None estimates them.
            columns: As of `Cupac`.

        Raises:
            DataError: `nu` is out of its range.
        """
        super().__init__(value, denominator, **columns)
        self.nu = None if nu is None else _check.number("nu", nu, low=0.3, high=500)

    def _of(self, sample: Sample) -> PredictedResult:
        found = contrast(sample, 1, nu=self.nu, level=self.confidence_level)
        return PredictedResult.of(found.state, guard(found).verdict)
