"""Coverage of an experiment's intervals where they rest on few events; writes docs/benchmarks/few_events.md.

    python -m benchmarks few_events
    python -m benchmarks few_events --table

Every design has its own draws, seeds 0 to the number of draws; the correction and the bar for warnings were chosen on other
seeds. One JSON file, docs/benchmarks/few_events.json, a cell for each design.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from benchmarks.cells import single

DRAWS = 2000


class Design(NamedTuple):
    """Units in control and in the arm, how a unit's metric is drawn in either, the means, and the estimator."""

    name: str
    units: tuple[int, int]
    draw: Callable[[np.random.Generator, int, int], Any]
    means: tuple[float, float]
    form: str = "difference in means"


def lognormal(s: float) -> Callable[..., Any]:
    return lambda rng, n, arm: np.exp(s * rng.normal(size=n))


def binary(p: float, q: float | None = None) -> Callable[..., Any]:
    return lambda rng, n, arm: (rng.random(n) < (q if arm and q is not None else p)) * 1.0


def orders(p: float, q: float | None = None) -> Callable[..., Any]:
    return lambda rng, n, arm: (rng.random(n) < (q if arm and q is not None else p)) * rng.lognormal(0, 1, n)


def gamma(rng: np.random.Generator, n: int, arm: int) -> Any:
    return rng.gamma(2, 1, size=n)


def few_react(rng: np.random.Generator, n: int, arm: int) -> Any:
    return 5 + rng.normal(size=n) + 30 * arm * (rng.random(n) < 0.02)


def designs() -> list[Design]:
    """Returns the designs in the order of the page."""
    out = []
    for n in (40, 200, 1000):
        for c in (n, 9 * n):
            out.append(Design("log-normal, σ = 2", (c, n), lognormal(2), (np.exp(2),) * 2))
    out += [Design("log-normal, σ = 1", (9 * n, n), lognormal(1), (np.exp(0.5),) * 2) for n in (40, 200)]
    for p in (0.001, 0.003, 0.005, 0.01, 0.02):
        out += [Design(f"0/1, {100 * p:.1f} %", (c, 1000), binary(p), (p, p)) for c in (1000, 9000)]
    for p in (0.002, 0.005, 0.01, 0.02, 0.05):
        out += [Design(f"orders, {100 * p:.1f} %", (c, 1000), orders(p), (p * np.exp(0.5),) * 2) for c in (1000, 9000)]
    out += [Design("orders, 1.0 % and 2.0 %", (c, 1000), orders(0.01, 0.02), (0.01 * np.exp(0.5), 0.02 * np.exp(0.5)))
            for c in (1000, 9000)]  # fmt: skip
    out += [Design("one in fifty reacts", (c, 1000), few_react, (5.0, 5.6)) for c in (1000, 9000)]
    for n in (20, 50, 100):
        out += [Design("clusters of 5", (c, n), gamma, (2.0, 2.0), "clusters") for c in (n, 4 * n)]
    for form in ("CUPAC", "MLRATE", "ratio"):
        out += [Design("log-normal, σ = 2", (c, 200), lognormal(2), (np.exp(2),) * 2, form) for c in (200, 1800)]
    return out


def sample(design: Design, seed: int) -> Any:
    """Returns the rows of one draw."""
    from largesse.experiment import Sample

    rng, (c, n) = np.random.default_rng(seed), design.units
    value = np.r_[design.draw(rng, c, 0), design.draw(rng, n, 1)]
    arm, more = np.repeat([0, 1], [c, n]).astype(np.int32), {}
    if design.form == "clusters":
        code = np.repeat(np.arange(c + n), 5)
        return Sample(value=value[code] + rng.normal(size=len(code)), arm=arm[code], arms=("A", "B"), cluster=code)
    if design.form in ("CUPAC", "MLRATE"):
        more["prediction"] = np.log(value) + rng.normal(size=len(value))
    if design.form == "ratio":
        below = 1.0 + rng.poisson(2, len(value))
        value, more["denominator"] = value * below, below
    return Sample(value=value, arm=arm, arms=("A", "B"), **more)


def intervals(design: Design, seed: int) -> tuple[Any, Any] | None:
    """Returns the effect of one draw with its interval, and with that of a t-test; None where no unit has an event."""
    from largesse.errors import UndefinedMetric
    from largesse.experiment import contrast, means

    module: Any = import_module("largesse.experiment.estimators.effect")  # whose quantiles are replaced for a while

    corrected = module.ends
    out = []
    try:
        rows = sample(design, seed)
        for skewed in (1.0, 0.0):
            module.ends = lambda level, freedom, g, skewed=skewed: corrected(level, freedom, skewed * g)
            out.append(contrast(rows, 1).mlrate if design.form == "MLRATE" else means(rows, 1)[-1])
    except UndefinedMetric:
        return None
    finally:
        module.ends = corrected
    return out[0], out[1]


def cell(index: int) -> dict[str, Any]:
    """Returns coverage and misses of one design."""
    design = designs()[index]
    truth = design.means[1] - design.means[0]
    lift = truth / design.means[0]
    rows, events = [], []
    for seed in range(DRAWS):
        pair = intervals(design, seed)
        if pair is None:
            continue
        one, t_test = pair
        known = np.isfinite(one.lift)
        events.append(one.events)
        rows.append(
            (one.low <= truth <= one.high, one.low > truth, one.high < truth, t_test.low <= truth <= t_test.high,
             one.caution != "", known, known and one.lift_low <= lift <= one.lift_high)
        )  # fmt: skip
    return {"draws": len(rows), "events": float(np.median(events)), "rows": np.mean(rows, axis=0).tolist()}


def measure(given: Any) -> dict[str, Any]:
    """Returns the cells of every design."""
    out = []
    for index, design in enumerate(designs()):
        out.append(cell(index))
        print(design.name, design.units, design.form, f"{out[-1]['rows'][0]:.3f}", flush=True)
    return {"draws": DRAWS, "cells": out}


def page(kept: dict[str, Any]) -> list[str]:
    """Returns the page."""
    from largesse.experiment.estimators.shape import FEW_EVENTS_IN_AN_ARM

    draws = kept["draws"]
    error = 100 * (0.95 * 0.05 / draws) ** 0.5
    lines = [
        "# Intervals of experiments that rest on few events", "",
        "Generated by `python -m benchmarks few_events --table`; do not edit.", "",
        f"{draws:,} draws of each design; a coverage of 95 % has a Monte Carlo standard error of {error:.1f} points.",
        "Events: the median over the draws of the effective number in the arm with fewer. t: coverage of the same estimate's",
        "t-interval, without the correction. Warned: the share of the draws with fewer than "
        f"{FEW_EVENTS_IN_AN_ARM} events, where a",
        "warning stands beside the interval. Lift: coverage in the draws that have a lift, and their share.",
        "[What the estimators are](../experiment.md).", "",
        "| metric | estimator | control / arm | events | covers | misses left, right | t | warned | lift covers |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for design, got in zip(designs(), kept["cells"], strict=True):
        covers, left, right, plain, warned, known, lift = got["rows"]
        of_lift = f"{100 * lift / known:.1f} % ({100 * known:.0f} %)" if known > 0.05 else "–"
        name = "difference in means" if design.form in ("ratio", "clusters") else design.form
        metric = design.name + (", per visit" if design.form == "ratio" else "")
        lines.append(
            f"| {metric} | {name} | {design.units[0]:,} / {design.units[1]:,} | {got['events']:.3g} | {100 * covers:.1f} % | "
            f"{100 * left:.1f}, {100 * right:.1f} | {100 * plain:.1f} % | {100 * warned:.0f} % | {of_lift} |"
        )
    return lines


def main() -> None:
    single("few_events", __doc__, measure, page)


if __name__ == "__main__":
    main()
