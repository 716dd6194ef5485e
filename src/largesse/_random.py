"""Conversion of seeds to NumPy generators, done once in each public function."""

from __future__ import annotations

from numbers import Integral

import numpy as np

from largesse import _check

__all__ = ["Seed", "child", "generator", "number", "whole"]

Seed = int | np.random.Generator | None


def whole(seed: object, below: int = 2**63) -> int:
    """Returns a seed, or raises DataError unless it is a whole number from 0 to `below` - 1."""
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= int(seed) < below:
        raise _check.refuse("seed", seed, f"must be a whole number >= 0 and < {below}", "Any will do, e.g. 0.")
    return int(seed)


def generator(seed: Seed) -> np.random.Generator:
    """Returns the given generator, or a new one from the seed (None: entropy from the operating system)."""
    return (
        seed if isinstance(seed, np.random.Generator) else np.random.default_rng(None if seed is None else whole(seed))
    )


def child(seed: int, *key: int) -> np.random.Generator:
    """Returns the generator of one block, which depends only on the run's seed and the block's key, e.g. (fold, draw)."""
    return np.random.default_rng(np.random.SeedSequence(whole(seed), spawn_key=key))


def number(seed: int, *key: int) -> int:
    """Returns the seed of one block as an integer, for libraries that do not accept a generator."""
    return int(np.random.SeedSequence(whole(seed), spawn_key=key).generate_state(1)[0])
