"""Base class of the papers' baselines: the published network, its parameters, training and state.

Each baseline fits plain value and cost heads of every treatment by squared errors. They differ in the row weights and in the
further terms of the loss.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from largesse import _check
from largesse._random import number
from largesse.logs import Logs
from largesse.models.base import Model, State
from largesse.models.nets.checkpoint import checkpointer
from largesse.models.nets.minibatch import Schedule, StatefulLoss, threads, train, weights_from
from largesse.models.nets.response import ResponseNet
from largesse.models.nets.rows import Rows
from largesse.models.nets.weights import load_weights, weights_of
from largesse.models.outcome import Outcome, Response
from largesse.models.two_stage.mlp import averaged, scales_of, start

__all__ = ["Baseline", "Training", "factual", "in_units", "mean", "past_log", "squared_errors", "table", "taken"]


def in_units(net: ResponseNet, logs: Logs) -> Rows:
    """Returns the rows of a log with outcomes in units of a network's scales, and equal total weight of every arm."""
    return Rows.of(logs, arm_weighted=True, units=(net.value_scale, net.cost_scale))


def table(raw: tuple[Tensor, Tensor | None]) -> Tensor:
    """Returns the heads of a published network as one table of value and cost, (N, 2, M)."""
    value, cost = raw
    assert cost is not None, "published networks have cost heads"
    return torch.stack([value[:, 0], cost], 1)


def taken(predicted: Tensor, t: Tensor) -> Tensor:
    """Returns the predictions for the treatments given, (N, 2), from a table (N, 2, M)."""
    return predicted.gather(2, t[:, None, None].expand(-1, 2, 1)).squeeze(2)


def squared_errors(predicted: Tensor, rows: Rows) -> Tensor:
    """Returns the squared error of each row, value plus cost, (N,)."""
    return ((taken(predicted, rows.treatment) - rows.outcomes) ** 2).sum(1)


def mean(weight: Tensor, each: Tensor) -> Tensor:
    """Returns the weighted mean."""
    return (weight * each).sum() / weight.sum()


def factual(predicted: Tensor, rows: Rows) -> Tensor:
    """Returns the prediction loss L_PL: the mean squared error, with equal total weight of every arm."""
    return mean(rows.weight, squared_errors(predicted, rows))


class Training(NamedTuple):
    """The training problem of a baseline.

    Attributes:
        net: The network that predicts.
        module: The module to train: the network, or one that contains it.
        loss: Mean loss of the rows with the given indices.
        rows: Number of training rows.
        memory: State of the loss that changes from batch to batch.
    """

    net: ResponseNet
    module: nn.Module
    loss: Callable[[Tensor], Tensor]
    rows: int
    memory: StatefulLoss | None = None


@dataclass(kw_only=True, eq=False, repr=False)
class Baseline(Model):
    """A published method, with the network of `MLP.published`.

    Args:
        outcome: Declared outcome; only `control_cost` is used, the network itself predicts amounts.
        hidden: Widths of the body.
        schedule: Epochs, batch, rate, decay, averaging.
        dropout: Share of hidden units dropped in each step.
        seed: Seeds initial weights, row orders and random draws.
        n_threads: Threads of the matrix products.
        checkpoint: Folder for unfinished trainings: the same fit, started again after a kill, resumes there.
    """

    outcome: Outcome | None = None
    hidden: tuple[int, ...] = (128, 64, 32)
    schedule: Schedule = Schedule()
    dropout: float = 0.0
    seed: int = 0
    n_threads: int = 1
    checkpoint: str | None = None
    data = "obs"  # the training rows of the schedule's epochs; a parameter of some methods
    _network: ClassVar[type[ResponseNet]] = ResponseNet

    @abstractmethod
    def _training(self, rct: Logs, obs: Logs | None) -> Training: ...

    def _learn(self, rct: Logs, obs: Logs | None, validation: Logs | None) -> None:
        _check.number("dropout", self.dropout, low=0, high=0.99)
        self.outcome_ = Outcome(family="gaussian", cost_rule="learned", control_cost=self.outcome_.control_cost)
        with threads(self.n_threads):
            net, module, loss, rows, memory = self._training(rct, obs)
            saved = checkpointer(self.checkpoint, *self._depends(rct, obs))
            train(module, loss, rows, self.schedule, self._seed(0), checkpointer=saved, memory=memory)
        self.net_: ResponseNet = net.eval()

    def _depends(self, *data: Logs | None) -> list[Any]:
        """Returns everything that a training depends on."""
        names = ("x", "treatment", "value", "cost", "weights", "propensity")
        settings = {k: v for k, v in self.get_params(deep=False).items() if k not in ("checkpoint", "n_threads")}
        return [type(self).__name__, settings, *(getattr(logs, n) for logs in data if logs is not None for n in names)]

    def _seed(self, k: int) -> int:
        return number(self.seed, k)

    def _started(self, logs: Logs) -> tuple[ResponseNet, Rows]:
        """Returns a network with initial weights that predicts the mean of these rows, and the rows in its units."""
        rows = Rows.of(logs, arm_weighted=True)
        net = self._net(scales_of(rows), 0)
        start(net, logs, rows.features)
        return net, in_units(net, logs)

    def _imputing(self, net: ResponseNet) -> ResponseNet:
        """Returns a second network, for the residuals of this one."""
        other = self._net((1.0, 1.0), 1)
        other.copy_scale(net)
        return other

    def _net(self, scales: tuple[float, float], k: int) -> ResponseNet:
        """Returns the k-th network with initial weights from the seed."""
        d, m = len(self.features_), len(self.treatments_)
        with weights_from(self._seed(k)):
            return self._network(d, m, self.outcome_, tuple(self.hidden), True, scales, self.dropout)

    def _predict_response(self, x: NDArray[np.float32]) -> Response:
        with threads(self.n_threads):
            return averaged([self.net_], x)

    def _state(self) -> State:
        """Returns the weights of the network that predicts, and its scales."""
        return {"scales": [self.net_.value_scale, self.net_.cost_scale]}, weights_of(self.net_)

    def _restore(self, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Rebuilds the network from a saved state."""
        value, cost = settings["scales"]
        self.net_ = load_weights(self._net((value, cost), 0), arrays)


def past_log(model: Baseline, obs: Logs | None, *, every_arm: bool = True) -> Logs:
    """Returns the past campaign data, which the model needs beside the trial.

    Raises:
        DataError: There are none, or, with `every_arm`, none of some treatment.
    """
    name = type(model).__name__
    if obs is None:
        rule = f"{name} needs a trial and past campaign data"
        raise _check.refuse("obs", None, rule, "Pass obs, or use MLP(data='rct').")
    if every_arm and not obs.arm_rows.all():
        j = int(np.argmin(obs.arm_rows))
        raise _check.refuse(
            f"obs: rows of treatment {obs.treatments[j]!r}", 0,
            f"{name} needs rows of every treatment in the past campaign data",
            "Drop the treatment, or use MLP, which is fitted on the trial too.",
        )  # fmt: skip
    return obs
