"""Pages in a browser: nothing is cut off, overlaps or fails, a screen reader can read them, and the slider follows at once."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from largesse import frames
from largesse.cli.app import app
from largesse.commands.experiment import experiment
from largesse.commands.fit import fit
from largesse.config import load
from largesse.experiment import Columns, Metric, Settings
from tests.common.browsers import DRAWN, NEEDED, OVERLAPS, SETTLED, TOO_WIDE, faults, opened_browser
from tests.common.campaigns import DATA, table
from tests.common.shops import shop

pytestmark = NEEDED

PAGES = ("fit", "evaluate", "compare", "experiment", "plan", "tune", "replay")
WIDTHS = (390, 800, 1440)
MOST = 1.5e6  # bytes of a page
RULES = """treatments = ["0", "5"]
value = "value_{}"
cost = "cost_{}"
spend = [{at_most = 150.0}]
count = [{treatment = "5", at_most = 60}]
"""
TEXT = DATA + '[outcome]\nvalue_per_unit = 12.0\n[model]\ncandidates = ["lightgbm-rct"]\n[run]\ndraws = 40\n'
MOVE = """() => {
  const input = document.getElementById("pay-slider"), output = document.querySelector(".slider output");
  const move = k => {
    const before = output.textContent, began = performance.now();
    input.value = k;
    input.dispatchEvent(new Event("input", { bubbles: true }));
    output.getBoundingClientRect();  // with the layout
    return [performance.now() - began, output.textContent !== before];
  };
  const last = Number(input.max), took = Array(last + 1).fill(Infinity);
  let changes = 0;
  for (let pass = 0; pass < 3; pass++) {  // the fastest of three: other processes share the machine
    for (let k = 0; k <= last; k++) {
      const [time, changed] = move(k);
      took[k] = Math.min(took[k], time);
      changes += changed;
    }
  }
  return [Math.max(...took), changes, last];
}"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    frames.write(table(1500, 1), folder / "trial.parquet")
    (folder / "campaign.toml").write_text(TEXT.format(more="folds = 2"))
    fit(load(folder / "campaign.toml"), folder=folder / "fit")
    frames.write(pa.table(shop(1500, arms=3, seed=2)), folder / "ab.parquet")
    columns = Columns(arm="group", metrics=(Metric("spend", covariate="before"), Metric("visits")), unit="id")
    experiment(folder / "ab.parquet", columns, Settings(), folder=folder / "experiment")
    frames.write(table(900, 3).set_column(9, "user", pa.array(range(5000, 5900))), folder / "later.parquet")
    for words in (["evaluate", "fit"], ["compare", "fit", "fit_again"]):
        shutil.copytree(folder / "fit", folder / "fit_again", dirs_exist_ok=True)
        places = [str(folder / name) for name in (*words[1:], "later.parquet")]
        done = CliRunner().invoke(app, [words[0], *places, "-o", str(folder / words[0])])
        assert done.exit_code == 0, done.output
    rng = np.random.default_rng(4)
    menu = {f"{part}_{arm}": rng.random(300) * arm for part in ("value", "cost") for arm in (0, 5)}
    frames.write(pa.table(menu), folder / "menu.parquet")
    (folder / "rules.toml").write_text(RULES)
    report = folder / "plan" / "report.html"
    report.parent.mkdir()
    names = [str(folder / name) for name in ("menu.parquet", "rules.toml", "given.parquet")]
    done = CliRunner().invoke(app, ["plan", names[0], "-r", names[1], "-o", names[2], "--report", str(report)])
    assert done.exit_code == 0, done.output
    history, tuned = str(folder / "ab.parquet"), str(folder / "campaign.toml")
    for words in (
        [
            "replay",
            history,
            "--metric",
            "spend~before",
            "--draws",
            "60",
            "--effect",
            "0.5",
            "-o",
            str(folder / "replay"),
        ],
        ["tune", tuned, "--trials", "2", "-o", str(folder / "tune")],
    ):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
    return {name: folder / name / "report.html" for name in PAGES}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened_browser() as opened:
        yield opened


@pytest.fixture
def show(browser: Any, pages: dict[str, Path]) -> Iterator[Any]:
    contexts = []

    def load_page(name: str, width: int = 1440) -> tuple[Any, list[str]]:
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}))
        shown, errors = contexts[-1].new_page(), []
        shown.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        shown.on("pageerror", lambda error: errors.append(str(error)))
        shown.goto(pages[name].as_uri())
        shown.wait_for_function(DRAWN)
        return shown, errors

    yield load_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_and_can_be_read(show: Any, pages: dict[str, Path], name: str):
    """At each width; the colours, which do not depend on it, in both schemes on the narrow page."""
    assert pages[name].stat().st_size <= MOST
    shown, errors = show(name, WIDTHS[0])
    for width in WIDTHS:
        if width != WIDTHS[0]:
            shown.set_viewport_size({"width": width, "height": 900})
            shown.reload()
            shown.wait_for_function(DRAWN)
        shown.evaluate(SETTLED)
        assert shown.evaluate(TOO_WIDE) <= 0, width
        assert shown.evaluate(OVERLAPS) == [], width
        assert faults(shown, colours=width == WIDTHS[0]) == [], width
        if width == WIDTHS[0]:
            shown.emulate_media(color_scheme="dark")
            assert faults(shown, rest=False) == []
        assert errors == [], width


def test_what_is_wrong_is_noticed(show: Any):
    shown, errors = show("fit", 390)
    shown.evaluate("""() => {
      document.querySelector(".slider label").remove();
      document.querySelector("thead th").textContent = "";
      document.querySelector(".note").style.color = "var(--rule)";
      const text = document.querySelector("[data-figure] svg text"), twin = text.cloneNode(true);
      text.after(twin);
      document.querySelector("h1").style.width = "2000px";
      console.error("wrong");
    }""")
    assert {"label", "empty-table-header", "color-contrast"} <= {rule for rule, _ in faults(shown)}
    assert shown.evaluate(OVERLAPS) != []
    assert shown.evaluate(TOO_WIDE) > 0
    assert errors == ["wrong"]


def test_the_slider_follows_at_once(show: Any):
    shown, errors = show("fit")
    slowest, changes, most = shown.evaluate(MOVE)
    assert slowest < 50
    assert most >= 60
    assert changes >= 3 * most  # every position says something else
    assert errors == []


def test_the_slider_is_moved_by_the_arrow_keys(show: Any):
    shown, _ = show("fit", 390)
    slider = shown.get_by_role("slider", name=re.compile("Budget"))
    slider.focus()
    texts, spoken = [], []
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowLeft"):
        slider.press(key)
        texts.append(shown.locator(".slider output").inner_text())
        spoken.append(slider.get_attribute("aria-valuetext"))
    assert len(set(texts)) == 3
    assert texts[1] == texts[3]
    assert spoken[1] == spoken[3] != spoken[2]
    assert spoken[0] is not None
    assert spoken[0].startswith("0 ")
    widths = shown.evaluate("[...document.querySelectorAll('.bar span')].map(part => parseFloat(part.style.width))")
    assert sum(widths) == pytest.approx(100, abs=0.2)
