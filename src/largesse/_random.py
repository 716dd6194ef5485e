"""Conversion of seeds to NumPy generators, done once in each public function."""

from __future__ import annotations

import numpy as np

__all__ = ["Seed", "child", "generator", "number"]

Seed = int | np.random.Generator | None


def generator(seed: Seed) -> np.random.Generator:
    """Returns the given generator, or a new one from the seed (None: entropy from the operating system)."""
    return seed if isinstance(seed, np.random.Generator) else np.random.default_rng(seed)


def child(seed: int, *key: int) -> np.random.Generator:
    """Returns the generator of one block, which depends only on the run's seed and the block's key, e.g. (fold, draw)."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def number(seed: int, *key: int) -> int:
    """Returns the seed of one block as an integer, for libraries that do not accept a generator."""
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1)[0])
