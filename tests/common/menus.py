"""Odd menus and budgets that every solver is tried on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tests.reference import argmax

SEEDS = range(12)


def between(rng, cost, value=None):
    """A budget between the cheapest and the dearest plan."""
    low, high = cost.min(axis=1).sum(dtype=np.float64), cost.max(axis=1).sum(dtype=np.float64)
    return low + rng.random() * 0.8 * (high - low)


def plain(rng, n=60, m=5):
    cost = np.sort(rng.gamma(2.0, 1.0, (n, m)), axis=1)
    cost[:, 0] = 0
    return np.sort(rng.gamma(2.0, 1.0, (n, m)), axis=1) * rng.random((n, 1)), cost


def unordered(rng):
    return rng.normal(size=(50, 6)), rng.gamma(1.0, 1.0, (50, 6))


def ties(rng):
    """Few distinct values, costs and slopes, so that many units break together."""
    return rng.integers(0, 4, (80, 5)).astype(float), rng.integers(0, 4, (80, 5)).astype(float)


def one_slope(rng):
    cost = np.cumsum(rng.integers(0, 3, (40, 4)), axis=1).astype(float)
    return 0.5 * cost, cost


def copies(rng):
    """Every unit is the same, and every treatment stands there twice."""
    value, cost = plain(rng, 1, 4)
    return np.tile(np.hstack([value, value]), (30, 1)), np.tile(np.hstack([cost, cost]), (30, 1))


def dominated(rng):
    value, cost = plain(rng)
    return np.hstack([value, value - 0.3]), np.hstack([cost, cost + rng.random(cost.shape)])


def negative(rng):
    value, cost = unordered(rng)
    return value - 3, cost


def free(rng):
    value, cost = unordered(rng)
    return value, cost * (rng.random(cost.shape) < 0.4)


def all_free(rng):
    return rng.normal(size=(20, 4)), np.zeros((20, 4))


def control_dear(rng):
    """The cheapest option is not control."""
    value, cost = plain(rng)
    return value, cost[:, ::-1] + 1.0


def huge(rng):
    value, cost = plain(rng)
    return value * 1e12, cost * 1e9


def tiny(rng):
    value, cost = plain(rng)
    return value * 1e-12, cost * 1e-9


def two(rng):
    return plain(rng, 200, 2)


def many(rng):
    return plain(rng, 12, 64)


def alone(rng):
    return plain(rng, 1, 5)


def single(rng):
    value, cost = plain(rng)
    return value.astype(np.float32), cost.astype(np.float32)


def offset(rng):
    """Large common amounts that only differences should see."""
    value, cost = plain(rng)
    return value + 1e5, cost + 1e3


KINDS = {
    maker.__name__: maker
    for maker in (
        plain, unordered, ties, one_slope, copies, dominated, negative, free, all_free, control_dear, huge, tiny, two,
        many, alone, single, offset,
    )
}  # fmt: skip


def at_corner(rng, value, cost):
    """The spend of the plan of some price: the money is gone exactly between two increments."""
    at = argmax(value, cost, rng.gamma(1.0, 0.5) * np.abs(value).max() / max(cost.max(), 1e-300))
    return math.fsum(cost[np.arange(len(cost)), at].tolist())


BUDGETS = {
    "between": lambda rng, value, cost: between(rng, cost),
    "corner": at_corner,
    "cheapest": lambda rng, value, cost: math.fsum(cost.min(axis=1).tolist()),
    "ample": lambda rng, value, cost: 2.0 * cost.max(axis=1).sum(dtype=np.float64) + 1.0,
}


def repeated(kind: str, seed: int) -> tuple[Any, Any]:
    """A few hundred units of one kind, some of them twins."""
    rng = np.random.default_rng([seed, len(kind)])
    drawn = [KINDS[kind](rng) for _ in range(max(1, 300 // len(KINDS[kind](rng)[0])))]
    value, cost = (np.concatenate([pair[k] for pair in drawn]) for k in (0, 1))
    again = rng.integers(0, len(value), len(value) // 4)
    return np.concatenate([value, value[again]]), np.concatenate([cost, cost[again]])
