"""S- and T-learners around any scikit-learn regressor, or classifier for a 0/1 value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier
from sklearn.utils.validation import has_fit_parameter

from largesse import _check
from largesse.errors import DataError
from largesse.logs import Logs
from largesse.models.base import Data, Model, training_rows
from largesse.models.outcome import Outcome, Response

__all__ = ["Regressors"]


@dataclass(kw_only=True, eq=False, repr=False)
class Regressors(Model):
    """Two-stage learner around a scikit-learn estimator.

    Args:
        estimator: Of the value. A classifier needs a 0/1 value and predicts with predict_proba.
        cost_estimator: Of a learned cost; None: a clone of `estimator`, which then must suit costs.
        outcome: Family and cost rule; None: inferred from the rows.
        data: Training rows: ``"both"``, ``"rct"`` or ``"obs"``.
        strategy: ``"S"`` (treatment as one-hot features) or ``"T"`` (an estimator per arm).

    >>> from sklearn.linear_model import Ridge
    >>> rng = np.random.default_rng(0)
    >>> x, t = rng.normal(size=(200, 2)), rng.integers(0, 2, 200)
    >>> logs = Logs(x=x, treatment=t, value=x[:, 0] * t, cost=1.0 * t)
    >>> Regressors(Ridge(), strategy="T").fit(logs).predict(x).cost[0].tolist()
    [0.0, 1.0]
    """

    estimator: Any = field(kw_only=False)
    cost_estimator: Any = None
    outcome: Outcome | None = None
    data: Data = "both"
    strategy: Literal["S", "T"] = "T"

    def _learn(self, rct: Logs, obs: Logs | None, validation: Logs | None) -> None:
        _check.choice("strategy", self.strategy, ("S", "T"))
        rows = training_rows(self.data, rct, obs)
        family = self.outcome_.likelihood
        if is_classifier(self.estimator) and not family.value_is_conversion:
            raise _check.refuse(
                "estimator", self.estimator, f"a classifier, but the value is {family.name}", "Use a regressor."
            )
        self.value_ = self._fit(self.estimator, rows, rows.value)
        if self.outcome_.needs_conversion:
            raise DataError(
                "outcome.cost_rule == 'per_redemption': a regressor of the value does not predict P(value > 0). "
                "Use Boosting or MLP.", field="outcome",
            )  # fmt: skip
        if self.outcome_.rule is None:
            base = self.cost_estimator if self.cost_estimator is not None else self.estimator
            if is_classifier(base) and not self.outcome_.cost_binary:
                raise _check.refuse("cost_estimator", base, "a classifier, but costs are amounts", "Give a regressor.")
            self.cost_ = self._fit(base, rows, rows.cost)

    def _fit(self, estimator: Any, rows: Logs, y: NDArray[np.float64]) -> list[Any]:
        weight = {} if rows.weight is None else {"sample_weight": rows.weight}
        if weight and not has_fit_parameter(estimator, "sample_weight"):
            raise _check.refuse(
                "weight", "given", f"{estimator} takes no sample_weight", "Drop the weights, or use another estimator."
            )
        if self.strategy == "S":
            return [clone(estimator).fit(self._wide(rows.x, rows.treatment), y, **weight)]
        fitted = []
        for j in range(rows.n_treatments):
            arm = rows.treatment == j
            own = {k: w[arm] for k, w in weight.items()}
            constant = y[arm].min() == y[arm].max()
            fitted.append(float(y[arm][0]) if constant else clone(estimator).fit(rows.x[arm], y[arm], **own))
        return fitted

    def _wide(self, x: NDArray[Any], treatment: NDArray[Any]) -> NDArray[Any]:
        return np.column_stack([x, np.eye(len(self.treatments_), dtype=x.dtype)[treatment]])

    def _predict_response(self, x: NDArray[np.float32]) -> Response:
        value = self._table(self.value_, x)
        if self.outcome_.rule is not None:
            return Response(value, value if self.outcome_.likelihood.value_is_conversion else None, None)
        cost = np.maximum(self._table(self.cost_, x), 0)
        if not self.outcome_.control_cost:
            cost[:, 0] = 0
        if self.outcome_.ordered:
            cost = np.maximum.accumulate(cost, axis=1)
        return Response(value, None, cost)

    def _table(self, fitted: list[Any], x: NDArray[np.float32]) -> NDArray[np.float64]:
        out = np.empty((len(x), len(self.treatments_)), order="F")
        for j in range(out.shape[1]):
            estimator = fitted[0 if self.strategy == "S" else j]
            if isinstance(estimator, float):
                out[:, j] = estimator
                continue
            rows = self._wide(x, np.full(len(x), j)) if self.strategy == "S" else x
            out[:, j] = estimator.predict_proba(rows)[:, 1] if is_classifier(estimator) else estimator.predict(rows)
        return out
