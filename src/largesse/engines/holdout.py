"""A random control group of a plan: which units are kept back, and passes over the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse.allocate.blocks import Block, Run
from largesse.experiment.design.assign import assign
from largesse.frames.plans import ARMS

__all__ = ["Holdout", "shipped"]

Partial = TypeVar("Partial")


@checked
@dataclass(frozen=True, slots=True)
class Holdout:
    """Keeps a share of the units back, drawn by a hash of id and salt.

    The arms are those of ``largesse assign --shares shipped=0.95,holdout=0.05`` with the same salt (for a share of 0.05).

    Attributes:
        share: Share of the units, between 0 and 1.
        salt: Name of the experiment.

    Raises:
        DataError: The share is not between 0 and 1, or the salt is empty.

    >>> Holdout(0.3, "spring").of(range(4, 8)).tolist()
    [False, False, True, False]
    """

    share: float
    salt: str

    def __post_init__(self) -> None:
        remedy = "Give a share, e.g. 0.05."
        if not 1e-6 <= _check.number("--holdout", self.share, remedy=remedy) <= 1 - 1e-6:
            raise _check.refuse("--holdout", self.share, "must be a share of the units, above 0 and below 1", remedy)
        if not self.salt:
            remedy = "Name the campaign, e.g. --salt spring; every experiment needs its own."
            raise _check.refuse("--salt", self.salt, "must not be empty with --holdout", remedy)

    def of(self, ids: Iterable[object]) -> NDArray[np.bool_]:
        """Returns which units are kept back, (N,)."""
        shares = dict(zip(ARMS, (1 - self.share, self.share), strict=True))
        return np.asarray(assign(ids, shares, salt=self.salt) == ARMS[1])


def shipped(run: Run, withheld: NDArray[np.bool_]) -> Run:
    """Returns passes over the units that are not kept back; blocks without such a unit are left out.

    The units of a block are numbered anew, so a decision must not depend on their numbers.

    Args:
        run: Passes over all units.
        withheld: Which units are kept back, (N,).

    Raises:
        DataError: All of them are.
    """
    if withheld.all():
        remedy = "Give a smaller --holdout, or more units."
        raise _check.refuse("--holdout", len(withheld), "keeps back every unit that there is", remedy)

    def passes(task: Callable[[Block], Partial]) -> list[Partial]:
        def part(block: Block) -> Any:
            rows = np.flatnonzero(~withheld[block.first : block.first + block.n])
            return task(Block(block.first, block.value[:, rows], block.cost[:, rows])) if len(rows) else None

        return [result for result in run(part) if result is not None]

    return passes
