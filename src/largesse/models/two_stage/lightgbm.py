"""LightGBM models of value and cost, with the likelihood and the cost rule of the outcome.

The S-learner has the treatment as a feature, the T-learner fits a model per arm. Value: log-loss, Poisson or squared error; a
zero-inflated amount is a classifier of value > 0 times a gamma regression of the positive amounts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._forest import Forest
from largesse.logs import Logs
from largesse.models.base import Data, Model, State, training_rows
from largesse.models.boosters import booster_of
from largesse.models.families import Family
from largesse.models.outcome import Outcome, Response

__all__ = ["Boosting", "Trees"]

_DEFAULTS: dict[str, Any] = {
    "learning_rate": 0.1, "num_leaves": 31, "min_data_in_leaf": 200, "feature_fraction": 0.5, "bagging_fraction": 0.8,
    "bagging_freq": 1, "lambda_l2": 10.0, "max_bin": 63, "force_col_wise": True,
}  # fmt: skip
_MOST, _PATIENCE = 1000, 30  # largest number of trees; trees without a gain that end the fit
_ONE_UNIT_ROUNDS = 100  # trees where all rows are of one unit, so that there are no validation rows
_VALIDATION_SHARE, _FEW, _FOLDS = (
    0.1,
    20_000,
    5,
)  # validation rows; below so many rows, cross-validation with so many folds


class Trees:
    """Boosted trees for one quantity, as an S- or a T-learner over the treatments.

    Args:
        family: Of the quantity; gives the objective.
        arms: The treatments that are fitted.
        monotone: Whether the quantity does not fall with an ordered level (S-learner).
        strategy: ``"S"`` or ``"T"``.
        rounds: Number of trees; None: by early stopping.
        params: LightGBM parameters.
    """

    def __init__(
        self, family: Family, arms: range, monotone: bool, strategy: str, rounds: int | None, params: dict[str, Any]
    ) -> None:
        self.strategy, self.arms, self.rounds, self.monotone = strategy, arms, rounds, monotone
        self.params = {**_DEFAULTS, "objective": family.objective, "verbosity": -1, "deterministic": True, **params}
        self.boosters: list[lgb.Booster | float] = []
        self.forests: dict[int, Forest] = {}  # the boosters in the form that predicts, made on first use

    def fit(self, rows: Logs, y: NDArray[Any], use: NDArray[np.bool_], ordered: bool) -> Trees:
        """Fits y (N,) on features and treatment of the rows marked in `use` (N,); returns self."""
        self.forests = {}
        if self.strategy == "S":
            self.boosters = [self._boost(rows, y, use, ordered)]
        else:
            self.boosters = [self._boost(rows, y, use & (rows.treatment == j), False) for j in self.arms]
        return self

    def _boost(self, rows: Logs, y: NDArray[Any], use: NDArray[np.bool_], ordered: bool) -> lgb.Booster | float:
        level = rows.x.shape[1] if self.strategy == "S" else None  # the column of the treatment
        x, y, weight = rows.x[use], y[use], rows.weights[use]
        if level is not None:
            x = np.column_stack([x, rows.treatment[use]])
        if len(y) == 0 or y.min() == y.max():  # a constant: nothing to fit, and some objectives refuse it
            return float(y[0]) if len(y) else 0.0
        params = dict(self.params)
        params["min_data_in_leaf"] = max(5, min(params["min_data_in_leaf"], len(y) // 20))
        if level is not None and ordered and self.monotone:
            params["monotone_constraints"] = [0] * level + [1]
        categorical = [level] if level is not None and not ordered else "auto"
        data = lgb.Dataset(x, y, weight=weight, categorical_feature=categorical, params=params)
        if self.rounds is not None:
            return lgb.train(params, data, self.rounds)
        return _stopped(params, data, len(y), None if rows.groups is None else rows.groups[use])

    def predict(self, x: NDArray[Any], m: int) -> NDArray[np.float64]:
        """Returns the quantity under every treatment, (N, M); 0 for treatments that were not fitted."""
        out = np.zeros((len(x), m), order="F")
        for k, booster in enumerate(self.boosters):
            arms = self.arms if self.strategy == "S" else self.arms[k : k + 1]
            constant = isinstance(booster, float)
            out[:, arms.start : arms.stop] = booster if constant else self._predicted(k, x, m)[:, -len(arms) :]
        return out

    def _predicted(self, k: int, x: NDArray[Any], m: int) -> NDArray[np.float64]:
        """Returns the predictions of a booster, for every treatment (S) or for its own (T)."""
        if k not in self.forests:
            shared = self.strategy == "S"
            self.forests[k] = Forest(self.boosters[k], m if shared else 1, treatment=x.shape[1] if shared else None)
        return self.forests[k].mean(x, self.params["num_threads"])

    def text(self) -> list[str | float]:
        """Returns the boosters in the text form of LightGBM; constants as numbers."""
        return [b if isinstance(b, float) else b.model_to_string() for b in self.boosters]

    def read(self, boosters: list[str | float]) -> Trees:
        """Sets the boosters that `text` returned; returns self."""
        self.boosters = [b if isinstance(b, float) else booster_of(b) for b in boosters]
        self.forests = {}
        return self


def _stopped(params: dict[str, Any], data: lgb.Dataset, n: int, groups: NDArray[np.int64] | None) -> lgb.Booster:
    """Returns trees with early stopping: on a tenth of many rows, by cross-validation on few.

    The rows of a group (a unit) are never split between training and validation.
    """
    stop = lgb.early_stopping(_PATIENCE, verbose=False)
    unit = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    units = int(unit.max()) + 1
    if units == 1:
        return lgb.train(params, data, _ONE_UNIT_ROUNDS)
    order = np.random.default_rng(params.get("seed", 0)).permutation(units)
    if n >= _FEW and units > 1 / _VALIDATION_SHARE:
        validation = np.isin(unit, order[: int(_VALIDATION_SHARE * units)])
        train, valid = (data.subset(np.flatnonzero(rows)) for rows in (~validation, validation))
        return lgb.train(params, train, _MOST, valid_sets=[valid], callbacks=[stop])
    fold = np.empty(units, np.int64)
    for k, members in enumerate(np.array_split(order, min(_FOLDS, units))):
        fold[members] = k
    folds = [(np.flatnonzero(fold[unit] != k), np.flatnonzero(fold[unit] == k)) for k in range(min(_FOLDS, units))]
    trace = lgb.cv(params, data, _MOST, folds=folds, callbacks=[stop])
    return lgb.train(params, data, len(next(iter(trace.values()))))


@dataclass(kw_only=True, eq=False, repr=False)
class Boosting(Model):
    """Two-stage LightGBM: an S- or T-learner for the value, a rule or a second learner for the cost.

    Args:
        outcome: Family and cost rule; None: inferred from the rows.
        data: Training rows: ``"both"``, ``"rct"`` or ``"obs"``.
        strategy: ``"S"`` (treatment as a feature) or ``"T"`` (a model per arm).
        rounds: Trees per booster; None: by early stopping, at most 1,000. From 20,000 rows on a tenth of them are validation
            rows; with fewer rows, five-fold cross-validation sets the number of trees of a fit on all rows.
        monotone: Whether the value does not fall with an ordered level (S-learner); None: as the outcome declares.
        params: LightGBM parameters that differ from the defaults.
        seed: Of feature and row sampling, and of the validation rows.
        n_threads: Threads of LightGBM.

    >>> rng = np.random.default_rng(0)
    >>> x, t = rng.normal(size=(400, 2)), rng.integers(0, 2, 400)
    >>> order = (rng.random(400) < 0.3 + 0.2 * t).astype(float)
    >>> model = Boosting(rounds=5).fit(Logs(x=x, treatment=t, value=order, cost=2.0 * t * order))
    >>> model.predict(x).value.shape
    (400, 2)
    """

    outcome: Outcome | None = None
    data: Data = "both"
    strategy: Literal["S", "T"] = "S"
    rounds: int | None = None
    monotone: bool | None = None
    params: dict[str, Any] | None = None
    seed: int = 0
    n_threads: int = 1

    def _unfitted(self) -> dict[str, Trees]:
        """Returns the unfitted trees of each quantity."""
        _check.choice("strategy", self.strategy, ("S", "T"))
        if self.rounds is not None:
            rule, remedy = "must be >= 1", "None sets it by early stopping."
            _check.integers("rounds", [self.rounds], low=1, high=10**6, rule=rule, remedy=remedy)
        if self.monotone and not (self.strategy == "S" and self.outcome_.ordered):
            raise _check.refuse(
                "monotone", True, "needs strategy='S' and an outcome with ordered levels",
                "Declare ordered=True, or leave monotone out.",
            )  # fmt: skip
        outcome, arms = self.outcome_, range(len(self.treatments_))
        monotone = outcome.monotone if self.monotone is None else self.monotone
        parts = outcome.likelihood.parts(outcome.needs_conversion)
        quantities = {name: (part, arms, monotone and name != "basket") for name, part in parts.items()}
        if outcome.rule is None:
            quantities["cost"] = outcome.cost_likelihood, arms if outcome.control_cost else arms[1:], True
        params = {"seed": self.seed, "num_threads": _check.threads(self.n_threads), **(self.params or {})}
        return {name: Trees(*given, self.strategy, self.rounds, params) for name, given in quantities.items()}

    def _learn(self, rct: Logs, obs: Logs | None, validation: Logs | None) -> None:
        rows = training_rows(self.data, rct, obs)
        self.trees_ = self._unfitted()
        bought = (rows.value > 0).astype(np.float64)
        target = {"value": rows.value, "conversion": bought, "bought": bought, "basket": rows.value, "cost": rows.cost}
        for name, trees in self.trees_.items():
            use = np.isin(rows.treatment, list(trees.arms)) & ((bought > 0) if name == "basket" else True)
            trees.fit(rows, target[name], use, self.outcome_.ordered)

    def _predict_response(self, x: NDArray[np.float32]) -> Response:
        m = len(self.treatments_)
        tables = {name: trees.predict(x, m) for name, trees in self.trees_.items()}
        if "bought" in tables:
            return Response(tables["bought"] * tables["basket"], tables["bought"], tables.get("cost"))
        conversion = tables["value"] if self.outcome_.likelihood.value_is_conversion else tables.get("conversion")
        return Response(tables["value"], conversion, tables.get("cost"))

    def _state(self) -> State:
        """Returns the boosters in the text form of LightGBM."""
        return {"strategy": self.strategy, "trees": {name: trees.text() for name, trees in self.trees_.items()}}, {}

    def _restore(self, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Sets a saved state."""
        self.strategy = settings["strategy"]
        self.trees_ = {name: trees.read(settings["trees"][name]) for name, trees in self._unfitted().items()}
