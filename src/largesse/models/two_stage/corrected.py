"""A base model fitted on past campaign data (the OBS log), corrected by small boosted trees on the rows of the trial.

The correction starts from the score of the base (the link of its mean for the treatment given); its inputs are the features,
that score and the treatment. Early stopping by cross-validation on the trial sets the number of trees, possibly 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from largesse import _check
from largesse._forest import Forest
from largesse.logs import Logs
from largesse.models.base import Model, State
from largesse.models.boosters import booster_of
from largesse.models.crossfit import cross_fitted
from largesse.models.families import BERNOULLI, Family
from largesse.models.outcome import Outcome, Response
from largesse.store import nest

__all__ = ["Corrected"]

_PARAMS: dict[str, Any] = {
    "learning_rate": 0.05, "num_leaves": 8, "min_data_in_leaf": 500, "feature_fraction": 0.5, "lambda_l2": 50.0,
    "bagging_fraction": 0.8, "bagging_freq": 1, "max_bin": 63, "verbosity": -1, "deterministic": True, "force_col_wise": True,
}  # fmt: skip
_FOLDS, _PATIENCE = 2, 15


@dataclass(kw_only=True, eq=False, repr=False)
class Corrected(Model):
    """A base model fitted on the OBS log (on the trial without one), corrected on the trial.

    Args:
        base: The model to correct; a clone of it is fitted.
        outcome: Family and cost rule; None: inferred from the rows.
        rounds: Largest number of trees of a correction.
        params: LightGBM parameters of the correction that differ from the defaults.
        seed: Of folds and sampling.
        n_threads: Threads of LightGBM.
    """

    base: Model = field(kw_only=False)
    outcome: Outcome | None = None
    rounds: int = 200
    params: dict[str, Any] | None = None
    seed: int = 0
    n_threads: int = 1

    def _learn(self, rct: Logs, obs: Logs | None, validation: Logs | None) -> None:
        if "data" not in self.base.get_params(deep=False):
            raise _check.refuse("base", self.base, "must be a model with the parameter data", "Use MLP or Boosting.")
        _check.integers(
            "rounds", [self.rounds], low=1, high=10**6, rule="must be >= 1", remedy="Give a number of trees."
        )
        base = clone(self.base).set_params(outcome=self.outcome_, data="rct" if obs is None else "obs")
        self.base_ = base.fit(rct, obs, validation=validation)
        response = self.base_.predict_response(rct.x) if obs is not None else cross_fitted(base, rct, None)
        self.trees_: dict[str, Forest | None] = {}
        logged = {"value": rct.value, "cost": rct.cost, "conversion": (rct.value > 0).astype(np.float64)}
        for name, family in self._families().items():
            table = getattr(response, name)
            if table is not None:
                self.trees_[name] = self._fit_trees(rct, name, family, family.link(table), logged[name])

    def _free(self, name: str) -> bool:
        """Returns whether a quantity of control is not corrected: its cost, if that is 0."""
        return name == "cost" and not self.outcome_.control_cost

    def _families(self) -> dict[str, Family]:
        """Returns the quantities to correct, each with its likelihood."""
        outcome = self.outcome_
        families = {"value": outcome.likelihood}
        if outcome.rule is None:
            families["cost"] = outcome.cost_likelihood
        if outcome.needs_conversion:
            families["conversion"] = BERNOULLI
        return families

    def _fit_trees(
        self, rct: Logs, name: str, family: Family, link: NDArray[np.float64], y: NDArray[np.float64]
    ) -> Forest | None:
        """Returns the trees that correct one quantity, from its links (N, M) and outcomes (N,); None for no correction."""
        rows = np.arange(rct.n)
        if self._free(name):
            rows = rows[rct.treatment > 0]
        if not np.ptp(y[rows]):  # a constant: nothing to fit, and some objectives refuse it
            return None
        t = rct.treatment[rows]
        score = link[rows, t]
        params = _PARAMS | {
            "objective": family.objective,
            "seed": self.seed,
            "num_threads": _check.threads(self.n_threads),
        }
        params |= self.params or {}
        params["min_data_in_leaf"] = max(20, min(params["min_data_in_leaf"], len(rows) // 40))
        data = lgb.Dataset(
            np.column_stack([rct.x[rows], score, t]), y[rows], weight=rct.weights[rows], init_score=score, params=params
        )
        trace = lgb.cv(
            params, data, self.rounds, nfold=_FOLDS, stratified=False, seed=self.seed, folds=self._folds(rct, rows),
            callbacks=[lgb.early_stopping(_PATIENCE, verbose=False)],
        )  # fmt: skip
        best = len(next(iter(trace.values())))
        return self._forest(lgb.train(params, data, best)) if best > 1 else None

    def _folds(self, rct: Logs, rows: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]] | None:
        """Returns folds of some rows that do not split units; None (folds of LightGBM) where each unit has one row."""
        if rct.groups is None:
            return None
        part = rct.parts(*[1.0] * _FOLDS, seed=self.seed)[rows]
        return [(np.flatnonzero(part != k), np.flatnonzero(part == k)) for k in range(_FOLDS)]

    def _forest(self, booster: lgb.Booster) -> Forest:
        d = len(self.features_)  # the columns after the features: score of the treatment, and its code
        return Forest(booster, len(self.treatments_), own=d, treatment=d + 1)

    def _predict_response(self, x: NDArray[np.float32]) -> Response:
        response = self.base_.predict_response(x)
        tables = {name: getattr(response, name) for name in ("value", "conversion", "cost")}
        families = self._families()
        for name, forest in self.trees_.items():
            if forest is not None:
                tables[name] = self._corrected(x, name, families[name], tables[name], forest)
        if self.outcome_.likelihood.value_is_conversion:
            tables["conversion"] = tables["value"]
        return Response(**tables)

    def _corrected(
        self, x: NDArray[Any], name: str, family: Family, table: NDArray[Any], forest: Forest
    ) -> NDArray[np.float64]:
        link = family.link(table)
        corrected = family.mean(link + forest.raw(x, self.n_threads, link))
        if self._free(name):
            corrected[:, 0] = table[:, 0]
        return corrected

    def _state(self) -> State:
        """Returns the state of the base, and the trees in the text form of LightGBM."""
        settings, arrays = self.base_.state()
        trees = {name: None if f is None else f.booster.model_to_string() for name, f in self.trees_.items()}
        return {"settings": settings, "trees": trees}, nest(base=arrays)

    def _restore(self, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Sets a saved state."""
        self.base_ = self.restored_base(self.base, settings, arrays)
        texts = settings["trees"].items()
        self.trees_ = {name: None if text is None else self._forest(booster_of(text)) for name, text in texts}
