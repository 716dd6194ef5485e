"""Students of HRC as a server runs them: how fast, and what distillation costs; writes docs/benchmarks/serving.md.

    python -m benchmarks serving               # what is missing, then the page
    python -m benchmarks serving --speed       # the speed, measured again
    python -m benchmarks serving --table       # the page of what is there

One JSON file per seed under docs/benchmarks/serving/, and one of the speed. Worlds 1000 and above chose the defaults; these
are others.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from numpy.typing import NDArray

from benchmarks.cells import PAGES, arguments, load, mean_sd, of_seeds, paired, run, store
from benchmarks.suite import tables
from largesse.menu import BUDGET_SHARES

FORMS = ("folded", "mlp", "lightgbm")
RCT, OBS, CHOOSE, TEST = 40_000, 60_000, 20_000, 100_000
CLUSTERS, CALLS, UNITS, TIMES, DRAWS = (16, 64), 10_000, 50_000, 5, 200
PLACE = PAGES / "serving"


def cell(seed: int) -> str:
    """Fits a teacher and its students on one world and writes what each keeps."""
    from largesse.models import HRC, Student
    from largesse.simulate import money_off

    world = money_off(seed=seed)
    rct, obs = world.rct(RCT, seed=1), world.obs(OBS, seed=2)
    teacher = HRC(seed=seed).fit(rct, obs, validation=world.rct(CHOOSE, seed=4))
    test, x = world.rct(TEST, seed=3), np.concatenate([rct.x, obs.x])
    truth = world.truth(test.x)
    budgets = np.array(BUDGET_SHARES) * float(truth.cost.mean(0).max())
    found: dict[str, Any] = {"clusters": len(teacher.groups_.value.mean), "features": x.shape[1], "forms": {}}
    for form in FORMS:
        start = time.perf_counter()
        student = Student(form=form, seed=seed).distil(teacher, x)
        said = {"seconds": time.perf_counter() - start, "temperature": student.temperature_}
        said |= student.fidelity(test.x)._asdict() | worth(teacher, student, test, truth, budgets)
        found["forms"][form] = said | {"differ": differ(student, test.x, budgets * TEST)}
    store(PLACE / f"{seed}.json", found)
    return f"money-off {seed}"


def worth(teacher: Any, student: Any, test: Any, truth: Any, budgets: NDArray[np.float64]) -> dict[str, Any]:
    """Returns the share of the teacher's value that the student keeps: on trial rows with its paired interval, and exactly."""
    from largesse.evaluate import compare
    from largesse.evaluate.comparison import Bootstrap
    from largesse.evaluate.truth import true_value

    menus = {"teacher": teacher.predict(test.x), "student": student.predict(test.x)}
    table = compare(test, menus, budgets, bootstrap=Bootstrap(draws=DRAWS))
    ratio = table.draws[:, 1].mean(1) / table.draws[:, 0].mean(1)
    exact = {name: true_value(menu, truth, budgets).mean() for name, menu in menus.items()}
    nothing = float(truth.value[:, 0].mean())
    return {
        "kept": float(table.value[1].mean() / table.value[0].mean()), "ends": np.quantile(ratio, [0.025, 0.975]).tolist(),
        "kept_exactly": float(exact["student"] / exact["teacher"]),
        "gain_kept_exactly": float((exact["student"] - nothing) / (exact["teacher"] - nothing)),
    }  # fmt: skip


def differ(student: Any, x: NDArray[np.float32], budgets: NDArray[np.float64]) -> float:
    """Returns the share of units of which the exported model says another class than the student in Python."""
    from largesse.serving import export
    from largesse.serving.runtime import Served

    with tempfile.TemporaryDirectory() as place:
        export(student, x, budgets.tolist(), place + "/out")
        return float((Served.load(place + "/out").classes(x) != student.clusters(x)).mean())


def speed() -> None:
    """Measures what a server takes, for rising numbers of clusters, and writes it."""
    from largesse.models import HRC, MLP, Schedule, Student
    from largesse.serving import export
    from largesse.serving.runtime import MODEL, Served
    from largesse.simulate import money_off

    rct = money_off(seed=0).rct(UNITS, seed=1)
    some, found = rct.take(np.arange(20_000)), []
    for k in CLUSTERS:
        network = MLP(members=3, lengths=(1,), hidden=(64, 32), schedule=Schedule(epochs=1, least=1))
        teacher = HRC(network, sizes=(k,), least=1).fit(some)
        for form in FORMS:
            student = Student(form=form, schedule=Schedule(epochs=1, least=1)).distil(teacher, some.x)
            with tempfile.TemporaryDirectory() as place:
                export(student, some.x, [1000.0], place + "/out")
                size = (Path(place) / "out" / MODEL).stat().st_size
                found.append({"clusters": k, "form": form, "bytes": size, **taken(Served.load(place + "/out"), rct.x)})
    with first_in_line() as first:
        store(PLACE / "speed.json", {"lines": found, "machine": platform.machine(), "first": first})


def taken(served: Any, x: NDArray[np.float32]) -> dict[str, float]:
    """Returns microseconds of units decided one by one, and units per second of a batch."""
    each, batch = np.empty(CALLS), np.empty(TIMES)
    with first_in_line():
        for i in range(CALLS):
            row = x[i][None]
            start = time.perf_counter()
            served.decide(row, 1000.0)
            each[i] = time.perf_counter() - start
        for k in range(TIMES):
            start = time.perf_counter()
            served.decide(x, 1000.0)
            batch[k] = time.perf_counter() - start
    p50, p99 = (1e6 * np.quantile(each, (0.5, 0.99))).tolist()
    return {"p50": p50, "p99": p99, "rate": len(x) / float(batch.min())}


@contextmanager
def first_in_line() -> Iterator[bool]:
    """Real-time priority where the system allows it, so that other work on the machine is not measured; yields whether."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except (AttributeError, PermissionError):
        yield False
        return
    try:
        yield True
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def page(runs: list[dict[str, Any]], fast: dict[str, Any]) -> str:
    """Returns the page of what was measured."""
    clusters = [r["clusters"] for r in runs]
    lines = [
        "# Clusters served online", "", "Generated by `python -m benchmarks serving`; do not edit.", "",
        f"HRC on worlds of `money_off`, {runs[0]['features']} features, three networks of layers 64 and 32; exported, run by",
        "`largesse.serving.runtime`.", "", "## Speed", "",
        f"One thread of {fast['machine']}{', with real-time priority: other work shared the machine' * fast['first']}.",
        f"*Single*: one `decide` per unit, {CALLS:,} of them. *Batch*: {UNITS:,} units in one call, best of {TIMES}.", "",
        "| clusters | form | single, p50 µs | single, p99 µs | batch, units/s | model, kB |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for one in fast["lines"]:
        lines.append(
            f"| {one['clusters']} | `{one['form']}` | {one['p50']:.0f} | {one['p99']:.0f} | {one['rate']:,.0f} | "
            f"{one['bytes'] / 1000:.0f} |"
        )
    lines += [
        "", "## What the student keeps", "",
        f"Learned from {RCT:,} trial rows and {OBS:,} of a log; {min(clusters)} to {max(clusters)} clusters, chosen on",
        f"{CHOOSE:,} further rows; distilled from the features of the rows that the teacher has learned from. Judged on",
        f"{TEST:,} fresh trial rows at budgets of {', '.join(f'{100 * s:.0f}' for s in BUDGET_SHARES)} % of what the",
        "dearest level for everyone costs;", f"{of_seeds(len(runs))}, mean ± sd.", "",
        "*Agreement*: rows in the teacher's cluster. *Log loss* and *ECE* (15 bins) of the probability of that cluster, before →",
        "after the temperature; folded probabilities are the soft labels, and stay. *Differ*: rows of which the exported model",
        "says another class than the student in Python.", "",
        "| form | agreement, % | log loss | ECE, % | temperature | differ, % | seconds to distil |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for form in FORMS:
        got = {k: [r["forms"][form][k] for r in runs] for k in runs[0]["forms"][form]}
        loss = f"{np.mean(got['raw_log_loss']):.3f} → {np.mean(got['log_loss']):.3f}"
        ece = f"{100 * np.mean(got['raw_ece']):.1f} → {100 * np.mean(got['ece']):.1f}"
        lines.append(
            f"| `{form}` | {mean_sd(100 * np.array(got['agreement']), 2)} | {loss} | {ece} | {np.mean(got['temperature']):.2f} | "
            f"{100 * np.mean(got['differ']):.4f} | {np.median(got['seconds']):.1f} |"
        )
    return "\n".join([*lines, *_value(runs)]) + "\n"


def _value(runs: list[dict[str, Any]]) -> list[str]:
    """Returns the tables of the value that is kept."""
    lines = [
        "", "Value of the student over that of its teacher, mean of the four budgets. *On trial rows*: by the outcome curve,",
        "mean over seeds with its 95 % t-interval. *Exact*: by the exact means of the world. *Gain*: the same, beyond",
        "no one.", "",
        "| form | value kept on trial rows, % | value kept, exact, % | gain kept, exact, % |", "|---|---|---|---|",
    ]  # fmt: skip
    for form in FORMS:
        kept, exact, gain = (
            100 * np.array([r["forms"][form][k] for r in runs]) for k in ("kept", "kept_exactly", "gain_kept_exactly")
        )
        lines.append(f"| `{form}` | {paired(kept, 2).replace('+', '')} | {mean_sd(exact, 2)} | {mean_sd(gain, 2)} |")
    head = ["seed", "clusters", *(f"`{form}`" for form in FORMS)]
    lines += ["", f"World by world, on trial rows, with the paired 95 % interval of {DRAWS} bootstrap draws:", ""]
    lines += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for r in runs:
        cells = [r["forms"][form] for form in FORMS]
        ends = [f"{100 * c['kept']:.2f} ({100 * c['ends'][0]:.2f} to {100 * c['ends'][1]:.2f})" for c in cells]
        lines.append(f"| {r['seed']} | {r['clusters']} | {' | '.join(ends)} |")
    return lines


def main() -> None:
    """Runs what is missing and writes the page."""
    parser = arguments(__doc__, seeds=10)
    parser.add_argument("--speed", action="store_true", help="measure the speed again")
    given = parser.parse_args()
    missing = [seed for seed in range(given.seeds) if not load(PLACE / f"{seed}.json")]
    if missing and not given.table and not given.speed:
        run(cell, missing, given.processes)
    if given.speed or not (given.table or load(PLACE / "speed.json")):
        speed()
    runs = [load(place) | {"seed": int(place.stem)} for place in PLACE.glob("[0-9]*.json")]
    if runs and (fast := load(PLACE / "speed.json")):
        tables.write_whole(PAGES / "serving.md", page(sorted(runs, key=lambda r: r["seed"]), fast))
