"""Two-stage networks of value and cost, fitted by likelihood; a model averages a few of them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone

from largesse import _check
from largesse._random import number
from largesse.logs import Logs
from largesse.models.base import Data, Model, State, training_rows
from largesse.models.nets.checkpoint import checkpointer
from largesse.models.nets.minibatch import Schedule, Step, threads, train, weights_from
from largesse.models.nets.response import ResponseNet
from largesse.models.nets.rows import Rows
from largesse.models.nets.tasks import Tasks, learner
from largesse.models.nets.weights import load_weights, weights_of
from largesse.models.outcome import Outcome, Response
from largesse.store import nest, unnest

__all__ = ["MLP", "averaged", "scales_of", "start"]

_CHUNK = 4096  # rows scored at once: stays in cache


@dataclass(kw_only=True, eq=False, repr=False)
class MLP(Model):
    """A network with a head per treatment, or the mean of several such networks.

    Args:
        outcome: Family and cost rule; None: inferred from the rows.
        data: Training rows: ``"both"``, ``"rct"`` or ``"obs"``.
        hidden: Widths of the hidden layers.
        members: Number of networks, each with its own initial weights and row order.
        schedule: Epochs, batch size, learning rate, weight decay and weight averaging.
        lengths: Epochs of the members in multiples of the schedule's, repeated cyclically. The best number of epochs is not known
            beforehand; a mean of short and long trainings is within a few points of the best (docs/benchmarks/lengths.md).
        dropout: Share of hidden units left out in each step.
        arm_weighted: Whether rows are weighted by n / (M n_{t_i}), so that all arms have the same total weight.
        plain: Unconstrained heads and squared errors for value and cost, as in the published systems.
        tasks: Learned weights of the losses of value, conversion and cost, and balance of the arms' representations.
        seed: Of initial weights and row orders.
        n_threads: Threads of the matrix products.
        on_step: Called as on_step(step, steps, loss) after each step.
        checkpoint: Folder for checkpoints: after a kill, the same fit continues from the last checkpoint.

    Reference:
        Network and prediction loss: Zhou et al., KDD 2024 (DFCL), equation of L_PL; likelihood heads: Wang et al. 2019
        (zero-inflated log-normal); learned task weights and balance: see `Tasks`.

    >>> rng = np.random.default_rng(0)
    >>> x, t = rng.normal(size=(400, 2)), rng.integers(0, 2, 400)
    >>> order = (rng.random(400) < 0.3 + 0.2 * t).astype(float)
    >>> model = MLP(members=1).fit(Logs(x=x, treatment=t, value=order, cost=2.0 * t * order))
    >>> model.outcome_.cost_rule, model.predict(x).cost[:, 0].max().item()
    ('per_redemption', 0.0)
    """

    outcome: Outcome | None = None
    data: Data = "both"
    hidden: tuple[int, ...] = (128, 64, 32)
    members: int = 3
    schedule: Schedule = Schedule()
    lengths: tuple[float, ...] = (1, 2, 3)
    dropout: float = 0.0
    arm_weighted: bool = False
    plain: bool = False
    tasks: Tasks = Tasks()
    seed: int = 0
    n_threads: int = 1
    on_step: Step | None = None
    checkpoint: str | None = None
    _only = cast("int | None", None)  # the member that a piece fits; no parameter

    @classmethod
    def published(cls, **changes: Any) -> Self:
        """Returns the network of the papers: one member, unconstrained value and cost heads, arm-weighted squared errors."""
        return cls(**{"members": 1, "plain": True, "arm_weighted": True, **changes})

    def piece(self, k: int) -> Self:
        """Returns a model that fits member k alone; `joined` makes one of them all, which is the model fitted at once."""
        out: Self = clone(self)
        out._only = k
        return out

    def joined(self, pieces: Sequence[Self]) -> Self:
        """Returns the model of fitted pieces, by member; they share what was learned of the rows."""
        out = copy(pieces[0])
        out._only, out.nets_ = None, [net for piece in pieces for net in piece.nets_]
        return out

    @property
    def network(self) -> Self:
        """The model itself."""
        return self

    def _learn(self, rct: Logs, obs: Logs | None, validation: Logs | None) -> None:
        rows = training_rows(self.data, rct, obs)
        if self.plain:
            self.outcome_ = Outcome(family="gaussian", cost_rule="learned", control_cost=self.outcome_.control_cost)
        observed = torch.zeros(rows.n)
        if self.data == "both" and obs is not None:
            observed[rct.n :] = 1.0
        tensors = Rows.of(rows, arm_weighted=self.arm_weighted, observed=observed)
        self.nets_: list[ResponseNet] = []
        _check.integers("members", [self.members], low=1, high=1000, rule="must be >= 1", remedy="")
        _check.number("dropout", self.dropout, low=0, high=0.99)
        with threads(self.n_threads):
            for k in range(int(self.members)) if self._only is None else (self._only,):
                seed, schedule = number(self.seed, k), self._schedule(k)
                net = self._net(len(rows.features), scales_of(tensors), seed)
                start(net, rows, tensors.features)
                settings = (schedule, seed, self.hidden, self.dropout, self.plain, self.tasks, self.outcome_)
                checkpoints = checkpointer(self.checkpoint, *tensors.columns, settings)
                module, loss = learner(self.tasks, net, tensors)
                train(module, loss, len(tensors), schedule, seed, self.on_step, checkpoints)
                self.nets_.append(net)

    def _schedule(self, k: int) -> Schedule:
        """Returns the schedule of member k."""
        lengths = _check.array("lengths", self.lengths, ndim=1, dtype=np.float64)
        if not len(lengths) or not (np.isfinite(lengths) & (lengths > 0)).all():
            raise _check.refuse("lengths", self.lengths, "must be numbers > 0", "Give e.g. (1, 2, 3), or (1,).")
        return replace(self.schedule, epochs=max(1, round(self.schedule.epochs * float(lengths[k % len(lengths)]))))

    def _net(self, features: int, scales: tuple[float, float], seed: int) -> ResponseNet:
        with weights_from(seed):
            return ResponseNet(
                features, len(self.treatments_), self.outcome_, tuple(self.hidden), self.plain, scales, self.dropout
            )

    def _predict_response(self, x: NDArray[np.float32]) -> Response:
        with threads(self.n_threads):
            return averaged(self.nets_, x)

    def _state(self) -> State:
        """Returns the weights of the networks and the settings that rebuild them."""
        arrays = nest(**{str(k): weights_of(net) for k, net in enumerate(self.nets_)})
        return {
            "scales": [[net.value_scale, net.cost_scale] for net in self.nets_],
            "plain": self.plain,
            "hidden": list(self.hidden),
        }, arrays

    def _restore(self, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Sets a saved state."""
        self.plain, self.hidden, self.nets_ = settings["plain"], tuple(settings["hidden"]), []
        for k, scales in enumerate(settings["scales"]):
            net = self._net(len(self.features_), tuple(scales), 0)
            self.nets_.append(load_weights(net, unnest(str(k), arrays)))


def scales_of(rows: Rows) -> tuple[float, float]:
    """Returns the standard deviations of value and cost, 1 for a constant."""
    return float(rows.value.std()) or 1.0, float(rows.cost.std()) or 1.0


def averaged(nets: Sequence[ResponseNet], x: NDArray[np.float32]) -> Response:
    """Returns the mean response of networks for features x (N, d)."""
    tables: list[NDArray[Any] | None] = [None, None, None]
    with torch.inference_mode():
        for k, net in enumerate(nets):
            parts = [net.predict_response(torch.tensor(x[i : i + _CHUNK])) for i in range(0, len(x), _CHUNK)]
            for q, pieces in enumerate(zip(*parts, strict=True)):
                if pieces[0] is not None:
                    table = torch.cat(pieces).numpy()
                    tables[q] = table if k == 0 else tables[q] + (table - tables[q]) / (k + 1)
    value, conversion, cost = tables
    assert value is not None
    return Response(value, conversion, cost)


def start(net: ResponseNet, rows: Logs, x: torch.Tensor) -> None:
    """Sets the standardisation of the network from features x (N, d), and its initial values to the mean of the rows."""
    net.fit_scale(x)
    net.start(rows)
