"""The bridge of bi-level learning: gates that say how far a log's untaken treatments follow the teacher."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from largesse import _check
from largesse.models.nets.standardise import Standardised

__all__ = ["Bridge", "Gates", "Opened"]


@dataclass(frozen=True, slots=True)
class Gates:
    """What the gates are and how they learn.

    A gate w in (0, 1) makes the pseudo-label of a treatment that a row was not given,
    w · teacher + (1 - w) · target: 1 follows the teacher, 0 leaves the target alone.

    Attributes:
        by: ``"unit"`` (a network of the features) or ``"fixed"`` (the start).
        start: The gate before any learning, in (0, 1).
        hidden: Widths of the network of the gates.
        rate: Learning rate of the gates.
        factual: Also weigh the logged outcomes of the log's rows, by 2 · gate, which starts at 1: down where they
            look confounded.
    """

    by: Literal["unit", "fixed"] = "unit"
    start: float = 0.5
    hidden: tuple[int, ...] = (64, 32)
    rate: float = 5e-4
    factual: bool = False

    def __post_init__(self) -> None:
        _check.choice("gates.by", self.by, ("unit", "fixed"))
        _check.number("gates.start", self.start, low=1e-6, high=1 - 1e-6)
        _check.number("gates.rate", self.rate, low=0)


class Opened(NamedTuple):
    """Gates of some rows, each (N, M): of the value, of the cost, and weights of logged outcomes, in (0, 2)."""

    value: Tensor
    cost: Tensor
    logged: Tensor

    def detached(self) -> Opened:
        """Returns the same without a graph."""
        return Opened(*(gate.detach() for gate in self))


class Bridge(Standardised):
    """Features -> gates.

    Args:
        gates: What they are.
        features: Number of features d.
        treatments: Number of treatments M.
    """

    level: Tensor

    def __init__(self, gates: Gates, features: int, treatments: int) -> None:
        super().__init__(features)
        self.gates, self.m = gates, treatments
        level = torch.logit(torch.tensor(gates.start)).expand(2 * treatments)
        self.register_buffer("level", torch.cat([level, torch.zeros(treatments)]))
        if gates.by == "unit":
            widths = (features, *gates.hidden)
            layers = [layer for a, b in itertools.pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
            self.body = nn.Sequential(*layers, nn.Linear(widths[-1], 3 * treatments))
            nn.init.zeros_(self.body[-1].weight)  # type: ignore[arg-type]
            nn.init.zeros_(self.body[-1].bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Opened:
        """Returns the gates and the weights of rows with these features."""
        value, cost, logged = torch.split((self.level + self._moves(x)).sigmoid(), self.m, 1)
        return Opened(value, cost, 2 * logged if self.gates.factual else torch.ones_like(logged))

    def _moves(self, x: Tensor) -> Tensor:
        """Returns how far each logit is from its start, (N, 3M)."""
        if self.gates.by == "unit":
            moved: Tensor = self.body(self.standardise(x))
            return moved
        return torch.zeros(len(x), 3 * self.m)
