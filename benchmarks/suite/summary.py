"""Summaries of the suite's cells: a method less another one, in every problem that has both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

import numpy as np

from benchmarks.cells import PAGES, load
from benchmarks.suite.problems import MAIN, REAL
from benchmarks.suite.tables import Paired, paired

__all__ = ["Columns", "compared", "gains", "less", "problems", "runs", "seconds", "table"]
Columns = Sequence[tuple[str, str, str]]
WORLDS = ("discount", "money_off", "criteo_twin")


def with_ends(found: Paired, spec: str = "+.1f") -> str:
    """Returns a mean of paired differences with its interval, or a dash where there is none."""
    if np.isnan(found.mean):
        return ""
    return f"{found:{spec}}".replace(" out of reach)", " not known)")


def runs(scale: str, world: str, *labels: str) -> list[dict[str, Any]]:
    """Returns what the cells hold that have all these methods."""
    places = sorted((PAGES / "cells").glob(f"{scale}-{world}-*.json"))
    held = [load(place) for place in places if place.stem.removeprefix(f"{scale}-{world}-").isdecimal()]
    return [cell for cell in held if set(labels) <= set(cell["methods"])]


def gains(scale: str, world: str, label: str, *beside: str) -> np.ndarray:
    """Returns a method's mean over the main budgets, by seed: percent of the attainable gain; on real trials value per head."""
    unit = 1 if world in REAL else 100
    found = [run["methods"][label]["gain"] for run in runs(scale, world, label, *beside)]
    return np.array([unit * np.mean(np.array(gain, float)[list(MAIN)]) for gain in found])


def less(scale: str, world: str, label: str, base: str) -> Paired:
    """Returns a method less another one, paired by seed; on real trials in percent of the other's mean."""
    mine, other = gains(scale, world, label, base), gains(scale, world, base, label)
    return paired((mine - other) * (100 / np.nanmean(other) if world in REAL and len(other) else 1))


def problems(
    *labels: str, scales: Sequence[str] = ("small", "more_rct", "main", "published", "log")
) -> list[tuple[str, str]]:
    """Returns (scale, world) where all these methods stand in the same cells."""
    every = (*WORLDS, "discount_confounded", *REAL)
    return [(scale, world) for scale in scales for world in every if runs(scale, world, *labels)]


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Returns a table in Markdown."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def named(scale: str, world: str, *labels: str) -> list[str]:
    """Returns the first cells of a line: the world, its rows, and how many seeds have these methods."""
    held = runs(scale, world, *labels)
    return [world.replace("_", "-"), f"{held[0]['rct']:,}", f"{held[0]['obs']:,}", f"{len(held)}"]


def seconds(scale: str, world: str, label: str, base: str) -> float:
    """Returns the median over seeds of the time of a method over another's."""
    held = [run["methods"] for run in runs(scale, world, label, base)]
    return median(m[label]["seconds"] / m[base]["seconds"] for m in held)


def compared(columns: Columns, *needed: str, spec: str = "+.1f", time: tuple[str, str] | None = None) -> str:
    """Returns a table of all problems that have the needed methods: each column is (head, method, base)."""
    lines = []
    for scale, world in problems(*needed):
        cells_ = [with_ends(less(scale, world, label, base), spec) for _, label, base in columns]
        if time:
            cells_.append(f"{seconds(scale, world, *time):.2f}×")
        lines.append([*named(scale, world, *needed), *cells_])
    heads = [head for head, _, _ in columns] + ["its time"] * bool(time)
    return table(["world", "trial", "log", "worlds", *heads], lines)
