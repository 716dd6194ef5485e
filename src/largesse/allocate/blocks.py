"""The exact plan of units that come in blocks: never all in memory, on this machine or on many.

Three passes over the blocks: some units of each, which give a bracket of prices; sums of all units at its ends, and the
increments inside; the few units for whom the last of the money still buys something. What a pass brings back can be
added up, so that neither the size of the blocks nor who works on them changes the plan: it is that of `solve`.
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
from largesse.allocate.budget_frontier import Steps, steps_of
from largesse.allocate.ledger import Increments, Ledger
from largesse.allocate.search import INSIDE, WIDTHS, Sample
from largesse.allocate.solver import fitting, status_of
from largesse.errors import InfeasibleBudget
from largesse.menu import Menu, Status

__all__ = ["BLOCK", "Block", "BlockPlan", "Decision", "Draw", "Run", "Sums", "drawn", "in_blocks", "solve_blocks"]

Found = TypeVar("Found")
Array = NDArray[Any]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Units that lie together.

    Attributes:
        first: Number of the first; the others count on, and no unit of another block has one of these numbers.
        value: (M, n), finite.
        cost: (M, n), same dtype, finite, >= 0.
    """

    first: int
    value: Array
    cost: Array

    @classmethod
    def of(cls, menu: Menu, first: int = 0) -> Block:
        """Returns the block of a menu's units."""
        return cls(first, menu.value.T, menu.cost.T)

    @property
    def n(self) -> int:
        """Number of units."""
        return self.value.shape[1]

    def audit(self, treatment: NDArray[np.int32]) -> Floats:
        """Returns spend, its lost digits, value, its lost digits of a plan of the block, (4,): parts that are yet to be added."""
        out = np.empty(4)
        kernels.audit(self.value, self.cost, 0, self.n, treatment, 0.0, np.empty(0, np.int32), out)
        return out

    def increments(self, rows: Array, low: float, high: float) -> tuple[Steps, Increments]:
        """Returns the hull increments of some rows with a slope in (low, high], as they lie here and as they leave the block."""
        found = steps_of(np.take(self.value, rows, axis=1), np.take(self.cost, rows, axis=1), low, high)
        at, ends = rows[found.unit], (found.source, found.target)
        cost, value = (np.array([table[end, at] for end in ends], np.float64) for table in (self.cost, self.value))
        return found, Increments(self.first + at.astype(np.int64), *ends, found.slope, cost, value)


class Run(Protocol):
    """Does a task for every block, and returns what each brought back, in the order of the units' numbers."""

    def __call__(self, task: Callable[[Block], Found], /) -> Iterable[Found]:
        """Runs one pass."""
        ...


class Decision(Protocol):
    """What decides the units of a block."""

    def of(self, block: Block) -> NDArray[np.int32]:
        """Returns the treatment of each unit, (n,)."""
        ...


BLOCK = 1 << 19
"""Units of a block, where nothing else decides it."""


def in_blocks(menu: Menu) -> Run:
    """Returns what does a task for every block of a menu in memory."""
    ends = [(a, min(a + BLOCK, menu.n)) for a in range(0, menu.n, BLOCK)]
    blocks = [Block(a, menu.value.T[:, a:b], menu.cost.T[:, a:b]) for a, b in ends]
    return lambda task: [task(block) for block in blocks]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class BlockPlan:
    """The plan of all blocks: a price, and the units that differ from it.

    Attributes:
        price: λ*, the marginal value of money.
        top: The price that decides all units but those named: argmax value - top · cost.
        unit: Their numbers, rising, int64 (K,).
        treatment: What they get, int32 (K,).
        n: Number of units.
        counts: Units per treatment, (M,).
        spend: Money, summed in float64 with compensation.
        value: Value, likewise.
        bound: No plan within the budget is worth more.
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
    """Returns the best plan of whole units within a budget; that of `solve` for all units in one menu.

    Args:
        run: Does a task for every block. It is called three times; once more for each bracket that misses the price.
        budget: Money for all units together; infinity for no limit.

    Raises:
        InfeasibleBudget: Even the cheapest plan costs more.
        DataError: The budget is not a number.

    >>> menu = Menu(value=[[0.0, 3.0], [0.0, 1.0], [0.0, 2.0]], cost=[[0.0, 1.0]] * 3)
    >>> blocks = [Block.of(menu.take([0, 1])), Block.of(menu.take([2]), first=2)]
    >>> plan = solve_blocks(lambda task: [task(block) for block in blocks], budget=2.0)
    >>> [plan.of(block).tolist() for block in blocks], plan.price, plan.value
    ([[1, 0], [1]], 1.0, 5.0)
    """
    limit = _check.number("budget", min(budget, np.finfo(float).max) if budget == np.inf else budget)
    draw = Draw()
    sample, n = drawn(run(draw), draw)
    low, high, held = _decided(run, sample, n, limit)
    spend, value, counts = (fsum(held.sums[:2].ravel()), fsum(held.sums[2:].ravel()), held.counts)
    if spend > limit:
        raise InfeasibleBudget(limit, spend)
    ledger = Ledger.of(held.sums, held.found)
    paid, gained = (np.diff(table, axis=0)[0] for table in (held.found.cost, held.found.value))
    spends, worths = kernels.cumulate(spend, paid), kernels.cumulate(value, gained)
    fits = fitting(spends, limit, lambda k: ledger.after(k).audit()[0])
    binds = fits < len(paid)
    price = float(held.found.slope[fits]) if binds else 0.0
    # λ*B + Σ_i max_j (value - λ* cost), rearranged: no difference of large numbers.
    bound = float(worths[fits]) + (price * (limit - float(spends[fits])) if binds else 0.0)
    ledger = ledger.after(fits).filled(float(spends[fits]), limit, fits)
    if low > 0 and (left := limit - ledger.audit()[0]) > 0:
        reach = Reach(low, high, *ledger.changed(), left)
        more = Increments.joined(run(reach))
        if len(more.unit):
            wider = ledger.wider(more)
            ledger = wider.filled(ledger.audit()[0], limit, len(held.found.unit))
    spent, worth = ledger.audit()
    unit, treatment = ledger.changed()
    return BlockPlan(
        price=price, top=high, unit=unit, treatment=treatment, n=n, counts=counts + ledger.moved(len(counts)), spend=spent,
        value=worth, bound=max(bound, worth), budget=float(budget), status=status_of(binds, bound - worth, bound),
    )  # fmt: skip


class Sums(NamedTuple):
    """What a plan adds up to.

    Attributes:
        n: Number of units.
        counts: Units per treatment, (M,).
        spend: Money, summed in float64 with compensation.
        value: Value, likewise.
    """

    n: int
    counts: NDArray[np.int64]
    spend: float
    value: float

    @classmethod
    def over(cls, parts: Iterable[tuple[NDArray[np.int64], Floats]]) -> Sums:
        """Returns the sums of blocks: units per treatment, and what `Block.audit` returns."""
        counts, sums = (np.array(column) for column in zip(*parts, strict=True))
        return cls(int(counts.sum()), counts.sum(axis=0), fsum(sums[:, :2].ravel()), fsum(sums[:, 2:].ravel()))


# Of each block, some units


class Drawn(NamedTuple):
    """Some units of a block.

    Attributes:
        n: How many it has.
        lot: Their lots, in [0, 1), (k,).
        value: (M, k).
        cost: (M, k).
    """

    n: int
    lot: Floats
    value: Array
    cost: Array


@dataclass(frozen=True, slots=True)
class Draw:
    """Draws units by lots that depend on their numbers alone, so that the sample does not depend on the blocks.

    Attributes:
        share: Of all units.
        least: But so many units, or all.
    """

    share: float = 1 / 128
    least: int = 8192

    def limit(self, n: int) -> float:
        """Returns the lot below which units are drawn, of n."""
        return max(self.share, self.least / max(n, 1))

    def __call__(self, block: Block) -> Drawn:
        """Returns those of a block; more than its share, as it does not know how many units there are elsewhere."""
        lot = _lots(block.first, block.n)
        rows = np.flatnonzero(lot < self.limit(block.n))
        return Drawn(block.n, lot[rows], np.take(block.value, rows, axis=1), np.take(block.cost, rows, axis=1))


def _lots(first: int, n: int) -> Floats:
    """Returns a number in [0, 1) for each of n units, by SplitMix64 of its number (Steele, Lea and Flood 2014)."""
    z = (np.arange(n, dtype=np.uint64) + np.uint64(first + 1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def drawn(parts: Iterable[Drawn], draw: Draw) -> tuple[Sample, int]:
    """Returns the sample of all units, and their number."""
    every = list(parts)
    n = sum(part.n for part in every)
    if not n:
        raise _check.refuse("units", 0, "at least one is needed", "Check the table or the filter it came from.")
    some = [part.lot < draw.limit(n) for part in every]
    value, cost = (
        np.concatenate([getattr(part, name)[:, keep] for part, keep in zip(every, some, strict=True)], axis=1)
        for name in ("value", "cost")
    )
    return Sample.made(value, cost), n


# Sums at the ends of a bracket, and the increments inside


class Decided(NamedTuple):
    """What a bracket of prices settles.

    Attributes:
        sums: Spend, its lost digits, value, its lost digits, at the upper price, (4,), or (4, blocks).
        most: Spend at the lower price.
        counts: Units per treatment at the upper price, (M,).
        found: The increments inside.
        sure: Whether the hulls agree with what the prices chose; rounding may put a tie of a unit at an end on either side.
    """

    sums: Floats
    most: float
    counts: NDArray[np.int64]
    found: Increments
    sure: bool


@dataclass(frozen=True, slots=True)
class Decide:
    """Settles the units whose treatment is the same at two prices.

    Attributes:
        low: The lower price; at 0, and no upper one, nothing is settled.
        high: The upper price.
    """

    low: float
    high: float

    def __call__(self, block: Block) -> Decided:
        """Returns the sums of one block and its increments inside the bracket."""
        state, rows, sums = np.empty(block.n, np.int32), np.empty(block.n, np.int32), np.empty(3)
        count = kernels.decide(block.value, block.cost, (0, block.n), (self.low, self.high), state, rows, sums)
        rows = np.arange(block.n, dtype=np.int32) if self.low == 0 and self.high == inf else rows[:count]
        found, leaving = block.increments(rows, self.low, self.high)
        return Decided(
            block.audit(state), float(sums[2]), np.bincount(state, minlength=len(block.value)), leaving,
            np.array_equal(found.start, state[rows]),
        )  # fmt: skip


def _decided(run: Run, sample: Sample, n: int, limit: float) -> tuple[float, float, Decided]:
    """Returns the first bracket in which the budget surely breaks, and what it settles."""
    for width in WIDTHS:
        low, high = sample.bracket(limit / n, width)
        held = _together(run(Decide(low, high)))
        within = low == 0 or held.most >= limit * (1 + INSIDE)
        if held.sure and within and (high == inf or fsum(held.sums[:2].ravel()) <= limit * (1 - INSIDE)):
            return low, high, held
    return 0.0, inf, _together(run(Decide(0.0, inf)))


def _together(parts: Iterable[Decided]) -> Decided:
    every = list(parts)
    return Decided(
        sums=np.transpose([part.sums for part in every]),
        most=fsum(part.most for part in every),
        counts=np.sum([part.counts for part in every], axis=0),
        found=Increments.joined(part.found for part in every),
        sure=all(part.sure for part in every),
    )


# The last of the money


@dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """Finds the increments below a bracket of units for whom something better costs at most so much more.

    Attributes:
        low: The lower end of the bracket.
        high: The price that decides all units but those named.
        unit: Their numbers, rising, (K,).
        treatment: What they get, (K,).
        left: Money.
    """

    low: float
    high: float
    unit: NDArray[np.int64]
    treatment: NDArray[np.int32]
    left: float

    def __call__(self, block: Block) -> Increments:
        """Returns the increments that lead on from what the units of a block have."""
        state, rows = _planned(block, self.high, self.unit, self.treatment), np.empty(block.n, np.int32)
        count = kernels.audit(block.value, block.cost, 0, block.n, state, self.left, rows, np.empty(4))
        found, leaving = block.increments(rows[:count], 0.0, self.low)
        on = found.start == state[rows[:count]]  # a unit that has left the hull behind inside the bracket cannot go on
        return leaving.of_rows(on[found.unit])


def _planned(block: Block, high: float, unit: NDArray[np.int64], treatment: NDArray[np.int32]) -> NDArray[np.int32]:
    state, rows = np.empty(block.n, np.int32), np.empty(block.n, np.int32)
    kernels.decide(block.value, block.cost, (0, block.n), (high, high), state, rows, np.empty(3))
    a, b = np.searchsorted(unit, [block.first, block.first + block.n])
    state[unit[a:b] - block.first] = treatment[a:b]
    return state
