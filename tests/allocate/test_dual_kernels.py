"""The compiled loops of a plan under rules, against NumPy."""

from __future__ import annotations

from math import fsum

import numpy as np
import pytest

from largesse.allocate.dual_kernels import best_two, cells_of, total

M, N = 5, 5000  # more units than one chunk


@pytest.mark.parametrize("terms", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_the_best_and_the_next_best(terms: bool, masked: bool):
    rng = np.random.default_rng(0)
    value, cost = (rng.integers(0, 4, (M, N)).astype(np.float32) for _ in range(2))  # ties are frequent
    weights = rng.integers(1, 3, N).astype(float), rng.integers(0, 3, N) / 2
    more = rng.integers(0, 3, (M, N)).astype(float) if terms else np.empty((M, 0))
    allowed = rng.random((M, N)) < 0.6 if masked else np.empty((M, 0), bool)
    score = weights[0] * value - weights[1] * cost - (more if terms else 0)
    if masked:
        allowed[0] = True
        score[~allowed] = -np.inf
    treatment, best, margin = np.empty(N, np.int32), np.empty(N), np.empty(N)
    best_two(value, cost, weights, more, allowed, treatment, best, margin)
    assert treatment.tolist() == score.argmax(0).tolist()
    ranked = np.sort(score, axis=0)
    assert best.tolist() == ranked[-1].tolist()
    assert margin.tolist() == (ranked[-1] - ranked[-2]).tolist()


def test_cells_of_a_plan():
    rng = np.random.default_rng(1)
    table = rng.random((M, N)).astype(np.float32)
    rows, treatment = rng.integers(0, N, 300), rng.integers(0, M, 300).astype(np.int32)
    got = cells_of(table, treatment, rows)
    assert got.dtype == np.float32
    assert got.tolist() == table[treatment, rows].tolist()


@pytest.mark.parametrize(
    "amounts", [np.random.default_rng(2).normal(size=10_001) * 10.0 ** np.arange(-5, 5).repeat(1001)[:10_001], np.empty(0),
                np.array([1e15, 1.0, -1e15, 1e-3]), np.full(1000, 0.1)],
)  # fmt: skip
def test_a_sum_is_rounded_once(amounts: np.ndarray):
    assert total(amounts) == fsum(amounts)
