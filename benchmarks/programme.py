"""Plans of clusters at many budgets: seconds and certificates; writes docs/benchmarks/programme.md.

    python -m benchmarks programme

Twenty budgets of one drawn problem each: from 3 to 80 % of what the dearest treatment for everyone costs. The rival is HiGHS
on the plain integer programme of the expected spend, one call for each budget, to a gap of a millionth; it knows no chance
constraint.
"""

from __future__ import annotations

import os
import platform
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy import sparse
from scipy.optimize import LinearConstraint, milp

from benchmarks.cells import PAGES
from benchmarks.suite.tables import write_whole
from largesse.allocate import Chance, ClusterCells, Expected, plan_clusters
from largesse.allocate.highs import quiet

M, BUDGETS, SEEDS = 8, 20, 3
SIZES, RIVAL = (50, 200, 1000, 5000), (50, 200)


def drawn(k: int, seed: int) -> ClusterCells:
    """Returns clusters whose cost per unit is known to a tenth or so."""
    rng = np.random.default_rng([k, seed])
    cost = np.sort(rng.gamma(2.0, 1.0, (k, M)), 1)
    cost[:, 0] = 0
    value = np.sort(rng.gamma(2.0, 1.0, (k, M)), 1) * rng.random((k, 1))
    error, spread = np.zeros((2, k, M, 2, 2))
    error[..., 1, 1], error[..., 0, 0] = (0.1 * cost * rng.uniform(0.5, 2, (k, M))) ** 2, 0.01
    spread[..., 1, 1], spread[..., 0, 0] = cost**2, 1.0
    return ClusterCells(
        size=rng.integers(200, 3000, k).astype(float), value=value, cost=cost, covariance=error, spread=spread
    )


def rival(cells: ClusterCells, budget: float) -> float:
    """Returns the value of HiGHS' plan."""
    k, n = len(cells.size), cells.size[:, None]
    value, cost = (n * cells.value).ravel(), (n * cells.cost).ravel()
    one = sparse.csr_matrix((np.ones(k * M), (np.arange(k * M) // M, np.arange(k * M))))
    held = [LinearConstraint(one, 1, 1), LinearConstraint(cost[None] / cost.max(), -np.inf, budget / cost.max())]
    done = milp(
        -value / value.max(), integrality=np.ones(k * M), bounds=(0, 1), constraints=held, options={"mip_rel_gap": 1e-6}
    )
    return -float(done.fun) * value.max()


def line(k: int, name: str, risk) -> str:
    """Returns a row of the table."""
    seconds, other, gaps, over, better = [], [], [], [], []
    for seed in range(SEEDS):
        cells = drawn(k, seed)
        budgets = np.linspace(0.03, 0.8, BUDGETS) * float(cells.size @ cells.cost[:, -1])
        stake = float(cells.size @ (cells.value.max(1) - cells.value.min(1)))
        start = time.perf_counter()
        plans = plan_clusters(cells, budgets, risk=risk, nested=False)
        seconds.append(time.perf_counter() - start)
        gaps.append(max(plan.gap for plan in plans) / stake)
        over.append(max(plan.overspends for plan in plans))
        if name == "expected spend" and k in RIVAL:
            start = time.perf_counter()
            with quiet():
                found = [rival(cells, b) for b in budgets]
            other.append(time.perf_counter() - start)
            better.append(max((a - plan.value) / stake for a, plan in zip(found, plans, strict=True)))
    times = np.median([b / a for a, b in zip(seconds, other, strict=False)]) if other else 0.0
    rest = f"{np.median(other):.1f} s, {times:.0f}× | {max(better):+.0e}" if other else " | "
    return f"| {k:,} | {name} | {np.median(seconds):.2f} s | {max(gaps):.0e} | {max(over):.3f} | {rest} |"


def main() -> None:
    """Measures and writes the page."""
    plan_clusters(drawn(20, 0), [1000.0], risk=Chance())  # compiles
    risks = {"expected spend": Expected(), "overspends with at most 5 %": Chance(0.05)}
    rows = [line(k, name, risk) for k in SIZES for name, risk in risks.items()]
    page = [
        "# Plans of clusters", "",
        f"{BUDGETS} budgets, each planned by itself, {M} treatments; medians of {SEEDS} drawn problems. Gaps are of what is at",
        "stake: best less worst value of every cluster. The rival is HiGHS on the integer programme of the expected spend.",
        f"{os.cpu_count()} cores, one thread, Python {platform.python_version()}. By `python -m benchmarks programme`.", "",
        "| clusters | held against the budget | `plan_clusters` | largest gap | largest chance of overspending "
        "| HiGHS | its lead |",
        "|---|---|---|---|---|---|---|", *rows, "",
    ]  # fmt: skip
    write_whole(PAGES / "programme.md", "\n".join(page))
    print("\n".join(page))
