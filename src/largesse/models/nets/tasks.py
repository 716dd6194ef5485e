"""Several tasks, one loss: what value, purchase and cost count in a training, and whether arms are made alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from largesse import _check
from largesse.models.nets.balance import imbalance
from largesse.models.nets.response import ResponseNet
from largesse.models.nets.rows import Rows

__all__ = ["Tasks", "Weighted", "learner"]

_ROWS = 65_536  # tell how large the losses are at the start
_FLOOR = 1e-6


@dataclass(frozen=True, slots=True)
class Tasks:
    """What the training of a network minimises beside the plain sum of its losses.

    With L_k the mean loss of task k (the value; P(value > 0) and the cost, where there are heads for them), counted from
    the least it can be, and s_k one learned number each:

        Σ_k exp(-s_k) L_k + s_k / 2

    so that a task counts the less the worse it can be foreseen. With one task there is nothing to weigh.

    Attributes:
        weights: ``"fixed"`` (the plain sum) or ``"learned"``.
        balance: Weight of the distance between the arms' rows of the log in the last hidden layer, >= 0. Rows of the trial do
            not count: their arms are alike.
        distance: ``"mmd"`` or ``"wasserstein"``.

    Raises:
        DataError: A setting is none of these.

    Reference:
        Weights: Kendall, Gal and Cipolla, CVPR 2018, section 3, with s_k = log σ_k² (a squared error enters whole, not
        half: that moves s_k by log 2 and nothing else). Distance: Shalit, Johansson and Sontag, ICML 2017, equation 3.
    """

    weights: Literal["fixed", "learned"] = "fixed"
    balance: float = 0.0
    distance: Literal["mmd", "wasserstein"] = "mmd"

    def __post_init__(self) -> None:
        _check.choice("tasks.weights", self.weights, ("fixed", "learned"))
        _check.number("tasks.balance", self.balance, low=0)
        _check.choice("tasks.distance", self.distance, ("mmd", "wasserstein"))


def learner(tasks: Tasks, net: ResponseNet, rows: Rows) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """Returns what is to be trained, and its loss of the rows of a batch.

    Args:
        tasks: What is minimised.
        net: The network, with the weights it starts from.
        rows: The training rows.
    """
    if tasks == Tasks():
        return net, lambda i: net.loss(rows.take(i))
    whole = Weighted(net, tasks, rows)
    return whole, lambda i: whole.loss(rows.take(i))


class Weighted(nn.Module):
    """A network, and the logarithm of how badly each of its tasks can be foreseen, (K,)."""

    def __init__(self, net: ResponseNet, tasks: Tasks, rows: Rows) -> None:
        super().__init__()
        self.net, self.how = net, tasks
        self.log_variance: nn.Parameter | None = None
        if tasks.weights == "learned":
            few = rows.take(torch.arange(0, len(rows), max(1, len(rows) // _ROWS)))
            net.eval()  # nothing is left out of this look
            with torch.no_grad():
                means = self._means(net.represent(few.features), few)
            if len(means) > 1:  # where the gradient of s begins at 0: exp(s) = 2 L
                self.log_variance = nn.Parameter((2 * means).clamp_min(_FLOOR).log())

    def loss(self, rows: Rows) -> Tensor:
        """Returns the loss of a batch."""
        h = self.net.represent(rows.features)
        means, s, observed = self._means(h, rows), self.log_variance, rows.observed
        total = means.sum() if s is None else ((-s).exp() * means + s / 2).sum()
        if self.how.balance and observed is not None and observed.any():
            log = observed > 0
            total = total + self.how.balance * imbalance(h[log], rows.treatment[log], self.net.m, self.how.distance)
        return total

    def _means(self, h: Tensor, rows: Rows) -> Tensor:
        """Returns the mean loss of each task, >= 0, (K,)."""
        first, *others = self.net.tasks(self.net.heads(h, rows.observed), rows)
        each = torch.stack([first - self.net.value_heads.least(rows.value), *others])  # (K, N)
        return (each * rows.weight).sum(1) / rows.weight.sum()
