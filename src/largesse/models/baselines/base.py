"""What the baselines of the papers share: the published network, its parameters, its training, its state.

Each learns free value and cost heads of every treatment by squared errors. What they are compared on is the rest: which
rows count how much, and what else the network is asked to fit.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from largesse import _check
from largesse._random import number
from largesse.logs import Logs
from largesse.models.base import Model, State
from largesse.models.nets.checkpoint import checkpointer
from largesse.models.nets.minibatch import Remembers, Schedule, Step, threads, train, weights_from
from largesse.models.nets.response import ResponseNet
from largesse.models.nets.rows import Rows
from largesse.models.nets.weights import load_weights, weights_of
from largesse.models.outcome import Outcome, Response
from largesse.models.two_stage.mlp import averaged, scales_of, start

__all__ = ["Baseline", "Plan", "errors", "factual", "in_units", "log_rows", "mean", "needed", "table", "taken"]


def in_units(net: ResponseNet, logs: Logs) -> Rows:
    """Returns the rows of a log with outcomes in units of a network's scales, every arm weighted alike."""
    return Rows.of(logs, arm_weighted=True, units=(net.value_scale, net.cost_scale))


def table(raw: tuple[Tensor, Tensor | None]) -> Tensor:
    """Returns the raw heads of a published network as one table of value and cost, (N, 2, M)."""
    value, cost = raw
    assert cost is not None, "published networks learn the cost"
    return torch.stack([value[:, 0], cost], 1)


def taken(found: Tensor, t: Tensor) -> Tensor:
    """Returns what a table (N, 2, M) says of the treatments taken, (N, 2)."""
    return found.gather(2, t[:, None, None].expand(-1, 2, 1)).squeeze(2)


def errors(found: Tensor, rows: Rows) -> Tensor:
    """Returns the squared error of each row, value's plus cost's, (N,)."""
    return ((taken(found, rows.treatment) - rows.outcomes) ** 2).sum(1)


def mean(weight: Tensor, each: Tensor) -> Tensor:
    """Returns the weighted mean."""
    return (weight * each).sum() / weight.sum()


def factual(found: Tensor, rows: Rows) -> Tensor:
    """Returns the prediction loss L_PL: the mean squared error, every arm counted alike."""
    return mean(rows.weight, errors(found, rows))


class Plan(NamedTuple):
    """What a baseline trains.

    Attributes:
        net: The network that is deployed.
        module: What the loop trains: the network itself, or what holds it.
        loss: Mean loss of the rows whose numbers it is given.
        rows: Number of rows that a pass goes over.
        memory: What the loss keeps from batch to batch.
    """

    net: ResponseNet
    module: nn.Module
    loss: Callable[[Tensor], Tensor]
    rows: int
    memory: Remembers | None = None


@dataclass(kw_only=True, eq=False, repr=False)
class Baseline(Model):
    """A published learner with the network of `MLP.published`.

    Args:
        outcome: Family and cost rule, for what is told about the rows; the network itself learns amounts.
        hidden: Widths of the body.
        schedule: Epochs, batch, rate, decay, averaging.
        dropout: Share of hidden units left out in each step.
        seed: Starts, row orders, draws.
        n_threads: Threads of the matrix products.
        on_step: Called as on_step(step, steps, loss) after each step.
        checkpoint: Folder that keeps unfinished trainings: the same fit, begun again after a kill, goes on from there.
    """

    outcome: Outcome | None = None
    hidden: tuple[int, ...] = (128, 64, 32)
    schedule: Schedule = Schedule()
    dropout: float = 0.0
    seed: int = 0
    n_threads: int = 1
    on_step: Step | None = None
    checkpoint: str | None = None
    data = "obs"  # the rows that the passes of the schedule go over; some learners make it a parameter

    @abstractmethod
    def _plan(self, rct: Logs, obs: Logs | None) -> Plan: ...

    def _learn(self, rct: Logs, obs: Logs | None, validation: Logs | None) -> None:
        self.outcome_ = Outcome(family="gaussian", cost_rule="learned", control_cost=self.outcome_.control_cost)
        with threads(self.n_threads):
            net, module, loss, rows, memory = self._plan(rct, obs)
            kept = checkpointer(self.checkpoint, *self._depends(rct, obs))
            train(module, loss, rows, self.schedule, self._seed(0), self.on_step, kept, memory)
        self.net_: ResponseNet = net.eval()

    def _depends(self, *given: Logs | None) -> list[Any]:
        """Returns all that a training depends on."""
        names = ("x", "treatment", "value", "cost", "weights", "propensity")
        aside = ("on_step", "checkpoint", "n_threads")
        how = {k: v for k, v in self.get_params(deep=False).items() if k not in aside}
        return [type(self).__name__, how, *(getattr(logs, n) for logs in given if logs is not None for n in names)]

    def _seed(self, k: int) -> int:
        return number(self.seed, k)

    def _started(self, logs: Logs) -> tuple[ResponseNet, Rows]:
        """Returns a drawn network that says "everybody is average" of these rows, and the rows in its units."""
        rows = Rows.of(logs, arm_weighted=True)
        net = self._net(scales_of(rows), 0)
        start(net, logs, rows.features)
        return net, in_units(net, logs)

    def _imputing(self, net: ResponseNet) -> ResponseNet:
        """Returns another network, of residuals of this one."""
        other = self._net((1.0, 1.0), 1)
        other.look_like(net)
        return other

    def _net(self, scales: tuple[float, float], k: int) -> ResponseNet:
        """Returns the k-th network drawn from the seed."""
        with weights_from(self._seed(k)):
            return self._build(scales)

    def _build(self, scales: tuple[float, float]) -> ResponseNet:
        m = len(self.treatments_)
        return ResponseNet(len(self.features_), m, self.outcome_, tuple(self.hidden), True, scales, self.dropout)

    def _predict_response(self, x: NDArray[np.float32]) -> Response:
        with threads(self.n_threads):
            return averaged([self.net_], x)

    def state(self) -> State:
        """Returns the deployed network's weights and what is needed to build it again."""
        scales = [self.net_.value_scale, self.net_.cost_scale]
        return {"scales": scales}, weights_of(self.net_)

    def restore(self, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Builds the network of a saved state."""
        value, cost = settings["scales"]
        self.net_ = load_weights(self._net((value, cost), 0), arrays)


def needed(model: Baseline, obs: Logs | None) -> Logs:
    """Returns the log of the past policy, for a model that learns from it beside the trial."""
    if obs is None:
        raise _check.refuse(
            "obs", None, f"{type(model).__name__} learns from a trial and a log of the past policy",
            "Pass obs, or use MLP(data='rct').",
        )  # fmt: skip
    return obs


def log_rows(model: Baseline, obs: Logs | None) -> Logs:
    """Returns the same, for a model that learns every treatment from it."""
    logs = needed(model, obs)
    for j, count in enumerate(logs.arm_rows):
        if count == 0:
            raise _check.refuse(
                f"obs: rows of treatment {logs.treatments[j]!r}", 0,
                f"{type(model).__name__} learns every treatment from the log",
                "Drop the treatment, or use MLP, which learns it from the trial.",
            )  # fmt: skip
    return logs
