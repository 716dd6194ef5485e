"""`python -m benchmarks STUDY` for the studies that compare methods on the same cells: its options."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.cells import PAGES
from benchmarks.suite.problems import SCALES, WORLDS
from benchmarks.suite.run import benchmark
from benchmarks.suite.studies import STUDIES
from largesse.errors import LargesseError

__all__ = ["main"]


def main(study: str, options: Sequence[str]) -> None:
    """Fits what a study lacks and writes its page."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {study}",
        description=f"{STUDIES[study].title}. Methods against each other on worlds whose truth is known and on real trials; "
        "a killed run goes on, a table grows over runs.",
    )
    parser.add_argument("--folder", "-o", default=str(PAGES), help="where cells and pages are kept")
    parser.add_argument("--scale", choices=tuple(SCALES), default="small", help="rows to learn from")
    parser.add_argument(
        "--world", action="append", choices=WORLDS, help="repeat for several; discount and money_off if left out"
    )
    parser.add_argument("--method", action="append", help="only this method of the study; repeat for several")
    parser.add_argument("--seeds", type=int, default=3, help="worlds to learn on; 0 only writes the page")
    parser.add_argument("--processes", type=int, default=1, help="how many at once, each with one thread")
    given = parser.parse_args(options)
    try:
        page = benchmark(
            study, folder=given.folder, scale=given.scale, worlds=tuple(given.world or ("discount", "money_off")),
            methods=tuple(given.method or ()), seeds=given.seeds, processes=given.processes,
            say=lambda stage, done: print(f"{done:4.0%} {stage}", file=sys.stderr, flush=True),
        )  # fmt: skip
    except LargesseError as error:
        parser.exit(2, f"error: {error}\n")
    print(page)
