"""Plans under rules against HiGHS: ten kinds of rules, many instances each; writes docs/benchmarks/rules.md.

    python -m benchmarks rules --seeds 50
    python -m benchmarks rules --table
    python -m benchmarks rules --large         # a million units, 8 treatments, three resources

10,000 units, 5 treatments. The gap is to the dual bound, which no plan exceeds; the linear programme of all units, by SciPy's
HiGHS, is solved for the first instance of each kind, to show how near that bound is to its optimum. One JSON file per seed
under docs/benchmarks/rules/.
"""

from __future__ import annotations

import os
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.cells import PAGES, arguments, load, run, store
from largesse.allocate import Count, Return, Rule, Spend, Use, solve_under
from largesse.allocate.rules import Row, rows_of
from largesse.menu import Menu

LARGE = PAGES / "rules_large.json"
N, NAMES = 10_000, ("none", "a", "b", "c", "d")
Draws = np.random.Generator


def _minutes(rng: Draws) -> Any:
    used = rng.random((N, 5))
    used[:, 0] = 0
    return used


def _city(rng: Draws) -> Any:
    return rng.integers(0, 4, N)


# Each from what the dearest level for everyone costs, the return of all treatments, and draws.
KINDS: dict[str, Any] = {
    "a cap on one treatment": lambda full, back, rng: [Count(treatment="d", at_most=0.05 * N)],
    "a minimum count": lambda full, back, rng: [Count(treatment="a", at_least=0.3 * N)],
    "an exact count": lambda full, back, rng: [Count(treatment="b", at_least=1400, at_most=1400)],
    "budgets of cities": lambda full, back, rng: [Spend(by=_city(rng), at_most=[0.02 * full] + [0.09 * full] * 3)],
    "floors of cities": lambda full, back, rng: [Spend(by=_city(rng), at_least=0.06 * full)],
    "contacts": lambda full, back, rng: [Use(amount=np.array([0, 1, 1, 2, 2]), at_most=0.6 * N)],
    "three resources": lambda full, back, rng: [Use(amount=_minutes(rng), at_most=share * N) for share in (0.3, 0.25)],
    "a return": lambda full, back, rng: [Return(at_least=1.1 * back)],
    "money that must be spent": lambda full, back, rng: [
        Spend(at_least=0.29 * full),
        Count(treatment=("c", "d"), at_most=0.2 * N),
    ],
    "some units only": lambda full, back, rng: [
        Count(treatment=("a", "b", "c", "d"), units=rng.random(N) < 0.3, at_most=0.04 * N)
    ],
}


def problem(seed: int, kind: str) -> tuple[Menu, list[Rule]]:
    """Returns a menu and its rules: a budget of 30 % of what the dearest level for everyone costs, and one kind more."""
    rng = np.random.default_rng([seed, list(KINDS).index(kind)])
    cost, value = (np.sort(rng.gamma(2.0, 1.0, (N, 5)), axis=1) for _ in range(2))
    cost[:, 0] = 0
    menu = Menu(value=value * rng.random((N, 1)), cost=cost, treatments=NAMES)
    full = float(menu.cost[:, -1].sum())
    return menu, [Spend(at_most=0.3 * full), *KINDS[kind](full, float(menu.value.sum() / menu.cost.sum()), rng)]


def programme(menu: Menu, rows: list[Row]) -> float:
    """Returns the optimum of the linear programme of all units."""
    from scipy import sparse
    from scipy.optimize import linprog

    every, tables = np.arange(menu.n), []
    for row in rows:
        table, covered = np.zeros(menu.value.shape), row.covered(every)
        table[covered] = row.amounts(menu, covered)
        tables.append(sparse.csr_matrix(table.ravel()))
    one = sparse.kron(sparse.eye(menu.n), np.ones((1, menu.n_treatments)), format="csr")
    done = linprog(
        -menu.value.ravel(), A_ub=sparse.vstack(tables), b_ub=[row.limit for row in rows], A_eq=one,
        b_eq=np.ones(menu.n), bounds=(0, 1), method="highs",
    )  # fmt: skip
    return float(-done.fun)


def cell(seed: int) -> str:
    """Plans one instance of each kind."""
    place = PAGES / "rules" / f"{seed}.json"
    cached = load(place) or {"seed": seed, "kinds": {}}
    for kind in KINDS:
        if kind in cached["kinds"]:
            continue
        menu, rules = problem(seed, kind)
        start = time.perf_counter()
        plan = solve_under(menu, rules)
        seconds, rows = time.perf_counter() - start, rows_of(rules, menu)
        over = max(row.used(menu, plan.treatment) - row.limit for row in rows)
        found = {"gap": plan.gap / plan.value, "obeyed": bool(over <= 0), "seconds": seconds}
        if seed == 0:
            start = time.perf_counter()
            best = programme(menu, rows)
            found |= {"of the optimum": plan.value / best - 1, "seconds of HiGHS": time.perf_counter() - start}
        cached["kinds"][kind] = found
        store(place, cached)
    return f"seed {seed}: gap {max(found['gap'] for found in cached['kinds'].values()):.1e}"


def large() -> None:
    """Plans a million units with three resources: money, contacts, and minutes that differ from unit to unit."""
    n, m, rng = 1_000_000, 8, np.random.default_rng(0)
    cost, value = (np.sort(rng.gamma(2.0, 1.0, (n, m)), axis=1) for _ in range(2))
    minutes = rng.random((n, m))
    cost[:, 0] = minutes[:, 0] = 0
    menu = Menu(value=value * rng.random((n, 1)), cost=cost)
    rules = [
        Spend(at_most=0.3 * float(cost[:, -1].sum())), Use(amount=np.minimum(np.arange(m), 2), at_most=0.9 * n),
        Use(amount=minutes, at_most=0.2 * n),
    ]  # fmt: skip
    start = time.perf_counter()
    plan = solve_under(menu, rules)
    seconds = time.perf_counter() - start
    over = max(row.used(menu, plan.treatment) - row.limit for row in rows_of(rules, menu))
    store(LARGE, {"gap": plan.gap / plan.value, "obeyed": bool(over <= 0), "seconds": seconds})


def table() -> None:
    """Writes the page of what is there."""
    runs = [load(place)["kinds"] for place in sorted((PAGES / "rules").glob("*.json"))]
    lines = [
        "# Rules", "", "Generated by `python -m benchmarks rules`; do not edit.", "",
        f"{N:,} units, 5 treatments, a budget of 30 % of what the dearest level for everyone costs, and one kind of rule",
        "more. *Gap*: how much more any plan could be worth at most, relative. *Against HiGHS*: value of the plan of whole",
        "units against the optimum of the linear programme of all units, and seconds of both, for one instance.", "",
        "| rule | instances | every limit holds | median gap | largest gap | against HiGHS | seconds | HiGHS |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for kind in KINDS:
        found = [one[kind] for one in runs if kind in one]
        first = next(one for one in found if "of the optimum" in one)
        gaps = np.array([one["gap"] for one in found])
        cells = [
            kind, len(found), f"{sum(one['obeyed'] for one in found)} of {len(found)}", f"{np.median(gaps):.0e}",
            f"{gaps.max():.0e}", f"{first['of the optimum']:+.0e}", f"{first['seconds']:.1f}", f"{first['seconds of HiGHS']:.1f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    if at := load(LARGE):
        held = "every limit holds" if at["obeyed"] else "**a limit is broken**"
        lines += [
            "",
            "A million units, 8 treatments, three resources that all bind (money, contacts, minutes that differ from unit to",
            f"unit), one thread: {at['seconds']:.1f} s, gap {at['gap']:.0e}, {held} (`python -m benchmarks rules --large`).",
        ]
    (PAGES / "rules.md").write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = arguments(__doc__, 50)
    parser.add_argument("--large", action="store_true")
    said = parser.parse_args()
    if said.large:
        large()
    elif not said.table:
        run(cell, range(said.seeds), said.processes)
    table()
