"""Two-stage networks: learn the response by its likelihood, average a few of them, decide by price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

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
    """A multi-head network, or the mean of several.

    Args:
        outcome: Family and cost rule; None: inferred from the rows.
        data: Which rows to learn from: ``"both"``, ``"rct"`` or ``"obs"``.
        hidden: Widths of the body.
        members: Networks to average, each with its own start and row order.
        schedule: Epochs, batch, rate, decay, averaging.
        lengths: Epochs of each member, in multiples of the schedule's; members take turns. How long suits a table is not known
            beforehand; a mean of short and long trainings stays within a few points of the best of them
            (docs/benchmarks/lengths.md).
        dropout: Share of hidden units left out in each step.
        arm_weighted: Weigh rows so that every arm counts alike: a_i = n / (M n_{t_i}).
        plain: Free heads and squared errors for value and cost, as in the published systems.
        tasks: Whether the weights of value, purchase and cost in the loss are learned, and arms of the log made alike.
        seed: Starts and row orders.
        n_threads: Threads of the matrix products.
        on_step: Called as on_step(step, steps, loss) after each step.
        checkpoint: Folder that keeps unfinished trainings: the same fit, begun again after a kill, goes on from there.

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

    @classmethod
    def published(cls, **changes: Any) -> Self:
        """Returns the network of the papers: one member, free value and cost heads, arm-weighted squared errors."""
        return cls(**{"members": 1, "plain": True, "arm_weighted": True, **changes})

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
        rule = "must be >= 1"
        with threads(self.n_threads):
            for k in range(_check.integers("members", [self.members], low=1, high=1000, rule=rule, remedy="")[0]):
                seed, schedule = number(self.seed, k), self._lasting(k)
                net = self._net(len(rows.features), scales_of(tensors), seed)
                start(net, rows, tensors.features)
                how = (schedule, seed, self.hidden, self.dropout, self.plain, self.tasks, self.outcome_)
                kept = checkpointer(self.checkpoint, *tensors.columns, how)
                whole, loss = learner(self.tasks, net, tensors)
                train(whole, loss, len(tensors), schedule, seed, self.on_step, kept)
                self.nets_.append(net)

    def _lasting(self, k: int) -> Schedule:
        """Returns the schedule of a member."""
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

    def state(self) -> State:
        """Returns the networks' weights and what is needed to build them again."""
        arrays = nest(**{str(k): weights_of(net) for k, net in enumerate(self.nets_)})
        return {
            "scales": [[net.value_scale, net.cost_scale] for net in self.nets_],
            "plain": self.plain,
            "hidden": list(self.hidden),
        }, arrays

    def restore(self, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Builds the networks of a saved state."""
        self.plain, self.hidden, self.nets_ = settings["plain"], tuple(settings["hidden"]), []
        for k, scales in enumerate(settings["scales"]):
            net = self._net(len(self.features_), tuple(scales), 0)
            self.nets_.append(load_weights(net, unnest(str(k), arrays)))


def scales_of(rows: Rows) -> tuple[float, float]:
    """Returns the typical size of a value and of a cost: their standard deviations, 1 where nothing varies."""
    return float(rows.value.std()) or 1.0, float(rows.cost.std()) or 1.0


def averaged(nets: Sequence[ResponseNet], x: NDArray[np.float32]) -> Response:
    """Returns the mean response of networks, scored in chunks."""
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
    """Puts the features x of the rows on one scale, and the network's values at the mean."""
    net.fit_scale(x)
    net.start(rows)
