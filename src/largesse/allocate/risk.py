"""How the uncertain spend of an allocation of clusters is held within a budget: on average, by a chance, by its worst tail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse._random import Seed
from largesse.logs import frozen

__all__ = ["Chance", "Expected", "Risk", "Tail"]


@checked
@dataclass(frozen=True, slots=True)
class Expected:
    """The expected spend stays within the budget; if it equals the budget, the spend exceeds it with probability 0.5."""


@checked
@dataclass(frozen=True, slots=True)
class Chance:
    """The spend exceeds the budget with at most a given probability, if it is normally distributed.

    Attributes:
        epsilon: That probability, in (0, 0.5].
    """

    epsilon: float = 0.05

    def __post_init__(self) -> None:
        _check.number("risk.epsilon", self.epsilon, low=1e-12, high=0.5, remedy="At 0.05, 1 period in 20 overspends.")


@checked
@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """The mean spend of the worst scenarios stays within the budget (conditional value at risk).

    Attributes:
        share: Share of the scenarios that counts as the worst, in (0, 1].
        cost: Cost per unit of each cell in each scenario, (S, K, M), >= 0; None: `draws` normal scenarios, `ClusterCells.draw`.
        draws: Number of scenarios to draw; antithetic pairs, so that their mean is that of the cells.
        seed: Seed of the draws.
    """

    share: float = 0.1
    cost: NDArray[Any] | None = None
    draws: int = 200
    seed: Seed = 0

    def __post_init__(self) -> None:
        _check.number("risk.share", self.share, low=1e-6, high=1.0)
        _check.number("risk.draws", self.draws, low=2, high=100_000)
        if self.cost is not None:
            cost = _check.array("risk.cost", self.cost, ndim=3, dtype=np.float64)
            _check.finite("risk.cost", cost, "Drop these scenarios.")
            _check.nonnegative("risk.cost", cost)
            object.__setattr__(self, "cost", frozen(cost))


Risk = Expected | Chance | Tail
