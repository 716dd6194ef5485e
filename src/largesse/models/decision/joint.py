"""The joint loss of decision-focused training: decision loss + alpha * prediction loss, on rows of a trial."""

from __future__ import annotations

import torch
from torch import Tensor

from largesse.logs import Logs
from largesse.models.decision.losses import DecisionLoss, Objective
from largesse.models.decision.trial import Trial
from largesse.models.nets.response import ResponseNet
from largesse.models.nets.rows import Rows

__all__ = ["Joint", "frozen_menu", "trial_rows"]

_CHUNK = 8192


class Joint:
    """The loss of trial rows: decision loss + alpha * prediction loss.

    Args:
        net: The network before this training; its menu of now, frozen, reduces the variance.
        rows: Rows of the trial, from `trial_rows`.
        decision: The decision loss.
        alpha: Weight of the prediction loss.
        budgets: Target budgets per unit, (B,).

    Attributes:
        menu: Value and cost of all rows in the frozen menu, each (N, M).
        objective: The decision loss of batches, with its state.
    """

    def __init__(
        self, net: ResponseNet, rows: Rows, decision: DecisionLoss, alpha: float, budgets: tuple[float, ...]
    ) -> None:
        self.net, self.rows, self.alpha = net, rows, alpha
        self.outcomes = rows.without_features()
        self.menu = frozen_menu(net, rows.features)
        trial = Trial(rows, None if decision.variance == "plain" else self.menu)
        self.objective = Objective(decision, trial, budgets, net.value_scale)
        self.objective.prime(*self.menu)

    def __call__(self, raw: tuple[Tensor, Tensor | None], i: Tensor) -> Tensor:
        """Returns the loss of the rows i from their raw heads."""
        loss = self.objective(*self.net.menu(raw), i)
        if not self.alpha:
            return loss
        return loss + self.alpha * self.net.logged(raw, self.outcomes.take(i))


def trial_rows(rct: Logs, *, arm_weighted: bool = False) -> Rows:
    """Returns the rows of a trial, with weights and inverse propensities divided by the mean row weight."""
    return Rows.of(rct, arm_weighted=arm_weighted, unit_weight=rct.total_weight / rct.n)


def frozen_menu(net: ResponseNet, x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns value and cost of all rows in the menu of a network, each (N, M), without gradients."""
    with torch.inference_mode():
        parts = [net.menu(net(x[i : i + _CHUNK])) for i in range(0, len(x), _CHUNK)]
    value, cost = (torch.cat(pieces) for pieces in zip(*parts, strict=True))
    return value.clone(), cost.clone()
