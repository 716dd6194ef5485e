"""A residual on a frozen base model of any kind, fitted with a decision loss on the trial, then shrunk.

The residual is fitted on out-of-fold menus of the base (two folds). It changes neither the value of control nor any cost, so
every budget that the base can meet can still be met.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Protocol

import lightgbm as lgb
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from largesse import _check
from largesse._forest import Forest
from largesse.logs import Logs
from largesse.models.base import Model, State
from largesse.models.boosters import booster_of
from largesse.models.crossfit import cross_fitted, out_of_fold
from largesse.models.decision.joint import trial_rows
from largesse.models.decision.losses import PPL, DecisionLoss, Objective
from largesse.models.decision.shrinkage import between, check_shrinkage, choose_shrinkage, target_budgets
from largesse.models.decision.trial import Trial
from largesse.models.nets.minibatch import Schedule, threads, train, weights_from
from largesse.models.nets.standardise import Standardised
from largesse.models.nets.weights import load_weights, weights_of
from largesse.models.outcome import Outcome, Response
from largesse.models.selection import Choice
from largesse.store import nest, unnest

__all__ = ["DecisionResidual"]

By = Literal["arms", "network", "trees"]
_SCHEDULE = Schedule(epochs=4, batch=8192, rate=3e-3, decay=0.1, average=0.5, least=100)
_ROUNDS = 30
_PARAMS: dict[str, Any] = {
    "learning_rate": 0.1, "num_leaves": 8, "feature_fraction": 0.5, "max_bin": 63, "verbosity": -1, "deterministic": True,
    "lambda_l2": 0.0, "boost_from_average": False,
}  # fmt: skip
_LEAF_SHARE = 50  # a leaf has at least 1/50 of the rows


@dataclass(kw_only=True, eq=False, repr=False)
class DecisionResidual(Model):
    """Residual correction of the values of a base model under a decision loss.

    Args:
        base: The two-stage model; clones of it are fitted.
        by: Form of the residual: ``"arms"`` (a level and a slope per arm: the fewest parameters), ``"network"`` (a small
            network of features and menu), ``"trees"`` (boosting along the gradient of the loss).
        decision: The decision loss.
        shrinkage_weight: Weight of the residual, in [0, 1]; ``"cross-fit"``: chosen by cross-fitting.
        folds: Number of folds of that cross-fitting.
        outcome: Family and cost rule; None: those of the base, or inferred from the rows.
        schedule: Epochs, batch size, learning rate and weight averaging of ``"arms"`` and ``"network"``.
        seed: Of folds, initial weights and row orders.
        n_threads: Threads.

    Attributes:
        budgets_: Target budgets per unit.
        shrinkage_weight_: Weight of the residual.
        choice_: The choice among shrinkage weights; None if the weight was given.

    >>> from largesse.models import Boosting
    >>> rng = np.random.default_rng(0)
    >>> x, t = rng.normal(size=(600, 2)), rng.integers(0, 2, 600)
    >>> order = (rng.random(600) < 0.3 + 0.3 * t * (x[:, 0] > 0)).astype(float)
    >>> logs = Logs(x=x, treatment=t, value=order, cost=2.0 * t * order)
    >>> DecisionResidual(Boosting(rounds=5), shrinkage_weight=1.0).fit(logs).predict(x).cost[:, 0].max().item()
    0.0
    """

    base: Model = field(kw_only=False)
    by: By = "arms"
    decision: DecisionLoss = PPL()
    shrinkage_weight: float | Literal["cross-fit"] = "cross-fit"
    folds: int = 2
    outcome: Outcome | None = None
    schedule: Schedule = _SCHEDULE
    seed: int = 0
    n_threads: int = 1

    def _learn(self, rct: Logs, obs: Logs | None, validation: Logs | None) -> None:
        _check.choice("by", self.by, By.__args__)  # type: ignore[attr-defined]
        check_shrinkage(self.shrinkage_weight, self.folds)
        self.budgets_ = target_budgets(rct, self.decision.budgets)
        self.base_ = self.configured(self.base).fit(rct, obs, validation=validation)
        self.inner_ = self.base_.outcome_
        self.outcome_ = _menu_outcome(self.inner_)
        frozen = self._frozen(cross_fitted(self.base_, rct, obs, self.seed))
        self.scale_ = float(rct.value.std()) or 1.0
        self.correction_ = self._fit_residual(rct, frozen)
        self.choice_: Choice | None = None
        if self.shrinkage_weight != "cross-fit":
            self.shrinkage_weight_ = float(self.shrinkage_weight)
            return

        def predict(train: NDArray[Any], test: NDArray[Any], fold: int) -> tuple[Response, Response]:
            inside, base = (Response.combine(lambda table, rows=rows: table[rows], frozen) for rows in (train, test))
            correction = self._fit_residual(rct.take(train), inside)
            return base, self._corrected(correction, rct.x[test], base)

        pair = out_of_fold(rct, self.folds, self.seed + 1, predict)  # other folds than those of the frozen menu
        self.shrinkage_weight_, self.choice_ = choose_shrinkage(rct, pair, self.menu, self.budgets_, self.seed)

    def _frozen(self, response: Response) -> Response:
        """Returns the menu of the base as a response of values and costs."""
        menu = self.inner_.menu(response, self.treatments_)
        return Response(menu.value, None, menu.cost)

    def _fit_residual(self, rct: Logs, frozen: Response) -> _Correction:
        """Returns the residual fitted on rows of the trial and their frozen menu."""
        value, cost = _tensor(frozen.value), _tensor(frozen.cost)
        rows = trial_rows(rct)
        trial = Trial(rows, None if self.decision.variance == "plain" else (value, cost))
        objective = Objective(self.decision, trial, self.budgets_, self.scale_)
        objective.prime(value, cost)
        x = rows.features
        with threads(self.n_threads):
            if self.by == "trees":
                return _Trees.grown(x, value, cost, objective, self.seed, self.n_threads)
            net = _net(self.by, x.shape[1], value.shape[1], self.scale_, self.seed)
            net.fit_scale(x)
            loss = lambda i: objective(net(x[i], value[i]), cost[i], i)  # noqa: E731
            train(net, loss, len(x), self.schedule, self.seed, memory=objective)
        return net

    def _corrected(self, correction: _Correction, x: NDArray[np.float32], frozen: Response) -> Response:
        with threads(self.n_threads), torch.inference_mode():
            value = correction.apply(torch.tensor(x), _tensor(frozen.value))
        return Response(value.numpy().astype(np.float64), None, frozen.cost)

    def _predict_response(self, x: NDArray[np.float32]) -> Response:
        frozen = self._frozen(self.base_.predict_response(x))
        if self.shrinkage_weight_ == 0:
            return frozen
        return between(frozen, self._corrected(self.correction_, x, frozen), self.shrinkage_weight_)

    def _state(self) -> State:
        """Returns the state of the base, the residual and its shrinkage weight."""
        settings, arrays = self.base_.state()
        text, own = self.correction_.state()
        settings = {
            "settings": settings, "inner": asdict(self.inner_), "shrinkage_weight": self.shrinkage_weight_,
            "scale": self.scale_, "trees": text, "budgets": list(self.budgets_),
        }  # fmt: skip
        return settings, nest(base=arrays, own=own)

    def _restore(self, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Sets a saved state."""
        inner: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in settings["inner"].items()}
        self.inner_ = Outcome(**inner)
        outer, self.outcome_ = self.outcome_, self.inner_
        self.base_ = self.restored_base(self.base, settings, arrays)
        self.outcome_, self.scale_, self.choice_ = outer, float(settings["scale"]), None
        self.shrinkage_weight_, self.budgets_ = float(settings["shrinkage_weight"]), tuple(settings["budgets"])
        own = unnest("own", arrays)
        if self.by == "trees":
            text = settings["trees"]
            booster = None if text is None else booster_of(text)
            self.correction_ = _Trees(booster, float(own["unit"]), self.n_threads)
            return
        net = _net(self.by, len(self.features_), len(self.treatments_), self.scale_, 0)
        self.correction_ = load_weights(net, own)


class _Correction(Protocol):
    def apply(self, x: Tensor, value: Tensor) -> Tensor:
        """Returns the corrected values, (N, M), of features (N, d) and values (N, M)."""

    def state(self) -> tuple[str | None, dict[str, NDArray[Any]]]:
        """Returns the text of trees, if any, and arrays."""


class _Net(Standardised):
    """A residual with trained weights."""

    def __init__(self, features: int, scale: float) -> None:
        super().__init__(features)
        self.scale = scale

    def apply(self, x: Tensor, value: Tensor) -> Tensor:  # type: ignore[override]
        return torch.cat([self(x[i : i + 8192], value[i : i + 8192]) for i in range(0, len(x), 8192)])

    def state(self) -> tuple[str | None, dict[str, NDArray[Any]]]:
        return None, weights_of(self)


class _Arms(_Net):
    """value_ij + scale a_j + (b_j - 1) (value_ij - value_i0), a_0 = 0."""

    def __init__(self, features: int, treatments: int, scale: float) -> None:
        super().__init__(features, scale)
        self.level = nn.Parameter(torch.zeros(treatments - 1))
        self.slope = nn.Parameter(torch.zeros(treatments - 1))  # b_j - 1

    def forward(self, x: Tensor, value: Tensor) -> Tensor:
        gain = value[:, 1:] - value[:, :1]
        return torch.cat([value[:, :1], value[:, 1:] + self.scale * self.level + self.slope * gain], 1)


class _Small(_Net):
    """value_ij + scale δ_j(x, value), δ_0 = 0, δ one hidden layer with output 0 at the start."""

    def __init__(self, features: int, treatments: int, scale: float) -> None:
        super().__init__(features, scale)
        self.body = nn.Linear(features + treatments, 32)
        self.out = nn.Linear(32, treatments - 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, value: Tensor) -> Tensor:
        columns = torch.cat([self.standardise(x), value / self.scale], 1)
        move = self.scale * self.out(self.body(columns).relu())
        return torch.cat([value[:, :1], value[:, 1:] + move], 1)


def _net(by: str, features: int, treatments: int, scale: float, seed: int) -> _Net:
    with weights_from(seed):
        return (_Arms if by == "arms" else _Small)(features, treatments, scale)


class _Trees:
    """value_ij + unit δ_j(x, value), δ_0 = 0, boosted along the gradient of the decision loss of all rows."""

    def __init__(self, booster: lgb.Booster | None, unit: float, n_threads: int) -> None:
        self.forest, self.unit, self.n_threads = None if booster is None else Forest(booster), unit, n_threads

    @classmethod
    def grown(cls, x: Tensor, value: Tensor, cost: Tensor, objective: Objective, seed: int, n_threads: int) -> _Trees:
        """Returns the residual after a fixed number of rounds; 0 if the rows are too few for two leaves."""
        m, every, leaf = value.shape[1], torch.arange(len(x)), max(20, len(x) // _LEAF_SHARE)
        unit = max(float(objective.gap.mean()), 1e-30)  # the typical gap between the two best scores of a unit
        if len(x) < 2 * leaf:
            return cls(None, unit, n_threads)

        def slope(raw: NDArray[Any], data: lgb.Dataset) -> tuple[NDArray[Any], NDArray[Any]]:
            move = torch.tensor(raw.reshape(len(x), m - 1), dtype=value.dtype, requires_grad=True)
            objective(torch.cat([value[:, :1], value[:, 1:] + unit * move], 1), cost, every).backward()  # type: ignore[no-untyped-call]
            assert move.grad is not None
            # A leaf whose rows all have the same gradient moves by the learning rate times the unit.
            g = (move.grad / move.grad.abs().mean(0).clamp_min(1e-30)).numpy()
            return (g, np.ones_like(g)) if m > 2 else (g[:, 0], np.ones(len(x)))

        params = _PARAMS | {
            "objective": slope, "num_class": m - 1, "seed": seed, "num_threads": _check.threads(n_threads),
            "min_data_in_leaf": leaf, "feature_pre_filter": False,
        }  # fmt: skip
        data = lgb.Dataset(
            torch.cat([x, value / unit], 1).numpy(), np.zeros(len(x)), params=params | {"objective": "none"}
        )
        return cls(lgb.train(params, data, _ROUNDS), unit, n_threads)

    def apply(self, x: Tensor, value: Tensor) -> Tensor:
        if self.forest is None:
            return value
        rows = torch.cat([x, value / self.unit], 1).numpy()
        move = torch.tensor(self.forest.raw(rows, self.n_threads), dtype=value.dtype)
        return torch.cat([value[:, :1], value[:, 1:] + self.unit * move], 1)

    def state(self) -> tuple[str | None, dict[str, NDArray[Any]]]:
        text = None if self.forest is None else self.forest.booster.model_to_string()
        return text, {"unit": np.array(self.unit)}


def _menu_outcome(outcome: Outcome) -> Outcome:
    """Returns the outcome of a frozen menu: its costs are given and do not follow its values."""
    return replace(outcome, cost_rule="learned", amounts=(), ordered=False)


def _tensor(table: NDArray[Any] | None) -> Tensor:
    assert table is not None
    return torch.tensor(np.ascontiguousarray(table), dtype=torch.float32)
