"""LightGBM learners: what a user would reach for first, with the right objective and the cost rule.

The S-learner sees the treatment as a feature, the T-learner fits each arm apart. Value: log-loss, Poisson or squared
error; a zero-inflated amount is a classifier for "bought" times a gamma regression of the basket.
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
from largesse.models.families import Family
from largesse.models.outcome import Outcome, Response

__all__ = ["Boosting", "Trees"]

_DEFAULTS: dict[str, Any] = {
    "learning_rate": 0.1, "num_leaves": 31, "min_data_in_leaf": 200, "feature_fraction": 0.5, "bagging_fraction": 0.8,
    "bagging_freq": 1, "lambda_l2": 10.0, "max_bin": 63, "force_col_wise": True,
}  # fmt: skip
_MOST, _PATIENCE = 1000, 30  # trees at most, and how many that bring nothing end the search
_ALONE = 100  # trees, where all rows are of one unit
_HELD, _FEW, _FOLDS = 0.1, 20_000, 5  # share of the rows that judge; of fewer rows, all of them in turns


class Trees:
    """Boosted trees for one quantity, S- or T-wise over the treatments.

    Args:
        family: Of the quantity: the objective.
        strategy: ``"S"`` or ``"T"``.
        arms: The treatments that are fitted; the others are not asked for.
        rounds: Trees; None: as many as rows that are held back ask for.
        params: LightGBM parameters.
    """

    def __init__(
        self,
        family: Family,
        strategy: str,
        arms: range,
        rounds: int | None,
        params: dict[str, Any],
        monotone: bool = False,
    ) -> None:
        self.strategy, self.arms, self.rounds, self.monotone = strategy, arms, rounds, monotone
        self.params = {**_DEFAULTS, "objective": family.objective, "verbosity": -1, "deterministic": True, **params}
        self.boosters: list[lgb.Booster | float] = []
        self.forests: dict[int, Forest] = {}  # the boosters as they are asked, made when they are

    def fit(self, rows: Logs, y: NDArray[Any], use: NDArray[np.bool_], ordered: bool) -> Trees:
        """Learns y (N,) from features and treatment of the rows marked in `use` (N,)."""
        self.forests = {}
        if self.strategy == "S":
            self.boosters = [self._boost(rows, y, use, ordered)]
        else:
            self.boosters = [self._boost(rows, y, use & (rows.treatment == j), False) for j in self.arms]
        return self

    def _boost(self, rows: Logs, y: NDArray[Any], use: NDArray[np.bool_], ordered: bool) -> lgb.Booster | float:
        shared = self.strategy == "S"
        level = rows.x.shape[1] if shared else None  # the column of the treatment
        x, y, weight = rows.x[use], y[use], rows.weights[use]
        if shared:
            x = np.column_stack([x, rows.treatment[use]])
        if len(y) == 0 or y.min() == y.max():  # nothing to learn, and some objectives refuse it
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
            out[:, arms.start : arms.stop] = (
                booster if isinstance(booster, float) else self._asked(k, x, m)[:, -len(arms) :]
            )
        return out

    def _asked(self, k: int, x: NDArray[Any], m: int) -> NDArray[np.float64]:
        """Returns what a booster says: of every treatment, or of the one that it is for."""
        if k not in self.forests:
            shared = self.strategy == "S"
            self.forests[k] = Forest(self.boosters[k], m if shared else 1, treatment=x.shape[1] if shared else None)
        return self.forests[k].mean(x, self.params["num_threads"])

    def text(self) -> list[str | float]:
        """Returns the boosters in LightGBM's own text form."""
        return [b if isinstance(b, float) else b.model_to_string() for b in self.boosters]

    def read(self, boosters: list[str | float]) -> Trees:
        """Takes over boosters written by `text`."""
        self.boosters = [b if isinstance(b, float) else lgb.Booster(model_str=b) for b in boosters]
        self.forests = {}
        return self


def _stopped(params: dict[str, Any], data: lgb.Dataset, n: int, groups: NDArray[np.int64] | None) -> lgb.Booster:
    """Returns trees until rows that they have not seen stop gaining: of many rows a tenth, of few all of them in turns.

    Rows of one group (a unit) are held back together.
    """
    stop = lgb.early_stopping(_PATIENCE, verbose=False)
    of = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    units = int(of.max()) + 1
    if units == 1:  # nothing can be held back
        return lgb.train(params, data, _ALONE)
    order = np.random.default_rng(params.get("seed", 0)).permutation(units)
    if n >= _FEW and units > 1 / _HELD:
        held = np.isin(of, order[: int(_HELD * units)])
        some, judge = (data.subset(np.flatnonzero(rows)) for rows in (~held, held))
        return lgb.train(params, some, _MOST, valid_sets=[judge], callbacks=[stop])
    part = np.empty(units, np.int64)
    for k, some in enumerate(np.array_split(order, min(_FOLDS, units))):
        part[some] = k
    folds = [(np.flatnonzero(part[of] != k), np.flatnonzero(part[of] == k)) for k in range(min(_FOLDS, units))]
    trace = lgb.cv(params, data, _MOST, folds=folds, callbacks=[stop])
    return lgb.train(params, data, len(next(iter(trace.values()))))


@dataclass(kw_only=True, eq=False, repr=False)
class Boosting(Model):
    """Two-stage LightGBM: an S- or T-learner for the value, a rule or a second learner for the cost.

    Args:
        outcome: Family and cost rule; None: inferred from the rows.
        data: Which rows to learn from: ``"both"``, ``"rct"`` or ``"obs"``.
        strategy: ``"S"`` (treatment as a feature) or ``"T"`` (each arm apart).
        rounds: Trees per booster; None: until rows that are held back stop gaining, 1,000 at most. From 20,000 rows on a tenth
            of them is held back; below that five parts take turns, and the trees of all rows are as many.
        monotone: Whether the value may only rise with an ordered level (S-learner); None: as the outcome declares.
        params: Changes to LightGBM's parameters.
        seed: Feature and row sampling.
        n_threads: LightGBM's threads.

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

    def _trees(self, family: Family, arms: range, monotone: bool = False) -> Trees:
        given = {"seed": self.seed, "num_threads": self.n_threads, **(self.params or {})}
        return Trees(family, self.strategy, arms, self.rounds, given, monotone)

    def _plan(self) -> dict[str, Trees]:
        """Returns the quantities to learn, unfitted."""
        _check.choice("strategy", self.strategy, ("S", "T"))
        if self.rounds is not None:
            _check.integers(
                "rounds", [self.rounds], low=1, high=10**6, rule="must be >= 1", remedy="None finds a number."
            )
        if self.monotone and not (self.strategy == "S" and self.outcome_.ordered):
            raise _check.refuse(
                "monotone", True, "needs strategy='S' and an outcome with ordered levels",
                "Declare ordered=True, or leave monotone out.",
            )  # fmt: skip
        outcome, everyone = self.outcome_, range(len(self.treatments_))
        rising = outcome.monotone if self.monotone is None else self.monotone
        parts = outcome.likelihood.parts(outcome.needs_conversion)
        trees = {name: self._trees(part, everyone, rising and name != "basket") for name, part in parts.items()}
        if outcome.rule is None:
            paying = everyone if outcome.control_cost else everyone[1:]
            trees["cost"] = self._trees(outcome.cost_likelihood, paying, monotone=True)
        return trees

    def _learn(self, rct: Logs, obs: Logs | None, validation: Logs | None) -> None:
        rows = training_rows(self.data, rct, obs)
        self.trees_ = self._plan()
        bought = (rows.value > 0).astype(np.float64)
        target = {"value": rows.value, "conversion": bought, "bought": bought, "basket": rows.value, "cost": rows.cost}
        for name, trees in self.trees_.items():
            use = np.isin(rows.treatment, list(trees.arms)) & ((bought > 0) if name == "basket" else True)
            trees.fit(rows, target[name], use, self.outcome_.ordered)

    def _predict_response(self, x: NDArray[np.float32]) -> Response:
        m = len(self.treatments_)
        found = {name: trees.predict(x, m) for name, trees in self.trees_.items()}
        if "bought" in found:
            return Response(found["bought"] * found["basket"], found["bought"], found.get("cost"))
        conversion = found["value"] if self.outcome_.likelihood.value_is_conversion else found.get("conversion")
        return Response(found["value"], conversion, found.get("cost"))

    def state(self) -> State:
        """Returns the boosters in LightGBM's text form."""
        return {"strategy": self.strategy, "trees": {name: trees.text() for name, trees in self.trees_.items()}}, {}

    def restore(self, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Reads the boosters of a saved state."""
        self.strategy = settings["strategy"]
        self.trees_ = {name: trees.read(settings["trees"][name]) for name, trees in self._plan().items()}
