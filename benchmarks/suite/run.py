"""`benchmark`: fits what is missing, in parallel processes, and writes the tables of what is there.

One JSON file per (scale, world, seed), written after every method and shared by all studies: a killed run goes on where it
stopped, and a table grows over runs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.suite import pages
from benchmarks.suite.problems import REAL, SCALES, SHARES, WORLDS, problem
from benchmarks.suite.studies import METHODS, STUDIES, Bench, Study, needed
from benchmarks.suite.tables import write_whole
from largesse import _check
from largesse._files import may_write
from largesse.errors import DataError, LargesseError, StoreError
from largesse.models.base import Model
from largesse.models.outcome import Outcome
from largesse.progress import Say

__all__ = ["Cell", "benchmark", "fill"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One problem, and where its results are kept."""

    folder: Path
    scale: str
    world: str
    seed: int

    @property
    def place(self) -> Path:
        """The JSON file."""
        return self.folder / "cells" / f"{self.scale}-{self.world}-{self.seed}.json"

    def load(self) -> dict[str, Any]:
        """Returns what is kept, or an empty cell.

        Raises:
            StoreError: The file is no cell.
        """
        empty = {"scale": self.scale, "world": self.world, "seed": self.seed, "shares": list(SHARES), "methods": {}}
        if not self.place.exists():
            return empty
        try:
            found = json.loads(self.place.read_text(encoding="utf-8"))
            fits = {k: found[k] for k in ("scale", "world", "seed", "shares")} == {
                k: empty[k] for k in empty if k != "methods"
            }
        except (ValueError, KeyError, TypeError):
            fits = False
        if not fits:
            raise StoreError(f"{self.place}: is no cell of this benchmark. Move it away, or choose another folder.")
        return dict(found)

    def store(self, found: dict[str, Any]) -> None:
        """Writes the cell, whole or not at all."""
        write_whole(self.place, json.dumps(found, indent=1))


def benchmark(
    study: str,
    *,
    folder: str | Path = "benchmarks",
    scale: str = "small",
    worlds: Sequence[str] = ("discount", "money_off"),
    methods: Sequence[str] = (),
    seeds: int = 3,
    processes: int = 1,
    say: Say = lambda stage, done: None,
) -> Path:
    """Fits what a study lacks and writes its page; returns the page.

    Args:
        study: One of `STUDIES`.
        folder: Where cells and pages are kept.
        scale: How many rows, one of `SCALES`; real trials have one of their own.
        worlds: Among `WORLDS`.
        methods: Labels to fit; () for all of the study.
        seeds: Worlds (or cuts of a real trial) 0 to seeds - 1; 0 only writes the page.
        processes: How many at once, each with one thread.
        say: Told each cell that is done.

    Raises:
        DataError: There is no such study, scale, world or method.
        StoreError: The folder cannot be written, or holds something else.
        LargesseError: What a cell met; all else is finished and kept, and the page written, first.
    """
    _check.choice("study", study, tuple(STUDIES))
    _check.choice("scale", scale, tuple(SCALES))
    for world in worlds:
        _check.choice("worlds", world, WORLDS)
    for label in methods:
        _check.choice("methods", label, STUDIES[study].methods)
    _check.integers("seeds", [seeds], low=0, high=10**6, rule="must be >= 0", remedy="0 only writes the page.")
    _check.integers("processes", [processes], low=1, high=1024, rule="must be >= 1", remedy="One per core at most.")
    place = Path(folder)
    _held(place)
    may_write(place / "cells" / "new", replace=True)
    wanted = tuple(methods) or STUDIES[study].methods
    cells = [Cell(place, _scale(world, scale), world, seed) for seed in range(seeds) for world in worlds]
    failed = _fill_all([cell for cell in cells if set(wanted) - set(cell.load()["methods"])], wanted, processes, say)
    page = _write(study, place)
    if failed is not None:
        raise failed
    return page


def _scale(world: str, scale: str) -> str:
    return "log" if world in REAL else scale


def _fill_all(cells: list[Cell], labels: tuple[str, ...], processes: int, say: Say) -> LargesseError | None:
    """Fills the cells; returns what the first that failed met."""
    failed: LargesseError | None = None
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        jobs = {pool.submit(fill, cell, labels): cell for cell in cells}
        for k, job in enumerate(as_completed(jobs)):
            cell = jobs[job]
            try:
                job.result()
            except LargesseError as error:
                failed = failed or error
            say(f"{cell.scale} {cell.world} {cell.seed}", (k + 1) / len(jobs))
    return failed


def fill(cell: Cell, labels: Sequence[str]) -> None:
    """Fits the methods that a cell lacks, and writes it after each.

    Raises:
        DataError: What the first method said that refused these rows; the others are finished and kept first.
    """
    found = cell.load()
    given = problem(cell.world, cell.scale, cell.seed)
    found |= {"rct": given.rct.n, "obs": given.obs.n}
    bench = Bench(cell.seed, Outcome.infer(given.rct | given.obs), given.rct, given.obs)
    models: dict[str, Model] = {}
    own: dict[str, float] = {}  # seconds that a method takes where its parts are there

    def fitted(label: str) -> Model:
        if label not in models:
            parts = [fitted(part) for part in METHODS[label].of]
            start = time.perf_counter()
            made = METHODS[label].make(bench, *parts)
            models[label] = made if hasattr(made, "treatments_") else made.fit(given.rct, given.obs)
            own[label] = time.perf_counter() - start
        return models[label]

    refused: DataError | None = None
    for label in (label for label in labels if label not in found["methods"]):
        try:
            model = fitted(label)
        except DataError as refusal:  # one method's rule is no reason to stop the others
            told = DataError(f"{cell.world} {cell.seed}, {label!r}: {refusal}", field=refusal.field)
            told.__cause__ = refusal
            refused = refused or told
            continue
        score = given.judge(model.predict(given.x))
        seconds = sum(own[part] for part in needed(label))
        kept = {"gain": score.gain.tolist(), "thinned": score.thinned, "seconds": round(seconds, 2)}
        found["methods"][label] = kept if score.aucc is None else {**kept, "aucc": score.aucc}
        cell.store(found)
    if refused is not None:
        raise refused


def _write(study: str, folder: Path) -> Path:
    """Writes the page of a study from the cells that are there, and its picture."""
    held, told, page = _held(folder), STUDIES[study], folder / f"{study}.md"
    picture = _drawn(told, held, folder / f"{study}.png")
    write_whole(page, pages.text(study, told, held, picture))
    return page


def _held(folder: Path) -> list[dict[str, Any]]:
    """Returns the cells of a folder."""
    found = []
    for place in sorted((folder / "cells").glob("*.json")):
        scale, _, rest = place.stem.partition("-")
        world, _, seed = rest.partition("-")
        if scale not in SCALES or world not in WORLDS or not seed.isdecimal():
            raise StoreError(f"{place}: is no cell of this benchmark. Move it away, or choose another folder.")
        found.append(Cell(folder, scale, world, int(seed)).load())
    return found


def _drawn(study: Study, held: list[dict[str, Any]], place: Path) -> str | None:
    if study.by_budget or study.timed or not pages.drawable(study, held):
        return None
    temporary = place.with_suffix(".tmp.png")
    pages.picture(study, held, temporary)
    temporary.replace(place)
    return place.name
