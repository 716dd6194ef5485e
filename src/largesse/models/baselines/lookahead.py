"""Two levels: what the trial says of one assumed step of a network on the log, and what would make it say better.

Lower level: θ' = θ - step · ∇_θ L(θ, φ), a step that is taken in thought only. Upper level: φ goes down
∇_φ L_PL(θ'(φ); rows of the trial), the chain rule through that step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from largesse.models.baselines.base import factual, table
from largesse.models.nets.checkpoint import Arrays
from largesse.models.nets.hypergradient import Parameters, explicit
from largesse.models.nets.minibatch import packed, unpack
from largesse.models.nets.response import ResponseNet
from largesse.models.nets.rows import Rows

__all__ = ["Assumed", "Upper", "ahead"]

Level = Callable[[Parameters], Tensor]


class Assumed(NamedTuple):
    """How the upper level learns.

    Attributes:
        rate: Learning rate of φ (Adam).
        step: Size of the assumed step of θ. Adam does not see the size of a gradient, so it sets only how far ahead φ looks.
    """

    rate: float
    step: float


def ahead(net: ResponseNet, theta: Parameters, rows: Rows) -> Tensor:
    """Returns what the network would say of rows if its parameters were θ, (N, 2, M)."""
    return table(functional_call(net, theta, (rows.features,)))


class Upper:
    """φ, its optimiser, and the batches of the trial that judge it.

    Args:
        net: The network of the lower level.
        phi: What the upper level learns.
        trial: Rows of the trial.
        how: Rate and assumed step.
        seed: Draws the batches of the trial, with replacement.
    """

    def __init__(self, net: ResponseNet, phi: nn.Module, trial: Rows, how: Assumed, seed: int) -> None:
        self.net, self.phi, self.trial, self.how = net, phi, trial, how
        self.optimiser = torch.optim.Adam(phi.parameters(), lr=how.rate)
        self.draw = torch.Generator().manual_seed(seed)

    def learn(self, lower: Level, rows: int) -> None:
        """Takes one step on φ, judged by as many rows of the trial."""
        judge = self.trial.take(torch.randint(len(self.trial.treatment), (rows,), generator=self.draw))

        def upper(theta: Parameters) -> Tensor:
            return factual(ahead(self.net, theta, judge), judge)

        phi = list(self.phi.parameters())
        theta = {name: p.detach().requires_grad_() for name, p in self.net.named_parameters()}
        for p, slope in zip(phi, explicit(lower, upper, theta, phi, self.how.step), strict=True):
            p.grad = slope
        self.optimiser.step()

    def state(self) -> Arrays:
        """Returns all that is needed to go on."""
        return packed(self.phi, self.optimiser) | {"draw": self.draw.get_state().numpy().copy()}

    def restore(self, arrays: Arrays) -> None:
        """Goes to where `state` was taken."""
        self.draw.set_state(torch.from_numpy(arrays["draw"]))
        unpack(arrays, self.phi, self.optimiser)
