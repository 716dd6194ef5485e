"""How fast and how large: the plan against bisection, HiGHS and PDLP; writes docs/benchmarks/allocate.md.

    python -m benchmarks allocate
    python -m benchmarks allocate --table      # page and picture of what was measured
    python -m benchmarks allocate --keep       # what HiGHS and PDLP took stays from the last run, with the plan of that run

Every line is measured in a process of its own, one after another, so that the peak of memory is its own; yet another process
draws the menu and leaves it in a file. Compile time is excluded (each kernel runs once before on a small menu). PDLP joins
where OR-Tools is installed.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from numpy.typing import NDArray

from benchmarks.cells import PAGES, load, machine, store
from benchmarks.suite import tables
from benchmarks.suite.rivals import bisect_plan
from largesse.allocate import grid, solve
from largesse.menu import Menu

SHARE = 0.3
LIMIT = 60.0  # seconds of a rival, start and reading included
LINES = [
    *((10**k, 5) for k in (4, 5, 6, 7)),
    (50_000_000, 4),
    *((1_000_000, m) for m in (2, 8, 16, 32)),
]
MOST = {
    "bisection": 10**9,
    "HiGHS": 100_000,
    "PDLP": 1_000_000,
}  # units; beyond, a rival takes too long or too much


def draw(n: int, m: int) -> tuple[Menu, float]:
    """Returns concave menus with noise, and a budget of 30 % of what the dearest level for everyone costs."""
    rng = np.random.default_rng(0)
    cost, value = (np.empty((m, n), np.float32) for _ in range(2))
    rate, size, scale = (rng.uniform(*ends, n).astype(np.float32) for ends in ((0.5, 1.5), (0, 2), (0.5, 4)))
    for j in range(m):
        cost[j] = j * rate
        value[j] = size * (1 - np.exp(-j / scale)) + 0.05 * rng.random(n, dtype=np.float32)
    menu = Menu(value=value.T, cost=cost.T)
    return menu, SHARE * float(cost[-1].sum(dtype=np.float64))


def _programme(menu: Menu) -> tuple[NDArray[np.float64], object, NDArray[np.float64]]:
    from scipy import sparse

    n, m = menu.n, menu.n_treatments
    one_each = sparse.csr_matrix((np.ones(n * m), np.arange(n * m), np.arange(0, n * m + 1, m)), (n, n * m))
    return menu.value.astype(np.float64).ravel(), one_each, menu.cost.astype(np.float64).ravel()


def highs(menu: Menu, budget: float) -> float:
    """The linear programme by SciPy's HiGHS; returns its optimum."""
    from scipy import sparse
    from scipy.optimize import linprog

    value, one_each, cost = _programme(menu)
    done = linprog(
        -value, A_ub=sparse.csr_matrix(cost), b_ub=[budget], A_eq=one_each, b_eq=np.ones(menu.n), method="highs"
    )
    return float(-done.fun)


def pdlp(menu: Menu, budget: float) -> float:
    """The linear programme by OR-Tools' PDLP at its default tolerance; returns its optimum."""
    from ortools.pdlp import solve_log_pb2, solvers_pb2
    from ortools.pdlp.python import pdlp as engine
    from scipy import sparse

    value, one_each, cost = _programme(menu)
    task = engine.QuadraticProgram()
    task.resize_and_initialize(len(value), menu.n + 1)
    task.objective_vector = -value
    task.constraint_matrix = sparse.csc_matrix(sparse.vstack([one_each, sparse.csr_matrix(cost)]))
    task.constraint_lower_bounds = np.append(np.ones(menu.n), -np.inf)
    task.constraint_upper_bounds = np.append(np.ones(menu.n), budget)
    task.variable_lower_bounds = np.zeros(len(value))
    task.variable_upper_bounds = np.ones(len(value))
    how = solvers_pb2.PrimalDualHybridGradientParams()
    how.termination_criteria.time_sec_limit = LIMIT
    done = engine.primal_dual_hybrid_gradient(task, how)
    solved = done.solve_log.termination_reason == solve_log_pb2.TERMINATION_REASON_OPTIMAL
    return float(value @ done.primal_solution) if solved else float("nan")


WAYS = {
    "read": lambda menu, budget: float(menu.value.T.sum() + menu.cost.T.sum()),
    "plan": lambda menu, budget: solve(menu, budget).value,
    "plan, 2 threads": lambda menu, budget: solve(menu, budget, n_threads=2).value,
    "50 budgets": lambda menu, budget: grid(menu, budget * np.linspace(0.1, 2.5, 50)).value[0],
    "bisection": bisect_plan,
    "HiGHS": highs,
    "PDLP": pdlp,
}


def save(place: str, n: int, m: int) -> None:
    """Leaves a menu in a file, as the arrays lie in memory."""
    menu, budget = draw(n, m)
    np.save(place, np.stack([menu.value.T, menu.cost.T]))
    Path(place).with_suffix(".json").write_text(json.dumps(budget))


def measure(way: str, n: int, m: int, place: str) -> dict[str, float]:
    """Returns the seconds (best of three where they are short) and the peak of memory over the arrays' size."""
    WAYS[way](*draw(60_000 if way in ("plan", "plan, 2 threads", "50 budgets", "bisection") else 100, m))
    value, cost = np.load(place)
    menu, budget = Menu(value=value.T, cost=cost.T), json.loads(Path(place).with_suffix(".json").read_text())
    size = menu.value.nbytes + menu.cost.nbytes
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    best = np.inf
    for _ in range(3):
        start = time.perf_counter()
        done = WAYS[way](menu, budget)
        best = min(best, time.perf_counter() - start)
        if best > 5:
            break
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "seconds": best,
        "done": float(np.isfinite(done)),
        "before": before * 1024 / size,
        "peak": after * 1024 / size,
    }


def main() -> None:
    if len(sys.argv) > 2:
        way, n, m, file = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
        if way == "save":
            save(file, n, m)
        else:
            print(json.dumps(measure(way, n, m, file)))
        return
    place = PAGES / "allocate.json"
    if "--table" not in sys.argv:
        kept = {(size["n"], size["m"]): size["found"] for size in load(place).get("sizes", ())}
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder) / "menu.npy")
            sizes = [{"n": n, "m": m, "found": _measured(n, m, file, kept.get((n, m), {}))} for n, m in LINES]
        store(place, machine() | {"sizes": sizes})
    cell = load(place)
    table(cell)
    picture(cell["sizes"])


def _measured(n: int, m: int, file: str, kept: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Returns what every way takes at one size, each in a process of its own."""
    subprocess.run([sys.executable, "-m", "benchmarks", "allocate", "save", str(n), str(m), file], check=True)
    found: dict[str, dict[str, float]] = {}
    for way in WAYS:
        if way in ("HiGHS", "PDLP") and "--keep" in sys.argv:
            if way in kept:
                found[way] = {"plan": kept["plan"]["seconds"]} | kept[way]  # what it is compared with is of its own run
            continue
        if n <= MOST.get(way, 10**9) and not (way == "PDLP" and not _has_ortools()):
            call = [sys.executable, "-m", "benchmarks", "allocate", way, str(n), str(m), file]
            try:
                done = subprocess.run(
                    call, capture_output=True, text=True, check=True, timeout=LIMIT if way in MOST else None
                )
                found[way] = json.loads(done.stdout)
            except subprocess.TimeoutExpired:
                found[way] = {"seconds": LIMIT, "done": 0.0}
            print(n, m, way, found[way], flush=True)
    return found


def table(cell: dict[str, Any]) -> None:
    """Writes the page."""
    tables.write_whole(PAGES / "allocate.md", "\n".join(page(cell)) + "\n")


def page(cell: dict[str, Any]) -> list[str]:
    """Returns the lines of the page."""
    lines = [
        "# Speed and size of allocation", "", "Generated by `python -m benchmarks allocate`; do not edit.", "",
        f"Concave menus with noise, float32; the budget is {SHARE:.0%} of the dearest level for everyone. Seconds, best of",
        f"three; {cell['processor']}, {cell['cores']} cores, NumPy {cell['numpy']}. *Read*: one sum over both arrays, one",
        "thread. *Plan*: λ*, a plan of whole units, its bound and its audit (`solve`). *50 budgets*: λ* and optimum of each",
        "(`grid`). *Bisection*: for the price of one budget alone, compiled, from 0 to the largest return of any unit, until the",
        "price is known to single precision; no plan of whole units, no bound. HiGHS and PDLP (one minute at most) solve the",
        "linear programme only; where a dagger stands, they were measured in an earlier run. Memory: peak of the process",
        "(interpreter and libraries included), over the size of the two arrays where that is 100 MB or more. In brackets: over",
        "the plan of the same run.", "", "![seconds](allocate.png)", "",
        "| units × treatments | read | plan | over read | plan, 2 threads | 50 budgets | bisection | HiGHS | PDLP | memory |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for size in cell["sizes"]:
        found = size["found"]
        base, plan = found["read"]["seconds"], found["plan"]["seconds"]
        cells = [
            f"{'' if found[way]['done'] else '> '}{found[way]['seconds']:.3g}" if way in found else "" for way in WAYS
        ]
        for k, way in enumerate(WAYS):
            if way in MOST and way in found:
                times = found[way]["seconds"] / found[way].get("plan", plan)
                cells[k] += f" ({times:.{0 if times >= 10 else 1}f}×){'†' * ('plan' in found[way])}"
        cells.insert(2, f"{plan / base:.1f}×")
        memory = f"{found['plan']['peak']:.2f}×" if 8 * size["n"] * size["m"] >= 1e8 else ""
        lines.append(f"| {size['n']:,} × {size['m']} | {' | '.join(cells)} | {memory} |")
    return lines


def picture(sizes: list[dict[str, Any]]) -> None:
    """Draws seconds by units, and by treatments at a million units; what did not end within its minute is left out."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, key, words, chosen in zip(
        figure.subplots(1, 2, sharey=True), ("n", "m"), ("units (5 treatments; 4 at 50 million)", "treatments (1 million units)"),
        (lambda s: s["m"] in (4, 5), lambda s: s["n"] == 1_000_000), strict=True,
    ):  # fmt: skip
        for k, way in enumerate(("read", "plan", "bisection", "HiGHS", "PDLP")):
            points = sorted(
                (size[key], size["found"][way]["seconds"])
                for size in filter(chosen, sizes) if size["found"].get(way, {}).get("done")
            )  # fmt: skip
            axes.plot(
                *zip(*points, strict=True), marker="o", markersize=4, color=f"C{k}", label=way
            ) if points else None
        at = sorted({size[key] for size in filter(chosen, sizes)})
        axes.set(xscale="log", yscale="log", xlabel=words)
        axes.set_xticks(at, [f"{x:,}" if x < 1000 else f"{x:.0e}".replace("e+0", "e") for x in at], minor=False)
        axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("seconds")
    figure.axes[0].legend(frameon=False)
    figure.savefig(PAGES / "allocate.png", dpi=160)


def _has_ortools() -> bool:
    try:
        import ortools.pdlp  # noqa: F401
    except ImportError:
        return False
    return True
