"""Causal forests of `econml`, for benchmarks: the mean under control plus the effect of each arm."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor

from largesse.errors import MissingDependency
from largesse.logs import Logs
from largesse.models.base import Data, Model, training_rows
from largesse.models.outcome import Outcome, Response

__all__ = ["CausalForest"]


@dataclass(kw_only=True, eq=False, repr=False)
class CausalForest(Model):
    """A generalised random forest for the value, and another for a learned cost.

    Args:
        outcome: Family and cost rule; None: inferred from the rows.
        data: Training rows: ``"both"``, ``"rct"`` or ``"obs"``.
        trees: Trees per forest.
        seed: Of the sampling.
        n_threads: Threads.

    Reference:
        Athey, Tibshirani and Wager 2019, Generalized random forests; package econml.

    Raises:
        MissingDependency: On `fit`, when econml is not installed.
    """

    outcome: Outcome | None = None
    data: Data = "both"
    trees: int = 200
    seed: int = 0
    n_threads: int = 1

    def _learn(self, rct: Logs, obs: Logs | None, validation: Logs | None) -> None:
        try:
            grf = import_module("econml.grf")
        except ImportError as error:
            raise MissingDependency("econml", "forest", "CausalForest") from error
        rows = training_rows(self.data, rct, obs)
        arms = np.eye(rows.n_treatments)[rows.treatment][:, 1:]
        targets = {"value": rows.value}
        if self.outcome_.rule is None:
            targets["cost"] = rows.cost
        self.effect_: dict[str, Any] = {}
        self.base_: dict[str, Any] = {}
        control = rows.treatment == 0
        for name, y in targets.items():
            forest = grf.CausalForest(
                n_estimators=-(-self.trees // 4) * 4, min_samples_leaf=50, n_jobs=self.n_threads, random_state=self.seed
            )
            self.effect_[name] = forest.fit(rows.x, arms, y, sample_weight=rows.weight)
            base = RandomForestRegressor(100, min_samples_leaf=50, n_jobs=self.n_threads, random_state=self.seed)
            self.base_[name] = base.fit(rows.x[control], y[control], sample_weight=rows.weights[control])

    def _predict_response(self, x: NDArray[np.float32]) -> Response:
        tables = {}
        for name, forest in self.effect_.items():
            base = self.base_[name].predict(x)[:, None]
            tables[name] = np.hstack([base, base + forest.predict(x).reshape(len(x), -1)])
        value = tables["value"]
        if "cost" not in tables:
            family = self.outcome_.likelihood
            clipped = family.clip(value) if family.value_is_conversion else value
            return Response(clipped, clipped if family.value_is_conversion else None, None)
        cost = np.maximum(tables["cost"], 0)
        if not self.outcome_.control_cost:
            cost[:, 0] = 0
        return Response(value, None, cost)
