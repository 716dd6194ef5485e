"""The two levels of bi-level training as one loss: the network is fitted on the log, its gates on the trial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from largesse import _check
from largesse._arguments import checked
from largesse.models.bilevel.bridge import Bridge, GateValues
from largesse.models.decision.joint import Joint
from largesse.models.nets.adam import Adam
from largesse.models.nets.checkpoint import Arrays
from largesse.models.nets.hypergradient import Lower, Parameters, Solver, descended, explicit, implicit
from largesse.models.nets.minibatch import packed, unpack
from largesse.models.nets.response import ResponseNet
from largesse.models.nets.rows import Rows
from largesse.store import nest, unnest

__all__ = ["Hypergradient", "Levels", "Raw", "Solves", "Teacher"]

Raw = tuple[Tensor, Tensor | None]
Teacher = tuple[Tensor, Tensor | None, Tensor | None]
"""Predictions of a teacher for every treatment: E value, P(value > 0) and E cost, each (N, M)."""


@checked
@dataclass(frozen=True, slots=True)
class Hypergradient:
    """The gradient of the upper level in the gates.

    Attributes:
        form: ``"implicit"`` (implicit function theorem) or ``"explicit"`` (backpropagation through the assumed steps).
        every: Batches of the lower level per step of the gates (k of the paper).
        assumed: Gradient steps on a copy of the network that stand for the response of the lower level to the gates.
        rate: Learning rate of the assumed steps.
        batch: Trial rows per step of the gates, drawn with replacement.
        solver: Linear solver of the implicit form.

    Raises:
        DataError: A setting is out of its range.
    """

    form: Literal["implicit", "explicit"] = "implicit"
    every: int = 5
    assumed: int = 1
    rate: float = 0.01
    batch: int = 8192
    solver: Solver = Solver()  # noqa: RUF009  (frozen)

    def __post_init__(self) -> None:
        _check.choice("hypergradient.form", self.form, ("implicit", "explicit"))
        for name in ("every", "assumed", "batch"):
            _check.number(f"hypergradient.{name}", getattr(self, name), low=1, remedy="Give a whole number.")
        _check.number("hypergradient.rate", self.rate, low=0)


class Solves(NamedTuple):
    """Diagnostics of the linear systems of the implicit form, one entry per step of the gates.

    Attributes:
        residual: |b - A v| / |b|.
        iterations: Conjugate gradient iterations.
        concave: Whether the solver stopped at negative curvature.
    """

    residual: NDArray[np.float64]
    iterations: NDArray[np.int64]
    concave: NDArray[np.bool_]


class _Both(nn.Module):
    """A network that predicts for rows of a log and of a trial in one pass through its body."""

    def __init__(self, net: ResponseNet, drifts: bool) -> None:
        super().__init__()
        self.net, self.drifts = net, drifts

    def forward(self, x: Tensor, logged: Tensor) -> tuple[Tensor, ...]:
        """Returns raw value heads for a trial, cost heads if any, and value heads with the drift of the log if any."""
        h = self.net.represent(x)
        value, cost = self.net.heads(h)
        drifted = self.net.heads(h, logged)[0] if self.drifts else None
        return tuple(a for a in (value, cost, drifted) if a is not None)

    def parted(self, outputs: tuple[Tensor, ...]) -> tuple[Raw, Raw]:
        """Returns the raw heads for the logged outcomes, and those for a trial."""
        value, cost = outputs[0], None if self.net.cost is None else outputs[1]
        return (outputs[-1] if self.drifts else value, cost), (value, cost)


class Levels:
    """The loss of a batch of the lower level, mean over its rows i:

    g_i · loss(logged outcome) + Σ_{j ≠ t_i} (w^r_ij² divergence(value_ij) + w^c_ij² divergence(cost_ij)),

    with the divergence of a head from the teacher in the likelihood of the head: with squared errors this is the regression on
    the pseudo-labels w · teacher + (1 - w) · target. Before every k-th batch the gates w and weights g take a step down the
    hypergradient of the loss on the trial.

    Args:
        net: The network.
        bridge: Its gates.
        lower: Rows of the lower level, row weights of mean 1, and the predictions of the teacher for them.
        trial: The loss of the upper level, on rows of the trial.
        hypergradient: The gradient of the upper level in the gates.
        seed: Of the trial rows drawn in each step.
    """  # noqa: D415  (the formula ends the sentence)

    def __init__(
        self, net: ResponseNet, bridge: Bridge, lower: tuple[Rows, Teacher], trial: Joint, hypergradient: Hypergradient,
        seed: int,
    ) -> None:  # fmt: skip
        self.rows, self.teacher = lower
        assert self.rows.observed is not None
        drifts = not net.plain and bool((self.rows.observed != self.rows.observed[0]).any())
        self.both, self.bridge, self.trial, self.hypergradient = _Both(net, drifts), bridge, trial, hypergradient
        self.draw = torch.Generator().manual_seed(seed)
        self.phi = list(bridge.parameters())
        self.optimiser = Adam(self.phi, lr=bridge.gates.rate) if self.phi else None
        self.calls = 0
        self.last: Tensor | None = None
        self.solved: list[tuple[float, int, bool]] = []

    def __call__(self, i: Tensor) -> Tensor:
        """Returns the loss of the rows i."""
        if self.optimiser is not None and self.calls % self.hypergradient.every == 0:
            self._step(i, self.optimiser)
        self.calls += 1
        batch = self.batch(i)
        with torch.no_grad():
            gates = self.bridge(batch[0].features)
        return self.loss(self.both(batch[0].features, batch[0].observed), batch, gates)

    def batch(self, i: Tensor) -> tuple[Rows, Teacher]:
        """Returns rows of the lower level, and the predictions of the teacher for them."""
        value, conversion, cost = self.teacher
        return self.rows.take(i), (
            value[i], None if conversion is None else conversion[i], None if cost is None else cost[i],
        )  # fmt: skip

    def loss(self, outputs: tuple[Tensor, ...], batch: tuple[Rows, Teacher], gates: GateValues) -> Tensor:
        """Returns the loss of rows of the lower level from the network's outputs and the gates."""
        (rows, teacher), net = batch, self.both.net
        assert rows.observed is not None
        logged, trial = self.both.parted(outputs)
        t = rows.treatment
        factual = gates.logged.gather(1, t[:, None]).squeeze(1)
        each = net.each(logged, rows) * torch.where(rows.observed > 0, factual, 1.0)
        untaken = torch.ones_like(teacher[0]).scatter(1, t[:, None], 0.0)
        for gate, divergence in zip((gates.value, gates.cost), net.divergence(trial, teacher), strict=True):
            if divergence is not None:
                each = each + (gate**2 * divergence * untaken).sum(1)
        return (rows.weight * each).mean()

    def _step(self, i: Tensor, optimiser: torch.optim.Optimizer) -> None:
        """Takes one step of the gates."""
        batch, options = self.batch(i), self.hypergradient
        x, observed = batch[0].features, batch[0].observed
        gates = self.bridge(x)
        lower = Lower(lambda theta: self._outputs(theta, x, observed), lambda outputs: self.loss(outputs, batch, gates))
        drawn = torch.randint(len(self.trial.rows), (options.batch,), generator=self.draw)
        theta = {name: p.detach().clone().requires_grad_() for name, p in self.both.named_parameters()}

        def upper(theta: Parameters) -> Tensor:
            _, trial = self.both.parted(self._outputs(theta, self.trial.rows.features[drawn], torch.zeros(len(drawn))))
            return self.trial(trial, drawn)

        if options.form == "explicit":
            gradients = explicit(lower, upper, theta, self.phi, options.rate, options.assumed)
        else:
            constant = Lower(lower.outputs, lambda outputs: self.loss(outputs, batch, gates.detached()))
            theta = descended(constant, theta, options.rate, options.assumed)
            gradients, solution = implicit(lower, upper, theta, self.phi, options.solver, self.last)
            self.last = solution.x
            self.solved.append((solution.residual, solution.iterations, solution.concave))
        for p, g in zip(self.phi, gradients, strict=True):
            p.grad = g
        optimiser.step()

    def _outputs(self, theta: Parameters, x: Tensor, observed: Tensor | None) -> tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = functional_call(self.both, theta, (x, observed))
        return outputs

    def state(self) -> Arrays:
        """Returns the state that is kept between batches."""
        solved = np.array(self.solved, np.float64).reshape(-1, 3)
        arrays = {"calls": np.array(self.calls), "draw": self.draw.get_state().numpy().copy(), "solved": solved}
        if self.last is not None:
            arrays["last"] = self.last.numpy().copy()
        if self.optimiser is not None:
            arrays |= nest(gates=packed(self.bridge, self.optimiser))
        return arrays | nest(trial=self.trial.objective.state())

    def restore(self, arrays: Arrays) -> None:
        """Sets the state that `state` returned."""
        self.calls = int(arrays["calls"])
        self.draw.set_state(torch.from_numpy(arrays["draw"].copy()))
        self.solved = [(float(r), int(n), bool(c)) for r, n, c in arrays["solved"]]
        self.last = torch.from_numpy(arrays["last"].copy()) if "last" in arrays else None
        if self.optimiser is not None:
            unpack(unnest("gates", arrays), self.bridge, self.optimiser)
        self.trial.objective.restore(unnest("trial", arrays))

    def solves(self) -> Solves:
        """Returns the diagnostics of the linear systems."""
        residual, iterations, concave = np.array(self.solved, np.float64).reshape(-1, 3).T
        return Solves(residual, iterations.astype(np.int64), concave.astype(bool))
