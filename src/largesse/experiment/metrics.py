"""CUPAC, MLRATE and STATE as metrics of tea-tasting, for use in its `Experiment`.

    import tea_tasting as tt
    from largesse.experiment import Cupac, Mlrate, State

    tt.Experiment(
        mean=tt.Mean("spend"),
        cuped=tt.Mean("spend", "spend_before"),
        cupac=Cupac("spend", features=("age", "spend_before")),
        state=State("spend", features=("age", "spend_before")),
    ).analyze(table)

Each metric makes its own out-of-fold predictions. To make them once, add a column with `cross_fit` and pass its name as
`prediction`.
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
from largesse._arguments import checked
from largesse.experiment.data.columns import Columns, Metric, Rows, clusters_and_weights, sample_of
from largesse.experiment.data.crossfit import CrossFit
from largesse.experiment.data.sample import Sample
from largesse.experiment.estimators.contrast import contrast
from largesse.experiment.estimators.effect import Effect
from largesse.experiment.estimators.guard import guard
from largesse.experiment.estimators.means import means
from largesse.experiment.estimators.tails import mode_share

__all__ = ["Cupac", "Mlrate", "PredictedResult", "State"]


class PredictedResult(NamedTuple):
    """The fields of tea-tasting's `MeanResult`, and the guard's verdict.

    Attributes:
        control: Mean (or ratio) of control.
        treatment: Mean of the other arm.
        effect_size: Their difference.
        effect_size_ci_lower: Lower end of the difference's interval.
        effect_size_ci_upper: Upper end.
        rel_effect_size: Effect divided by control's mean.
        rel_effect_size_ci_lower: Lower end of the relative effect's interval.
        rel_effect_size_ci_upper: Upper end.
        pvalue: Two-sided.
        statistic: Effect divided by its standard error.
        verdict: The guard's verdict for STATE, else empty.
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
        """Returns an effect with the field names of tea-tasting."""
        return cls(
            e.control, e.treatment, e.effect, e.low, e.high, e.lift, e.lift_low, e.lift_high, e.p_value,
            e.effect / e.se if e.se else float("nan"), verdict,
        )  # fmt: skip


class _Predicted(MetricBaseGranular[PredictedResult]):  # type: ignore[misc]  # tea-tasting shows no types
    """Base of the three metrics: builds the sample of one pair of arms from the columns."""

    def __init__(
        self, value: str, denominator: str | None = None, *, features: Sequence[str] = (),
        prediction: str | None = None, cluster: str | None = None, weight: str | None = None,
        cross_fit: CrossFit | None = None, confidence_level: float | None = None,
    ) -> None:  # fmt: skip
        """Names the columns.

        Args:
            value: Column of the metric, or of a ratio's numerator.
            denominator: Column of a ratio's denominator.
            features: Columns known before the experiment.
            prediction: Column of predictions, instead of features.
            cluster: Column of the randomised units' ids, where a unit has several rows.
            weight: Column of row weights.
            cross_fit: How predictions are made; None for the defaults.
            confidence_level: Coverage of the intervals; None for tea-tasting's configuration.

        Raises:
            SchemaError: Both features and a prediction are given, or a feature is the metric.
        """
        self.value, self.denominator, self.features, self.prediction = value, denominator, features, prediction
        self.cluster, self.weight, self.cross_fit = cluster, weight, cross_fit or CrossFit()
        level = tt.get_config("confidence_level") if confidence_level is None else confidence_level
        self.confidence_level = _check.number("confidence_level", level, low=0.5, high=0.9999)
        self._columns = Columns(
            arm="variant", metrics=(Metric(value, denominator),), features=tuple(features), prediction=prediction,
            cluster=cluster, weight=weight,
        )  # fmt: skip

    @property
    def cols(self) -> tuple[str, ...]:
        """The columns that tea-tasting must pass."""
        return tuple(name for name in self._columns.needed if name != self._columns.arm)

    def analyze_granular(self, control: pa.Table, treatment: pa.Table) -> PredictedResult:
        """Returns the result of one pair of arms."""
        table = pa.concat_tables([control, treatment])
        arm = np.repeat(np.array([0, 1], np.int32), [control.num_rows, treatment.num_rows])
        rows = Rows(table, arm, ("control", "treatment"), *clusters_and_weights(table, self._columns))
        return self._of(sample_of(rows, self._columns, self._columns.metrics[0], self.cross_fit))

    @abstractmethod
    def _of(self, sample: Sample) -> PredictedResult:
        """Returns the result of a sample of two arms."""


@checked
class Cupac(_Predicted):
    """The mean adjusted by a cross-fitted prediction (Tang et al. 2020).

    >>> import tea_tasting as tt
    >>> data = tt.make_users_data(rng=42, covariates=True, return_type="pandas")
    >>> experiment = tt.Experiment(mean=tt.Mean("orders"), cupac=Cupac("orders", prediction="orders_covariate"))
    >>> result = experiment.analyze(data)
    >>> result["cupac"].pvalue < result["mean"].pvalue
    True
    """

    def _of(self, sample: Sample) -> PredictedResult:
        return PredictedResult.of(means(sample, 1, level=self.confidence_level)[-1])


@checked
class Mlrate(_Predicted):
    """The regression-adjusted mean (Guo et al. 2021)."""

    def _of(self, sample: Sample) -> PredictedResult:
        return PredictedResult.of(contrast(sample, 1, level=self.confidence_level).mlrate)


@checked
class State(_Predicted):
    """The Student-t regression; `PredictedResult.verdict` states whether it may be read as the mean effect."""

    def __init__(self, value: str, denominator: str | None = None, *, nu: float | None = 10.0, **columns: Any) -> None:
        """Names the columns.

        Args:
            value: Column of the metric, or of a ratio's numerator.
            denominator: Column of a ratio's denominator.
            nu: Degrees of freedom; None estimates them.
            columns: The other arguments of `Cupac`.

        Raises:
            DataError: `nu` is out of its range.
        """
        super().__init__(value, denominator, **columns)
        self.nu = None if nu is None else _check.number("nu", nu, low=0.3, high=500)

    def _of(self, sample: Sample) -> PredictedResult:
        pair = contrast(sample, 1, nu=self.nu, level=self.confidence_level)
        return PredictedResult.of(pair.state, guard(pair, spike=mode_share(sample.value)).verdict)
