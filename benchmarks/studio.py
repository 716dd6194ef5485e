"""How fast the studio is with a million units and eight treatments, in a real browser; writes docs/benchmarks/studio.md.

    python -m benchmarks studio
    python -m benchmarks studio --units 100000
    python -m benchmarks studio --table      # the page of what was measured

Needs Chromium and the packages of the extra dev. A run is fitted on a simulated trial, a server process is started twice (the
first scores the units, the second takes what was kept), and pages are opened and moved by keys in Chromium. Times end when the
new number is in the page.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.cells import single

UNITS, ROWS, FEATURES, MOVES = 1_000_000, 30_000, 40, 30
CITIES = ("Lille", "Lyon", "Nantes", "Nice", "Paris")
CONFIG = """
[data]
rct = "trial.parquet"
folds = 1
[columns]
treatment = "off"
value = "orders"
cost = "paid"
unit = "user"
[outcome]
value_per_unit = 8.0
[report]
value_unit = "orders"
money_unit = "EUR"
head = "user"
"""


def made(folder: Path, units: int) -> None:
    """Writes a run and its units into a folder."""
    from largesse import frames, simulate
    from largesse.commands.fit import fit
    from largesse.config import parse

    world = simulate.money_off(seed=3, n_features=FEATURES, rate=0.3)
    rows = world.rct(ROWS, seed=1)
    names = np.array(rows.treatments)
    columns: dict[str, Any] = {"user": [f"u{i}" for i in range(rows.n)]}
    columns |= {f"x{k}": rows.x[:, k] for k in range(FEATURES)}
    columns |= {"off": names[rows.treatment], "orders": rows.value, "paid": rows.cost}
    frames.write(pa.table(columns), folder / "trial.parquet")
    fit(parse(CONFIG, folder=folder), folder=folder / "run")
    x, rng = world.rct(units, seed=5).x, np.random.default_rng(0)
    city = np.array(CITIES)[rng.integers(0, len(CITIES), units)]
    own: dict[str, Any] = {"user": [f"n{i}" for i in range(units)], "city": city}
    frames.write(pa.table(own | {f"x{k}": x[:, k] for k in range(FEATURES)}), folder / "units.parquet")


class Server:
    """A studio in a process of its own.

    Args:
        folder: The folder with the run and the units.

    Attributes:
        started: Seconds until it answered.
        link: Its link.
    """

    def __init__(self, folder: Path) -> None:
        begun = time.perf_counter()
        words = ["studio", str(folder / "run"), "--units", str(folder / "units.parquet"), "--port", "0"]
        words += ["--no-open", "--reusable-link"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "largesse", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        self.link = ""
        for line in self.process.stdout:
            if match := re.search(r"http://\S+", line):
                self.link = match[0]
            if "Ctrl" in line:
                break
        self.started = time.perf_counter() - begun
        self.base = self.link.partition("/enter")[0]

    def megabytes(self) -> dict[str, float]:
        """Returns memory of the process: the most that it had, and now without pages that are only mapped from files."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        most, mapped, own = (int(re.search(rf"{name}:\s+(\d+)", text)[1]) for name in ("VmHWM", "RssFile", "RssAnon"))  # type: ignore[index]
        return {"most": most / 1024, "own now": own / 1024, "mapped from files now": mapped / 1024}

    def stop(self) -> None:
        """Stops it."""
        self.process.terminate()
        self.process.wait(20)


def timed(shown: Any, act: Any, changed: str) -> float:
    """Returns the milliseconds from an act until an expression in the page is true."""
    begun = time.perf_counter()
    act()
    while not shown.evaluate(changed):
        pass
    return 1000 * (time.perf_counter() - begun)


def in_browser(server: Server) -> dict[str, Any]:
    """Returns what a person waits for."""
    from playwright.sync_api import sync_playwright

    out: dict[str, Any] = {}
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        out["browser"] = browser.version
        shown = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        shown.goto(server.link)
        shown.wait_for_load_state()
        out["first paint, ms"] = shown.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        out["moves of the slider, ms"] = [move(shown) for _ in range(MOVES)]
        for name, path in pages().items():
            if "one unit" in name:
                out["memory, MB"] = server.megabytes()
            times = []
            for k in range(5):
                begun = time.perf_counter()
                shown.goto(f"{server.base}{path.replace('{k}', str(k))}")
                times.append(1000 * (time.perf_counter() - begun))
                assert shown.locator(".lead").count() == 1, path
                assert shown.locator(".problem").count() == 0, shown.locator(".problem").inner_text()
            out[name] = times
        browser.close()
    return out


def move(shown: Any) -> float:
    """Returns the milliseconds from a press of an arrow key on the slider until the answer says the new budget."""
    slider = shown.get_by_role("slider")
    slider.focus()
    before = shown.evaluate("document.querySelector('.lead').textContent")
    return timed(
        shown, lambda: slider.press("ArrowRight"), f"document.querySelector('.lead').textContent !== {before!r}"
    )


def pages() -> dict[str, str]:
    """Returns the pages that are timed: the first of five has another budget each time."""
    from urllib.parse import quote

    from largesse.web.contents import PAGES

    there = {page.name for page in PAGES}
    out = {
        "segments (another column each time), ms": "/who?column=x{k}",
        "segments with less budget, ms": "/who?column=x{k}&less=10",
    }
    if "unit" in there:
        out["one unit, ms"] = "/unit?unit=n{k}00"
    if "rules" in there:
        cities = ", ".join(f'"{name}" = 60000' for name in CITIES)
        caps = f'count = [{{treatment = "3", at_most = 5@00}}]\nspend = [{{by = "city", at_most = {{{cities}}}}}]\n'
        out["plan under rules (a cap, and a budget for each of five cities), ms"] = (
            f"/rules?budget=300000&rules={quote(caps).replace('%40', '{k}')}"
        )
    return out


def measure(said: Namespace) -> dict[str, Any]:
    """Returns all times."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        made(folder, said.units)
        first = Server(folder)
        out: dict[str, Any] = {"units": said.units, "treatments": 8, "features": FEATURES}
        out["start, units scored, s"], out["memory while they are scored, MB"] = first.started, first.megabytes()
        first.stop()
        second = Server(folder)
        out["start, s"] = second.started
        out |= in_browser(second)
        out["memory after all pages, MB"] = second.megabytes()
        second.stop()
        return out


def page(cell: dict[str, Any]) -> list[str]:
    """Returns the page."""
    moves = cell["moves of the slider, ms"]
    others = [name for name in cell if name.endswith(", ms") and isinstance(cell[name], list) and "slider" not in name]
    rows = [
        ("first paint after start-up, ms", 1000, [cell["first paint, ms"]]), ("a move of the slider, end to end, ms", 100, moves),
        *((name, 2000 if "rules" in name else 500, cell[name]) for name in others),
    ]  # fmt: skip
    lines = [
        "# The studio", "", "Generated by `python -m benchmarks studio`; do not edit.", "",
        f"{cell['units']:,} units, {cell['treatments']} treatments, {cell['features']} features; a server process and Chromium "
        f"{cell['browser']} on the same", f"{cell['cores']} cores. Times end when the new numbers are in the page.", "",
        "| what a person waits for | median | longest | aimed at, at most |", "|---|---|---|---|",
    ]  # fmt: skip
    lines += [f"| {name} | {statistics.median(some):,.0f} | {max(some):,.0f} | {most:,} |" for name, most, some in rows]
    scoring, now, all_ = (cell[f"memory{part}, MB"] for part in (" while they are scored", "", " after all pages"))
    return [
        *lines, "",
        f"Start-up takes {cell['start, units scored, s']:.0f} s where the units are scored, and {cell['start, s']:.1f} s",
        f"when they were scored before. The process has at most {scoring['most']:,.0f} MB while they are scored,",
        f"{now['most']:,.0f} MB after the pages Budget and Who, and {all_['most']:,.0f} MB after the pages Unit, which loads the",
        f"model, and Rules; of these {all_['mapped from files now']:,.0f} MB are mapped from files, which the system may take",
        "back.", "",
    ]  # fmt: skip


def main() -> None:
    single("studio", __doc__, measure, page, ("--units", {"type": int, "default": UNITS}))


if __name__ == "__main__":
    main()
