"""The calibrated price of a budget for many million units in blocks, never sorted and never all in memory.

The predicted spend is summed exactly at a few thousand prices, sampled from the increments of the units, and calibrated
there by `PriceCurve`. Between the two of these prices where the budget is reached, every price that changes a unit's
treatment is examined; there the expected spend is linear in the predicted one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import fsum, inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse.allocate import kernels
from largesse.allocate.blocks import Block, Decide, Run, sample_of
from largesse.allocate.ledger import Increments
from largesse.policy.curve import PriceCurve
from largesse.policy.safety import SpendCurve

__all__ = ["Bin", "Descent", "Inside", "Priced", "Searched", "between", "descend", "priced", "searched"]

Floats = NDArray[np.float64]
_BINS = 4096


class Descent(NamedTuple):
    """The price of a budget.

    Attributes:
        price: Shadow price λ of the budget.
        spend_curve: Spend at the examined prices.
        n: Number of units.
    """

    price: float
    spend_curve: SpendCurve
    n: int

    def of(self, block: Block) -> NDArray[np.int32]:
        """Returns the treatment of each unit of a block, (n,)."""
        return Priced(self.price).of(block)


Inside = Callable[[float, float], Increments]
"""Returns the increments of all units with a slope in (low, high], by falling slope."""


class Searched(NamedTuple):
    """What of a search does not depend on the budget: the predicted spend at some thousand prices.

    Attributes:
        price: Rising, from 0 to infinity, (K,).
        planned: Spend that the menus predict at each, (K,).
        n: Number of units.
    """

    price: Floats
    planned: Floats
    n: int

    def descend(self, curve: PriceCurve, budget: float, safety: float | None, inside: Inside) -> Descent:
        """Returns the price of a budget; arguments as for the function `descend`.

        Args:
            curve: The calibrated curve of the model.
            budget: Total budget of the units; infinity for no limit.
            safety: As for `PriceCurve.price_for`.
            inside: Returns the increments between two neighbouring prices.
        """
        price = self.price
        coarse = curve.spend_curve_at(price, self.planned)
        at = coarse.price_for(budget, safety)
        k = int(np.searchsorted(price, at))
        if k > 0:
            coarse = _refined(curve, coarse, self.planned, k, inside(float(price[k - 1]), float(price[k])))
            at = coarse.price_for(budget, safety)
        return Descent(at, coarse, self.n)


def searched(run: Run) -> Searched:
    """Returns the predicted spend of the units of all blocks at some thousand prices.

    Args:
        run: Applies a task to every block; called twice.
    """
    sample, n = sample_of(run)
    slopes = np.unique(sample.steps.slope)
    some = slopes[np.unique(np.linspace(0, len(slopes) - 1, min(_BINS, len(slopes))).astype(np.int64))]
    edges = np.nextafter(some, inf)[::-1].copy()  # falling; just above the units' own prices, so that none is tied
    spends = kernels.cumulate(*_binned(run, edges))
    return Searched(np.concatenate([[0.0], edges[::-1], [inf]]), spends[::-1].copy(), n)


def descend(curve: PriceCurve, run: Run, budget: float, safety: float | None) -> Descent:
    """Returns the price at which the units of all blocks spend a budget.

    Args:
        curve: The calibrated curve of the model whose menus the blocks hold.
        run: Applies a task to every block; called three times.
        budget: Total budget of the units; infinity for no limit.
        safety: As for `PriceCurve.price_for`.

    Raises:
        InfeasibleBudget: Even the cheapest treatment for every unit has a higher expected spend (or bound).
    """

    def inside(low: float, high: float) -> Increments:
        return Increments.joined(part.increments for part in run(Decide(low, high)))

    return searched(run).descend(curve, budget, safety, inside)


def priced(curve: PriceCurve, run: Run, price: float) -> Descent:
    """Returns the plan of a given price, with its calibrated spend.

    Args:
        curve: The calibrated curve of the model whose menus the blocks hold.
        run: Applies a task to every block; called twice.
        price: Shadow price λ, value per unit of spend, >= 0.
    """
    _, n = sample_of(run)
    spends = kernels.cumulate(*_binned(run, np.array([np.nextafter(price, inf)])))
    return Descent(price, curve.spend_curve_at(np.array([price]), spends[1:2]), n)


def between(run: Run, low: float, high: float) -> tuple[float, float]:
    """Returns predicted spend and value of the increments that are bought at the price `low` and not at `high`.

    Args:
        run: Applies a task to every block; called once.
        low: The lower price.
        high: The higher price.
    """
    parts = [part.steps[1] for part in run(Bin(np.nextafter([high, low], inf)))]
    return fsum(part[1] for part in parts), fsum(part[2] for part in parts)


def _refined(curve: PriceCurve, coarse: SpendCurve, planned: Floats, k: int, inside: Increments) -> SpendCurve:
    """Returns the spend curve with every price between two of its prices that changes a unit's treatment."""
    spent = kernels.cumulate(float(planned[k]), np.diff(inside.cost, axis=0)[0])[:-1]  # before each increment
    new = np.append(True, inside.slope[1:] != inside.slope[:-1])[: len(inside.slope)]
    price, spent = inside.slope[new][::-1], spent[new][::-1]
    low, high = planned[k], planned[k - 1]
    share = np.clip((spent - low) / (high - low), 0.0, 1.0) if high > low else np.zeros_like(spent)
    between = curve.spend_curve_at(price, spent)
    mean = coarse.mean[k] + share * (coarse.mean[k - 1] - coarse.mean[k])
    return SpendCurve(
        *(
            np.concatenate([ours[:k], inserted, ours[k:]])
            for ours, inserted in (
                (coarse.price, price), (coarse.mean, mean), (coarse.margin, between.margin), (coarse.sd, between.sd)
            )
        )
    )  # fmt: skip


class Binned(NamedTuple):
    """The cost of a block's cheapest plan; number, cost and value of its increments in each bin of prices, (K + 1, 3)."""

    start: float
    steps: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Bin:
    """Sums increments in bins of prices.

    Attributes:
        edges: Prices, falling, (K,).
    """

    edges: Floats

    def __call__(self, block: Block) -> Binned:
        """Returns the sums of one block."""
        sums, none = np.empty((len(self.edges) + 1, 3)), np.zeros(len(self.edges) + 1, np.bool_)
        start, _ = kernels.bin_steps(block.value, block.cost, 0, block.n, self.edges, none, sums, np.empty((0, 3)))
        return Binned(start, sums)


def _binned(run: Run, edges: Floats) -> tuple[float, Floats]:
    parts = list(run(Bin(edges)))
    return fsum(part.start for part in parts), np.array(
        [fsum(cost) for cost in zip(*(p.steps[:, 1] for p in parts), strict=True)]
    )


@dataclass(frozen=True, slots=True)
class Priced:
    """The plan of a price: argmax value - price · cost.

    Attributes:
        price: Shadow price λ, value per unit of spend, >= 0.
    """

    price: float

    def of(self, block: Block) -> NDArray[np.int32]:
        """Returns the treatment of each unit of a block, (n,)."""
        return kernels.assign_at(block.value, block.cost, self.price)
