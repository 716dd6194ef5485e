"""Bi-level training with one look-ahead step: a loss on the log whose parameters φ are chosen by the trial.

Lower level: θ' = θ - step · ∇_θ L(θ, φ), a virtual step from the current θ. Upper level: φ descends
∇_φ L_PL(θ'(φ); trial rows), differentiated through that step.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from largesse.models.baselines.base import factual, table
from largesse.models.nets.checkpoint import Arrays
from largesse.models.nets.hypergradient import Parameters, explicit
from largesse.models.nets.minibatch import packed, unpack
from largesse.models.nets.response import ResponseNet
from largesse.models.nets.rows import Rows

__all__ = ["UpperLevel", "predicted_at"]


def predicted_at(net: ResponseNet, theta: Parameters, rows: Rows) -> Tensor:
    """Returns the predictions of the network with parameters θ, (N, 2, M)."""
    return table(functional_call(net, theta, (rows.features,)))


class UpperLevel:
    """φ with its optimiser, and batches of trial rows for the upper-level loss.

    Args:
        net: The network of the lower level.
        phi: The module with parameters φ.
        trial: Trial rows.
        rate: Learning rate of φ (Adam).
        step: Size of the virtual step of θ. Adam is invariant to the scale of the gradient of φ, so this only sets the
            point θ' at which the upper level is evaluated.
        seed: Seeds the sampling of trial batches, with replacement.
    """

    def __init__(self, net: ResponseNet, phi: nn.Module, trial: Rows, rate: float, step: float, seed: int) -> None:
        self.net, self.phi, self.trial, self.step = net, phi, trial, step
        self.optimiser = torch.optim.Adam(phi.parameters(), lr=rate)
        self.generator = torch.Generator().manual_seed(seed)

    def update(self, lower: Callable[[Parameters], Tensor], rows: int) -> None:
        """Takes one step on φ, given the lower-level loss of θ and the number of trial rows to sample."""
        batch = self.trial.take(torch.randint(len(self.trial), (rows,), generator=self.generator))

        def upper(theta: Parameters) -> Tensor:
            return factual(predicted_at(self.net, theta, batch), batch)

        phi = list(self.phi.parameters())
        theta = {name: p.detach().requires_grad_() for name, p in self.net.named_parameters()}
        for p, slope in zip(phi, explicit(lower, upper, theta, phi, self.step), strict=True):
            p.grad = slope
        self.optimiser.step()

    def state(self) -> Arrays:
        """Returns everything needed to resume."""
        return packed(self.phi, self.optimiser) | {"draw": self.generator.get_state().numpy().copy()}

    def restore(self, arrays: Arrays) -> None:
        """Sets φ, its optimiser and the sampling to a state returned by `state`."""
        self.generator.set_state(torch.from_numpy(arrays["draw"]))
        unpack(arrays, self.phi, self.optimiser)
