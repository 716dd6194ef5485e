"""Base classes of the decision-factor models: parameters, units, training and state; and of factors that are a ROI."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from largesse import _check
from largesse._random import number
from largesse.logs import Logs
from largesse.models.base import Model, State
from largesse.models.factors.losses import ScoreNet, gradient_noise
from largesse.models.nets.checkpoint import checkpointer
from largesse.models.nets.full_batch import Finish, FullBatch, Loss, train_full_batch
from largesse.models.nets.minibatch import threads
from largesse.models.nets.rows import Rows
from largesse.models.nets.weights import load_weights, weights_of
from largesse.models.outcome import Outcome, Response
from largesse.store import nest, unnest

__all__ = ["FactorModel", "ReturnModel", "Steps"]

Floats = NDArray[np.float64]
_CHUNK = 8192  # rows scored at once
_MEAN_FACTOR = 0.25  # the scale puts the mean factor here in (0, 1)
_HIGH, _HIGH_SHARE, _TRIALS = 0.9, 0.01, 5  # the scale is doubled while over 1 % of units exceed .9, four times at most


class Steps(NamedTuple):
    """Differences between the means of neighbouring arms, (M - 1,) each.

    Attributes:
        value: Δr.
        cost: Δc.
        standard_error: Standard error of Δr.
    """

    value: Floats
    cost: Floats
    standard_error: Floats


@dataclass(kw_only=True, eq=False, repr=False)
class FactorModel(Model):
    """A model whose menu is made of decision factors, fitted on the rows of a trial only.

    Args:
        hidden: Widths of the hidden layers.
        members: Networks to average.
        l2: Weight of the L2 penalty, in units of the gradient norm that noise alone would give, >= 0.
        training: Optimiser and steps.
        seed: Seeds the initial weights.
        n_threads: Threads of the matrix products.
        checkpoint: Folder for unfinished trainings: the same fit, started again after a kill, resumes there.

    Attributes:
        finish_: How the training of each network ended.
    """

    hidden: tuple[int, ...] = (64,)
    members: int = 3
    l2: float = 0.5
    training: FullBatch = FullBatch()
    seed: int = 0
    n_threads: int = 1
    checkpoint: str | None = None
    menu_in_currency = False

    @classmethod
    def published(cls, **changes: Any) -> Self:
        """Returns the model with the paper's training: Adam, fixed rate, 6000 full-batch steps, 8 hidden units, one network."""
        training = FullBatch(optimiser="adam", steps=6000)
        return cls(**{"hidden": (8,), "members": 1, "training": training, **changes})

    @abstractmethod
    def _loss(self, rows: Rows) -> Loss: ...

    @abstractmethod
    def _units(self, steps: Steps) -> tuple[float, float]:
        """Returns the units of value and of cost in the loss."""

    @abstractmethod
    def _factor(self, score: torch.Tensor) -> torch.Tensor:
        """Returns the decision factor of scores (n, M - 1), >= 0, in units of `unit_`."""

    _needs: ClassVar[tuple[str, ...]] = ("value", "cost")  # outcomes whose mean must rise at each step
    _binary = True

    def _first_unit(self, steps: Steps) -> float:
        return 1.0

    def _start(self, steps: Steps) -> Floats:
        return np.zeros(len(steps.cost))

    def _settle(self, net: ScoreNet, score: torch.Tensor, weight: torch.Tensor) -> None:
        """Sets the score offset that the loss does not determine, from the scores of the training rows (N, M - 1)."""

    def _too_high(self, score: torch.Tensor, weight: torch.Tensor) -> bool:
        return False

    def _learn(self, rct: Logs, obs: Logs | None, validation: Logs | None) -> None:
        members = _check.integers("members", [self.members], low=1, high=1000, rule="must be >= 1", remedy="")[0]
        _check.number("l2", self.l2, low=0, remedy="0 trains without a penalty.")
        if self._binary and rct.n_treatments != 2:
            rule = f"{type(self).__name__} ranks units for one treatment against control"
            raise _check.refuse("rct.n_treatments", rct.n_treatments, rule, "Use DPM for ordered levels.")
        steps = _steps(rct, self._needs)
        self.outcome_ = Outcome(family="gaussian", cost_rule="learned", control_cost=rct.control_cost)
        self.unit_ = self._first_unit(steps)
        scaling = _centre_and_spread(rct)
        self.nets_: list[ScoreNet] = []
        self.finish_: list[Finish] = []
        with threads(self.n_threads):
            for k in range(members):
                net, finish = self._member(k, scaling, rct, steps)
                self.nets_.append(net)
                self.finish_.append(finish)

    def _new(self, k: int | None) -> ScoreNet:
        """Returns the k-th network with its initial weights, or one to load weights into (None)."""
        generator = None if k is None else torch.Generator().manual_seed(number(self.seed, k))
        return ScoreNet(len(self.features_), len(self.treatments_) - 1, tuple(self.hidden), generator)

    def _member(self, k: int, scaling: tuple[Floats, Floats], rct: Logs, steps: Steps) -> tuple[ScoreNet, Finish]:
        """Trains one network; the first one doubles the unit while too many factors are close to their upper bound."""
        weight = torch.tensor(rct.weights)
        for attempt in range(_TRIALS):
            net = self._new(k)
            net.centre.copy_(torch.tensor(scaling[0]))
            net.spread.copy_(torch.tensor(scaling[1]))
            x = net.standardise(torch.tensor(rct.x))
            with torch.no_grad():
                net.start.copy_(torch.tensor(self._start(steps)))
            # In double precision; `inverse` has the expected sum 1 over each arm.
            rows = Rows.of(rct, unit_weight=rct.total_weight, units=self._units(steps), dtype=torch.float64)
            finish = self._descend(net, x, rows)
            score = _all_scores(net, x)
            if k > 0 or attempt == _TRIALS - 1 or not self._too_high(score, weight):
                break
            self.unit_ *= 2
        self._settle(net, score, weight)
        return net, finish

    def _descend(self, net: ScoreNet, x: torch.Tensor, rows: Rows) -> Finish:
        level = None
        if not self._binary:  # the steps into and out of each row's arm
            level = torch.stack([rows.treatment - 1, rows.treatment], 1).clamp(0, net.levels - 1)  # (N, 2)

        def score(part: slice) -> torch.Tensor:
            # In double precision: the loss sums many terms of either sign.
            return net(x[part], None if level is None else level[part]).double()

        loss = self._loss(rows)
        penalty = self.l2 * gradient_noise(loss, x, rows.weight, 1 if level is None else 2)
        settings = (type(loss).__name__, self.unit_, self.training, penalty)
        saved = checkpointer(self.checkpoint, x, *rows.columns, *net.state_dict().values(), settings)
        return train_full_batch(net, score, loss, len(x), self.training, penalty, saved)

    def _factors(self, x: NDArray[np.float32]) -> Floats:
        """Returns the mean factor of the networks, unit included, (N, M - 1)."""
        mean = np.zeros((len(x), len(self.treatments_) - 1))
        with threads(self.n_threads):
            for net in self.nets_:
                score = _all_scores(net, net.standardise(torch.tensor(x)))
                mean += self.unit_ * self._factor(score - net.offset).numpy() / len(self.nets_)
        return mean

    def _predict_response(self, x: NDArray[np.float32]) -> Response:
        factor = self._factors(x)
        zero = np.zeros(len(x))
        return Response(np.column_stack([zero, factor]), None, np.column_stack([zero, zero + 1]))

    def _state(self) -> State:
        """Returns the networks' weights and the unit of the factor."""
        arrays = nest(**{str(k): weights_of(net) for k, net in enumerate(self.nets_)})
        return {"unit": self.unit_, "members": len(self.nets_), "hidden": list(self.hidden)}, arrays

    def _restore(self, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Rebuilds the networks from a saved state."""
        self.unit_, self.hidden, self.nets_ = settings["unit"], tuple(settings["hidden"]), []
        for k in range(settings["members"]):
            self.nets_.append(load_weights(self._new(None), unnest(str(k), arrays)))


class ReturnModel(FactorModel):
    """Factors that are a ROI, rescaled into (0, 1).

    The scale puts the mean factor (DPM: of the best step) at .25, and is doubled while more than 1 % of the units have a
    factor above .9.
    """

    _needs = ("cost",)
    _roi_per_factor = 1  # ROI = roi_scale_ · this · factor

    @property
    def roi_scale_(self) -> float:
        """The ROI of a factor of 1 (DPM: half of it), chosen from the data."""
        return self.unit_

    def _roi(self, steps: Steps) -> Floats:
        """Returns the ROI of the arm means for each step; at least that of one standard error of the value."""
        return np.maximum(steps.value, steps.standard_error) / steps.cost

    def _first_unit(self, steps: Steps) -> float:
        return float(self._roi(steps).max()) / (_MEAN_FACTOR * self._roi_per_factor) or 1.0

    def _units(self, steps: Steps) -> tuple[float, float]:
        cost = float(steps.cost.mean())
        return cost * self.unit_, cost

    def _start(self, steps: Steps) -> Floats:
        q = np.clip(self._roi(steps) / (self.unit_ * self._roi_per_factor), 1e-3, _MEAN_FACTOR)
        return np.log(q / (1 - q))

    def _too_high(self, score: torch.Tensor, weight: torch.Tensor) -> bool:
        high = (score.sigmoid() > _HIGH).any(1)
        return float(weight[high].sum()) > _HIGH_SHARE * float(weight.sum())

    def _factor(self, score: torch.Tensor) -> torch.Tensor:
        return score.sigmoid()


def _steps(rct: Logs, needs: tuple[str, ...]) -> Steps:
    """Returns the differences between neighbouring arms' means.

    Raises:
        DataError: The mean of an outcome in `needs` does not rise at some step.
    """
    m, share = rct.n_treatments, rct.inverse_propensity / rct.total_weight
    mean = [np.bincount(rct.treatment, share * column, m) for column in (rct.value, rct.cost)]
    squares = share**2 * (rct.value - mean[0][rct.treatment]) ** 2 / rct.weights
    variance = np.bincount(rct.treatment, squares, m)  # of each arm's mean
    steps = Steps(np.diff(mean[0]), np.diff(mean[1]), np.sqrt(variance[1:] + variance[:-1]))
    remedy = {
        "value": "Use DRP, which only needs a rising cost, or more rows.",
        "cost": "List the treatments in the order of their cost, and merge or drop levels that cost the same.",
    }
    for name in needs:
        change = getattr(steps, name)
        if (change <= 0).any():
            j = int(np.argmax(change <= 0))
            field = f"mean {name} of {rct.treatments[j + 1]!r} less that of {rct.treatments[j]!r}"
            raise _check.refuse(field, float(change[j]), "must be > 0 for this model", remedy[name])
    return steps


def _centre_and_spread(rct: Logs) -> tuple[Floats, Floats]:
    """Returns the weighted mean and standard deviation of each feature; 1 for a constant one."""
    w = rct.weights / rct.total_weight
    centre = w @ rct.x
    spread = np.sqrt(w @ (rct.x - centre) ** 2)
    return centre, np.where(spread > 1e-6 * np.maximum(1, np.abs(centre)), spread, 1.0)


def _all_scores(net: ScoreNet, x: torch.Tensor) -> torch.Tensor:
    """Returns the scores of every step of standardised rows, float64 (N, M - 1)."""
    with torch.inference_mode():
        return torch.cat([net(x[i : i + _CHUNK]).double() for i in range(0, len(x), _CHUNK)])
