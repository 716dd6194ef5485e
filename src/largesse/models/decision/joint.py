"""The joint loss of decision-focused training: decision loss + alpha * prediction loss, and the rows of a trial for it."""

from __future__ import annotations

from dataclasses import replace

import torch

from largesse.logs import Logs
from largesse.models.decision.losses import Decision, Objective, Trial
from largesse.models.nets.response import ResponseNet

__all__ = ["Joint", "frozen_menu", "trial_rows"]

_CHUNK = 8192


class Joint:
    """The loss of trial rows: decision loss + alpha * prediction loss.

    Args:
        net: The network, as it is before this training: its menu is the one that reduces the variance.
        rows: x, treatment, value, cost and weight in the prediction loss.
        trial: The same rows for the decision loss.
        decision: Which decision loss.
        alpha: Weight of the prediction loss.
        budgets: Money per head, (B,).

    Attributes:
        menu: Value and cost of all rows before this training, each (N, M).
        objective: The decision loss, with what it remembers.
    """

    def __init__(
        self, net: ResponseNet, rows: tuple[torch.Tensor, ...], trial: Trial, decision: Decision, alpha: float,
        budgets: tuple[float, ...],
    ) -> None:  # fmt: skip
        self.net, self.rows, self.alpha = net, rows, alpha
        self.menu = frozen_menu(net, rows[0])
        trial = replace(trial, menu=None if decision.variance == "plain" else self.menu)
        self.objective = Objective(decision, trial, budgets, net.value_scale)
        self.objective.prime(*self.menu)

    def __call__(self, raw: tuple[torch.Tensor, torch.Tensor | None], i: torch.Tensor) -> torch.Tensor:
        """Returns the loss of the rows i, whose raw heads are given."""
        decided = self.objective(*self.net.menu(raw), i)
        if not self.alpha:
            return decided
        _, t, value, cost, weight = self.rows
        return decided + self.alpha * self.net.logged(raw, t[i], value[i], cost[i], weight[i])


def trial_rows(rct: Logs, menu: tuple[torch.Tensor, torch.Tensor] | None = None) -> Trial:
    """Returns the rows of a trial as tensors, weights divided by the mean row weight."""
    mean = rct.total_weight / rct.n
    value, cost, weight, share = (
        torch.tensor(a, dtype=torch.float32)
        for a in (rct.value, rct.cost, rct.inverse_propensity / mean, rct.weights / mean)
    )
    return Trial(torch.tensor(rct.treatment, dtype=torch.int64), value, cost, weight, share, menu)


def frozen_menu(net: ResponseNet, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the network's menu of all rows, scored in chunks."""
    with torch.inference_mode():
        parts = [net.menu(net(x[i : i + _CHUNK])) for i in range(0, len(x), _CHUNK)]
    value, cost = (torch.cat(pieces) for pieces in zip(*parts, strict=True))
    return value.clone(), cost.clone()
