"""The pages Live, Data and Experiment in a browser: they can be read, refresh without disturbing, and their buttons act."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.common.browsers import DRAWN, NEEDED, SETTLED, TOO_WIDE, faults, opened_browser, until
from tests.common.campaigns import table
from tests.common.challenged import DAY, START, World
from tests.common.ledgers import NAMES, Clock, ask
from tests.common.listening import Listening
from tests.common.shops import shop
from tests.common.studios import made_run

from largesse.commands.experiment import experiment  # isort: skip
from largesse.commands.promote import history  # isort: skip
from largesse.experiment import Columns, Metric, Settings  # isort: skip
from largesse.serving import Campaign, Ledger  # isort: skip

pytestmark = NEEDED

NOW = START + 14.5 * DAY


class Open:
    """A studio with a campaign in service, an experiment and units that have drifted, served on the loopback address."""

    def __init__(self, place: Path) -> None:
        from largesse.web.opened import Studio

        self.world, self.clock = World(place / "live", gift=10.0), Clock(NOW)
        with Ledger.open(self.world.store, clock=self.clock) as ledger:
            ledger.start(Campaign(name="empty", treatments=NAMES, budget=9.0, until=START + 30 * DAY, price=0.5))
        units = table(3000, 7).drop_columns(["arm", "orders", "spent", "age"])
        ages = [None if k % 3 == 0 else float(60 + k % 50) for k in range(3000)]
        pq.write_table(units.append_column("age", pa.array(ages)), place / "units.parquet")
        columns = Columns(arm="group", metrics=(Metric("spend", covariate="before"), Metric("visits")), unit="id")
        experiment(pa.table(shop(1500, arms=3, seed=2)), columns, Settings(), folder=place / "autumn")
        studio = Studio(
            [made_run(place, more="folds = 1")], users=place / "units.parquet", store=self.world.store, campaign="spring",
            experiments=(place / "autumn",), clock=self.clock,
        )  # fmt: skip
        studio.live.patience = None
        self.listening = Listening(studio)
        self.base = self.listening.base


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    place = tmp_path_factory.mktemp("studio")
    (place / "live").mkdir()
    made = Open(place)
    yield made
    made.listening.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened_browser() as opened:
        yield opened


@pytest.fixture
def page(browser: Any, studio: Open) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    shown, errors = context.new_page(), list[str]()
    shown.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    shown.on("pageerror", lambda error: errors.append(str(error)))
    shown.goto(f"{studio.base}/enter?token=t")
    yield shown
    context.close()
    assert errors == []


@pytest.mark.parametrize("path", ["/live", "/live?campaign=empty", "/data", "/experiment"])
def test_a_page_fits_and_can_be_read(page: Any, studio: Open, path: str) -> None:
    page.set_viewport_size({"width": 390, "height": 900})
    page.goto(studio.base + path)
    until(page, DRAWN)
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    for scheme, width in (("light", 390), ("dark", 390), ("light", 1440), ("dark", 1440)):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.evaluate(SETTLED)
        assert page.evaluate(TOO_WIDE) <= 0, (scheme, width)
        assert faults(page, colours=True, rest=scheme == "light") == [], (scheme, width)


def refreshed(page: Any) -> bool:
    """Reads the page anew as its clock would; returns whether anything was shown anew."""
    return bool(
        page.evaluate("""() => new Promise(done => {
      const view = document.getElementById("view");
      let swapped = false;
      document.addEventListener("htmx:afterSettle", () => { swapped = true; }, { once: true });
      document.addEventListener("htmx:afterRequest", () => setTimeout(() => done(swapped), 400), { once: true });
      setTimeout(() => done(swapped), 5000);
      htmx.ajax("GET", view.getAttribute("hx-get"), { source: view, target: view, swap: "outerHTML" });
    })""")
    )


def test_it_refreshes_without_closing_what_is_open_or_moving_the_focus(page: Any, studio: Open) -> None:
    page.goto(f"{studio.base}/live")
    until(page, DRAWN)
    first = page.locator("#fixed details summary").first
    first.click()
    first.focus()
    with Ledger.open(studio.world.store, clock=studio.clock) as ledger:
        ledger.decide([ask("fresh", campaign="spring")])
        decided = ledger.status("spring").decided
    assert refreshed(page)
    assert f"{decided:,}" in page.locator(".readings").inner_text()
    assert page.evaluate("document.querySelector('#fixed details').open")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    until(page, DRAWN)
    assert not refreshed(page)  # the same answer changes nothing


def test_it_waits_while_a_question_is_open(page: Any, studio: Open) -> None:
    page.goto(f"{studio.base}/live")
    until(page, DRAWN)
    until(page, "[...document.querySelectorAll('button')].some(b => b.textContent.startsWith('End the'))", 60)
    page.get_by_role("button", name=re.compile("^End the challenger")).click()
    page.locator("dialog[open]").wait_for()
    asked = list[str]()
    page.on("request", lambda one: asked.append(one.url))
    assert not refreshed(page)
    assert asked == []
    page.get_by_role("button", name="Cancel").click()
    assert studio.world.rows()[1] is not None


def test_the_buttons_do_what_they_say_after_a_question(page: Any, studio: Open) -> None:
    spring, summer = studio.world.versions
    page.goto(f"{studio.base}/live")
    page.get_by_role("button", name="Do what the evidence supports").click()
    assert f"{summer} should decide for all units." in page.locator("dialog").inner_text()
    with page.expect_navigation():
        page.get_by_role("button", name="Yes, do it").click()
    assert f"{summer} decides since" in page.locator(".headline").inner_text()
    assert studio.world.rows()[0].version == summer
    page.get_by_role("button", name=f"Back to the run before: {spring}").click()
    with page.expect_navigation():
        page.get_by_role("button", name="Yes, do it").click()
    assert f"{spring} decides since" in page.locator(".headline").inner_text()
    assert studio.world.rows()[0].version == spring
    assert [one.after["by"] for one in history(studio.world.store, "spring")[-3:]] == ["studio"] * 3


def test_another_feature_is_shown_by_a_choice(page: Any, studio: Open) -> None:
    page.goto(f"{studio.base}/data")
    until(page, DRAWN)
    page.get_by_role("combobox", name="Feature in the chart").select_option("city")
    until(page, "location.search.includes('column=city')")
    until(page, DRAWN)
    assert "city: shares" in page.locator("#moving").inner_text()
