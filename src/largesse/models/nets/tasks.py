"""Multi-task losses: the weights of value, conversion and cost in a training, and the balancing of the arms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from largesse import _check
from largesse._arguments import checked
from largesse.models.nets.balance import imbalance
from largesse.models.nets.response import ResponseNet
from largesse.models.nets.rows import Rows

__all__ = ["Tasks", "Weighted", "learner"]

_ROWS = 65_536  # at most so many rows estimate the initial losses
_FLOOR = 1e-6


@checked
@dataclass(frozen=True, slots=True)
class Tasks:
    """Task weights and balancing penalty in the training loss of a network.

    With L_k the mean loss of task k less its lowest possible value (tasks: the value; P(value > 0) and the cost, where
    they have heads of their own), and s_k one learned number each, learned weights minimise

        Σ_k exp(-s_k) L_k + s_k / 2

    so that a task with a larger irreducible loss gets a smaller weight. A single task is not weighted.

    Attributes:
        weights: ``"fixed"`` (the sum of the losses) or ``"learned"``.
        balance: Weight of the distance between the arms in the last hidden layer, >= 0. Only rows of the log enter: the
            arms of a trial are balanced by design.
        distance: ``"mmd"`` or ``"wasserstein"``.

    Raises:
        DataError: A setting is out of its range.

    Reference:
        Weights: Kendall, Gal and Cipolla, CVPR 2018, section 3, with s_k = log σ_k² (a squared error enters without
        their factor 1/2: this only shifts s_k by log 2). Distance: Shalit, Johansson and Sontag, ICML 2017, equation 3.
    """

    weights: Literal["fixed", "learned"] = "fixed"
    balance: float = 0.0
    distance: Literal["mmd", "wasserstein"] = "mmd"

    def __post_init__(self) -> None:
        _check.choice("tasks.weights", self.weights, ("fixed", "learned"))
        _check.number("tasks.balance", self.balance, low=0)
        _check.choice("tasks.distance", self.distance, ("mmd", "wasserstein"))


def learner(tasks: Tasks, net: ResponseNet, rows: Rows) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """Returns the module to train, and the loss of a batch given its row indices.

    Args:
        tasks: Task weights and balancing penalty.
        net: The network, with its initial weights.
        rows: The training rows.
    """
    if tasks == Tasks():
        return net, lambda i: net.loss(rows.take(i))
    weighted = Weighted(net, tasks, rows)
    return weighted, lambda i: weighted.loss(rows.take(i))


class Weighted(nn.Module):
    """A network with the log variance s_k of each of its tasks, (K,); None where the weights are fixed."""

    def __init__(self, net: ResponseNet, tasks: Tasks, rows: Rows) -> None:
        super().__init__()
        self.net, self.settings = net, tasks
        self.log_variance: nn.Parameter | None = None
        if tasks.weights == "learned":
            sample = rows.take(torch.arange(0, len(rows), max(1, len(rows) // _ROWS)))
            net.eval()  # no dropout in the initial losses
            with torch.no_grad():
                means = self._means(net.represent(sample.features), sample)
            if len(means) > 1:  # starts where the gradient of s is 0: exp(s) = 2 L
                self.log_variance = nn.Parameter((2 * means).clamp_min(_FLOOR).log())

    def loss(self, rows: Rows) -> Tensor:
        """Returns the loss of a batch."""
        h = self.net.represent(rows.features)
        means, s, observed = self._means(h, rows), self.log_variance, rows.observed
        total = means.sum() if s is None else ((-s).exp() * means + s / 2).sum()
        if self.settings.balance and observed is not None and observed.any():
            log = observed > 0
            distance = imbalance(h[log], rows.treatment[log], self.net.m, self.settings.distance)
            total = total + self.settings.balance * distance
        return total

    def _means(self, h: Tensor, rows: Rows) -> Tensor:
        """Returns the mean loss of each task, >= 0, (K,)."""
        value, *others = self.net.tasks(self.net.heads(h, rows.observed), rows)
        losses = torch.stack([value - self.net.value_heads.lowest_loss(rows.value), *others])  # (K, N)
        return (losses * rows.weight).sum(1) / rows.weight.sum()
