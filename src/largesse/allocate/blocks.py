"""Allocation of units in blocks, on one machine or many, with the plan of `solve`: the units are never all in memory.

Three passes over the blocks: (1) a sample of the units gives a bracket of prices; (2) spend and value of all units are
summed at both ends of the bracket, and the hull increments inside it are collected; (3) so are the few increments below it
that the remaining budget can pay for. The results of a pass are added up: the plan equals that of `solve`, whatever the
blocks are and wherever they are processed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import fsum, inf
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse.allocate import kernels
from largesse.allocate.budget_frontier import Steps, steps_of, sums_of
from largesse.allocate.ledger import Increments, Ledger
from largesse.allocate.search import INSIDE, WIDTHS, Sample, blocks_of
from largesse.allocate.solver import breaking, limit_of, status_of
from largesse.errors import InfeasibleBudget
from largesse.menu import Menu, Status

__all__ = ["BLOCK", "Block", "BlockPlan", "Decision", "Run", "Sums", "in_blocks", "sample_of", "solve_blocks"]

Partial = TypeVar("Partial")
Array = NDArray[Any]
Floats = NDArray[np.float64]
BLOCK = 1 << 19
"""Default number of units in a block."""
_SHARE, _LEAST = 1 / 128, 8192  # of the units are sampled, but at least so many (expected number), or all


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Values and costs of n units with consecutive numbers.

    Attributes:
        first: Number of the first unit; numbers are unique over all blocks.
        value: (M, n), finite.
        cost: (M, n), same dtype, finite, >= 0.
    """

    first: int
    value: Array
    cost: Array

    @classmethod
    def of(cls, menu: Menu, first: int = 0) -> Block:
        """Returns the units of a menu as one block."""
        return cls(first, menu.value.T, menu.cost.T)

    @property
    def n(self) -> int:
        """Number of units."""
        return self.value.shape[1]

    def audit(
        self, treatment: NDArray[np.int32], without: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], Floats]:
        """Returns units per treatment, (M,), and spend, its rounding remainder, value and its remainder, (4,), of a plan (n,).

        Units marked in `without`, (n,), are left out.
        """
        value, cost = self.value, self.cost
        if without is not None:
            rows = np.flatnonzero(~without)
            value, cost, treatment = value[:, rows], cost[:, rows], treatment[rows]
        return np.bincount(treatment, minlength=len(value)), sums_of(value, cost, treatment)

    def increments(self, rows: Array, low: float, high: float) -> tuple[Steps, Increments]:
        """Returns the hull increments of some rows with a slope in (low, high], by position in `rows` and by unit number."""
        steps = steps_of(np.take(self.value, rows, axis=1), np.take(self.cost, rows, axis=1), low, high)
        at, ends = rows[steps.unit], (steps.source, steps.target)
        cost, value = (np.array([table[end, at] for end in ends], np.float64) for table in (self.cost, self.value))
        return steps, Increments(self.first + at.astype(np.int64), *ends, steps.slope, cost, value)


class Run(Protocol):
    """Applies a task to every block and returns the results in the order of the units' numbers."""

    def __call__(self, task: Callable[[Block], Partial], /) -> Iterable[Partial]:
        """Runs one pass."""


class Decision(Protocol):
    """A rule that gives every unit of a block its treatment."""

    @property
    def price(self) -> float:
        """Shadow price λ: value per unit of spend."""

    def of(self, block: Block) -> NDArray[np.int32]:
        """Returns the treatment of each unit, (n,)."""


def in_blocks(menu: Menu) -> Run:
    """Returns the `Run` over the blocks of a menu in memory."""
    blocks = [Block(s.start, menu.value.T[:, s], menu.cost.T[:, s]) for s in blocks_of(menu.n, BLOCK)]
    return lambda task: [task(block) for block in blocks]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class BlockPlan:
    """The plan of all blocks: one price for all units, and the units that deviate from it.

    Attributes:
        price: Shadow price λ* of the budget: value per unit of spend.
        top: The price that decides every unit not listed in `unit`: argmax value - top · cost.
        unit: Numbers of the units that deviate, rising, int64 (K,).
        treatment: Their treatments, int32 (K,).
        n: Number of units.
        counts: Units per treatment, (M,).
        spend: Σ cost of the plan, summed in float64 with compensation.
        value: Σ value of the plan, likewise.
        bound: Upper bound on the value of any plan within the budget.
        budget: The budget.
        status: How good the plan is.
    """

    price: float
    top: float
    unit: NDArray[np.int64]
    treatment: NDArray[np.int32]
    n: int
    counts: NDArray[np.int64]
    spend: float
    value: float
    bound: float
    budget: float
    status: Status

    @property
    def gap(self) -> float:
        """The most that a better plan could add, >= 0, in units of value."""
        return max(0.0, self.bound - self.value)

    def of(self, block: Block) -> NDArray[np.int32]:
        """Returns the treatment of each unit of a block, (n,)."""
        return _planned(block, self.top, self.unit, self.treatment)


def solve_blocks(run: Run, budget: float) -> BlockPlan:
    """Returns the best plan within a budget, one treatment per unit: the plan of `solve` for all units in one menu.

    Args:
        run: Applies a task to every block. It is called three times, and once more for each bracket that misses the price.
        budget: Budget of all units together, in the unit of the costs; infinity for no limit.

    Raises:
        InfeasibleBudget: Even the cheapest plan costs more.
        DataError: The budget is not a number.

    >>> menu = Menu(value=[[0.0, 3.0], [0.0, 1.0], [0.0, 2.0]], cost=[[0.0, 1.0]] * 3)
    >>> blocks = [Block.of(menu.take([0, 1])), Block.of(menu.take([2]), first=2)]
    >>> plan = solve_blocks(lambda task: [task(block) for block in blocks], budget=2.0)
    >>> [plan.of(block).tolist() for block in blocks], plan.price, plan.value
    ([[1, 0], [1]], 1.0, 5.0)
    """
    limit = limit_of(budget)
    sample, n = sample_of(run)
    low, high, decided = _decided(run, sample, n, limit)
    start, inside = (fsum(decided.sums[:2].ravel()), fsum(decided.sums[2:].ravel())), decided.increments
    if start[0] > limit:
        raise InfeasibleBudget(limit, start[0])
    ledger = Ledger.of(decided.sums, inside)
    paid, gained = (np.diff(table, axis=0)[0] for table in (inside.cost, inside.value))
    at = breaking(start, paid, gained, inside.slope, limit, lambda k: ledger.after(k).audit()[0])
    final = ledger.after(at.fits).filled(at.spend, limit, at.fits)
    if low > 0 and (left := limit - final.audit()[0]) > 0:
        more = Increments.joined(run(Reach(low, high, *final.changed(), left)))
        if len(more.unit):
            final = final.wider(more).filled(final.audit()[0], limit, len(inside.unit))
    spend, value = final.audit()
    unit, treatment = final.changed()
    counts = decided.counts + final.moved(len(decided.counts))
    return BlockPlan(
        price=at.price, top=high, unit=unit, treatment=treatment, n=n, counts=counts, spend=spend, value=value,
        bound=max(at.bound, value), budget=float(budget), status=status_of(at, value),
    )  # fmt: skip


class Sums(NamedTuple):
    """Totals of a plan.

    Attributes:
        n: Number of units.
        counts: Units per treatment, (M,).
        spend: Σ cost, summed in float64 with compensation.
        value: Σ value, likewise.
    """

    n: int
    counts: NDArray[np.int64]
    spend: float
    value: float

    @classmethod
    def over(cls, parts: Iterable[tuple[NDArray[np.int64], Floats]]) -> Sums:
        """Returns the totals of several blocks from their `Block.audit`."""
        counts, sums = (np.array(column) for column in zip(*parts, strict=True))
        return cls(int(counts.sum()), counts.sum(axis=0), fsum(sums[:, :2].ravel()), fsum(sums[:, 2:].ravel()))


# Pass 1: a sample of the units


class Drawn(NamedTuple):
    """The sampled units of a block.

    Attributes:
        n: Number of units in the block.
        lot: The pseudo-random number of each sampled unit, in [0, 1), (k,).
        value: (M, k).
        cost: (M, k).
    """

    n: int
    lot: Floats
    value: Array
    cost: Array


def drawn(block: Block) -> Drawn:
    """Returns the candidates of one block, by a hash of the unit's number: the sample does not depend on the blocks."""
    lot = _lots(block.first, block.n)
    rows = np.flatnonzero(lot < _share(block.n))
    return Drawn(block.n, lot[rows], np.take(block.value, rows, axis=1), np.take(block.cost, rows, axis=1))


def _share(n: int) -> float:
    """Returns the share of n units that is sampled: those whose lot is below it."""
    return max(_SHARE, _LEAST / max(n, 1))


def _lots(first: int, n: int) -> Floats:
    """Returns a number in [0, 1) for each of n units, by SplitMix64 of its number (Steele, Lea and Flood 2014)."""
    z = (np.arange(n, dtype=np.uint64) + np.uint64(first + 1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def sample_of(run: Run) -> tuple[Sample, int]:
    """Returns the sample of the units of all blocks, and the number of units, in one pass; refuses 0 units."""
    candidates = list(run(drawn))
    n = sum(part.n for part in candidates)
    if not n:
        raise _check.refuse("units", 0, "at least one is needed", "Check the table or the filter it came from.")
    kept = [part.lot < _share(n) for part in candidates]
    value, cost = (
        np.concatenate([getattr(part, name)[:, keep] for part, keep in zip(candidates, kept, strict=True)], axis=1)
        for name in ("value", "cost")
    )
    return Sample.of(value, cost), n


# Pass 2: sums at both ends of a bracket, and the increments inside it


class Decided(NamedTuple):
    """The units that a bracket of prices decides, and the increments of the others.

    Attributes:
        sums: Spend, its rounding remainder, value and its remainder at the upper price, (4,), or (4, blocks).
        most: Spend at the lower price.
        counts: Units per treatment at the upper price, (M,).
        increments: The increments inside the bracket.
        sure: Whether the hulls start from the treatments chosen at the upper price; rounding of a tie can break this.
    """

    sums: Floats
    most: float
    counts: NDArray[np.int64]
    increments: Increments
    sure: bool


@dataclass(frozen=True, slots=True)
class Decide:
    """Decides the units whose treatment is the same at two prices.

    Attributes:
        low: The lower price.
        high: The upper price; from 0 to infinity, the increments of all units are returned.
    """

    low: float
    high: float

    def __call__(self, block: Block) -> Decided:
        """Returns the sums of one block and its increments inside the bracket."""
        state, rows, sums = np.empty(block.n, np.int32), np.empty(block.n, np.int32), np.empty(3)
        count = kernels.decide(block.value, block.cost, (0, block.n), (self.low, self.high), state, rows, sums)
        rows = np.arange(block.n, dtype=np.int32) if self.low == 0 and self.high == inf else rows[:count]
        steps, increments = block.increments(rows, self.low, self.high)
        counts, exact = block.audit(state)
        return Decided(exact, float(sums[2]), counts, increments, np.array_equal(steps.start, state[rows]))


def _decided(run: Run, sample: Sample, n: int, limit: float) -> tuple[float, float, Decided]:
    """Returns the first bracket that surely contains the price of the budget, and what it decides."""
    for width in WIDTHS:
        low, high = sample.bracket(limit / n, width)
        decided = _together(run(Decide(low, high)))
        within = low == 0 or decided.most >= limit * (1 + INSIDE)
        if decided.sure and within and (high == inf or fsum(decided.sums[:2].ravel()) <= limit * (1 - INSIDE)):
            return low, high, decided
    return 0.0, inf, _together(run(Decide(0.0, inf)))


def _together(parts: Iterable[Decided]) -> Decided:
    """Returns the parts of all blocks as one."""
    blocks = list(parts)
    return Decided(
        sums=np.transpose([part.sums for part in blocks]),
        most=fsum(part.most for part in blocks),
        counts=np.sum([part.counts for part in blocks], axis=0),
        increments=Increments.joined(part.increments for part in blocks),
        sure=all(part.sure for part in blocks),
    )


# Pass 3: the increments that the remaining budget can pay for


@dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """Collects the increments below a bracket of units for which a better treatment costs at most `left` more.

    Attributes:
        low: The lower end of the bracket.
        high: The price that decides every unit not listed in `unit`.
        unit: Numbers of the units that deviate, rising, (K,).
        treatment: Their treatments, (K,).
        left: The remaining budget.
    """

    low: float
    high: float
    unit: NDArray[np.int64]
    treatment: NDArray[np.int32]
    left: float

    def __call__(self, block: Block) -> Increments:
        """Returns the increments of one block that start from a unit's current treatment."""
        state, rows = _planned(block, self.high, self.unit, self.treatment), np.empty(block.n, np.int32)
        count = kernels.audit(block.value, block.cost, 0, block.n, state, self.left, rows, np.empty(4))
        steps, increments = block.increments(rows[:count], 0.0, self.low)
        # A unit without its last increment inside the bracket cannot take those below it.
        return increments.of_rows((steps.start == state[rows[:count]])[steps.unit])


def _planned(block: Block, high: float, unit: NDArray[np.int64], treatment: NDArray[np.int32]) -> NDArray[np.int32]:
    """Returns the treatment of each unit of a block: argmax value - high · cost, but for the units listed."""
    state, rows = np.empty(block.n, np.int32), np.empty(block.n, np.int32)
    kernels.decide(block.value, block.cost, (0, block.n), (high, high), state, rows, np.empty(3))
    a, b = np.searchsorted(unit, [block.first, block.first + block.n])
    state[unit[a:b] - block.first] = treatment[a:b]
    return state
