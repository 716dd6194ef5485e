"""The bridge of bi-level learning: gates that weight the pseudo-labels of treatments that were not given."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from largesse import _check
from largesse._arguments import checked
from largesse.models.nets.standardise import Standardised

__all__ = ["Bridge", "GateValues", "Gates"]


@checked
@dataclass(frozen=True, slots=True)
class Gates:
    """Form and training of the gates.

    The pseudo-label of a treatment that a row was not given is w · teacher + (1 - w) · target with the gate w in (0, 1): 1 is the
    prediction of the teacher, 0 leaves the target unchanged.

    Attributes:
        by: ``"unit"`` (a network of the features) or ``"fixed"`` (the constant `start`).
        start: Initial value of the gates, in (0, 1).
        hidden: Widths of the hidden layers of the network.
        rate: Learning rate of the network.
        factual: Whether the logged outcomes of the OBS log are weighted too, by 2 · gate, which starts at 1; confounded outcomes
            can then get less weight.
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


class GateValues(NamedTuple):
    """Gates of N rows, each (N, M): of the value, of the cost, and weights of logged outcomes, in (0, 2)."""

    value: Tensor
    cost: Tensor
    logged: Tensor

    def detached(self) -> GateValues:
        """Returns the gates without their graph."""
        return GateValues(*(gate.detach() for gate in self))


class Bridge(Standardised):
    """Maps features (N, d) to gates.

    Args:
        gates: Form of the gates.
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

    def forward(self, x: Tensor) -> GateValues:
        """Returns the gates and weights of rows with these features."""
        value, cost, logged = torch.split((self.level + self._shift(x)).sigmoid(), self.m, 1)
        return GateValues(value, cost, 2 * logged if self.gates.factual else torch.ones_like(logged))

    def _shift(self, x: Tensor) -> Tensor:
        """Returns the difference of each logit to its initial value, (N, 3M)."""
        if self.gates.by == "unit":
            shift: Tensor = self.body(self.standardise(x))
            return shift
        return torch.zeros(len(x), 3 * self.m)
