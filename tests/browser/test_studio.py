"""The studio in a browser: the tasks of a campaign owner in words, and pages that everybody can read.

LARGESSE_SCREENSHOTS names a folder for pictures of every page.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from largesse import frames
from largesse.commands.allocate import allocate_run
from largesse.commands.experiment import experiment
from largesse.experiment import Columns, Metric, Settings
from largesse.report.numbers import number
from tests.common.browsers import DRAWN, NEEDED, SETTLED, TOO_WIDE, faults, opened_browser, until
from tests.common.challenged import DAY, START, World
from tests.common.ledgers import Clock
from tests.common.listening import Listening
from tests.common.shops import shop
from tests.common.studios import TEXT, made_run, made_units

pytestmark = NEEDED

LOOKS = [("light", 1440), ("dark", 390)]
HERE = pytest.mark.parametrize("look", LOOKS, ids=["light, wide", "dark, phone"])
READY = "!document.querySelector('.htmx-request')"


class Served:
    """A studio that is served on the loopback address.

    Attributes:
        place: The folder of its files.
        world: A campaign in service.
        link: Its link.
    """

    def __init__(self, place: Path) -> None:
        from largesse.web.opened import Studio

        self.place = place
        runs = [
            made_run(place),
            made_run(place, name="autumn", text=TEXT.replace("Spring", "Autumn"), more="folds = 2"),
        ]
        (place / "served").mkdir()
        self.world = World(place / "served", gift=10.0)
        frames.write(pa.table(shop(1500, arms=3, seed=2)), place / "ab.parquet")
        columns = Columns(arm="group", metrics=(Metric("spend", covariate="before"), Metric("visits")), unit="id")
        experiment(place / "ab.parquet", columns, Settings(), folder=place / "ab")
        clock = Clock(START + 14.5 * DAY)
        studio = Studio(runs, users=made_units(place), store=self.world.store, experiments=[place / "ab"], clock=clock)
        studio.prepare()
        self.listening = Listening(studio)
        self.base, self.link, self.stop = self.listening.base, self.listening.link, self.listening.stop


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("studio"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened_browser() as opened:
        yield opened


Opens = Callable[..., Any]


@pytest.fixture
def opens(browser: Any, served: Served) -> Iterator[Opens]:
    """Opens a page as an owner who has the link; at the end, nothing may have gone wrong in its console."""
    contexts: list[Any] = []
    errors: list[str] = []
    away: list[str] = []

    def open_page(path: str, look: tuple[str, int] = LOOKS[0], *, fails: bool = False) -> Any:
        scheme, width = look
        context = browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": 900}, accept_downloads=True,
            permissions=["clipboard-read", "clipboard-write"],
        )  # fmt: skip
        contexts.append(context)
        shown = context.new_page()
        if not fails:  # the browser itself notes an answer that is an error
            shown.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        shown.on("pageerror", lambda error: errors.append(str(error)))
        shown.on(
            "request", lambda ask: None if ask.url.startswith((served.base, "data:", "blob:")) else away.append(ask.url)
        )
        shown.goto(served.link)
        shown.goto(served.base + path)
        until(shown, DRAWN)
        return shown

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []
    assert away == []


def settled(shown: Any) -> None:
    until(shown, READY)
    until(shown, DRAWN)
    shown.evaluate(SETTLED)


def reading(shown: Any, name: str) -> str:
    """Returns the number under a name that begins so."""
    box = shown.locator(".readings div").filter(has=shown.locator("dt", has_text=re.compile(f"^{name}")))
    return str(box.locator("b").inner_text())


def amount(text: str) -> float:
    return float(text.replace(",", "").replace("−", "-").replace("+", ""))


def set_field(shown: Any, label: str, value: str) -> None:
    field = shown.get_by_role("textbox", name=re.compile(f"^{label}"))
    before = shown.url
    field.fill(value)
    field.press("Enter")
    until(shown, f"location.href !== {before!r}")
    settled(shown)


# ---- tasks


@HERE
def test_does_this_budget_pay_and_is_that_shown(
    opens: Opens, served: Served, look: tuple[str, int], tmp_path: Path
) -> None:
    shown = opens("/budget", look)
    set_field(shown, "Budget", "700")
    expected = allocate_run(served.place / "spring", served.place / "units.parquet", 700.0, tmp_path / "plan.parquet")
    assert expected.brought is not None
    assert expected.brought.net is not None
    assert reading(shown, "Expected spend") == number(expected.spend.mean)
    assert reading(shown, "Net EUR") == number(expected.brought.net, sign=True)
    assert shown.locator(".headline .badge").inner_text() in (
        "spend this, targeted", "spend this, untargeted", "not shown to pay", "shown not to pay",
    )  # fmt: skip
    assert "What to do" in shown.locator(".headline").inner_text()
    table = shown.locator("#moving table").first.inner_text()
    for name, n in expected.plan.mix.items():
        assert re.search(rf"^{name}\s+{n:,}\s", table, re.M)


@HERE
def test_find_the_budget_at_which_the_next_euro_brings_less_than_one(opens: Opens, look: tuple[str, int]) -> None:
    shown = opens("/budget", look)
    shown.get_by_role("link", name=re.compile("brings back one at")).click()
    settled(shown)
    at = float(shown.get_by_role("textbox", name=re.compile("^Budget")).input_value())
    assert amount(reading(shown, "The next EUR brings back")) == pytest.approx(1.0, abs=0.02)
    set_field(shown, "Budget", f"{at * 1.3:.0f}")
    assert amount(reading(shown, "The next EUR brings back")) < 1
    set_field(shown, "Budget", f"{at * 0.7:.0f}")
    assert amount(reading(shown, "The next EUR brings back")) > 1


@HERE
def test_what_would_a_tenth_less_budget_lose_and_who_loses_it(opens: Opens, look: tuple[str, int]) -> None:
    shown = opens("/who?column=city", look)
    shown.get_by_role("link", name="What would 10 % less budget lose?").click()
    settled(shown)
    answer = shown.locator(".headline .lead").inner_text()
    assert re.search(
        r"With 10 % less budget, [\d,]+ of 3,000 users would get another treatment, and [\d.,]+ orders", answer
    )
    assert re.search(r"lost by city '(north|south|east)'", answer)
    lost = shown.locator("#moving table").nth(1).inner_text()
    assert "Orders lost" in lost.replace("\n", " ")


@HERE
def test_only_one_group_of_the_units(opens: Opens, look: tuple[str, int]) -> None:
    shown = opens("/who?column=city", look)
    shown.get_by_role("link", name="Only city: north").click()
    settled(shown)
    assert "with city 'north'" in shown.locator(".headline .lead").inner_text()
    shown.get_by_role("combobox", name="By column").select_option("age")
    settled(shown)
    assert "with city 'north'" in shown.locator(".headline .lead").inner_text()
    shown.get_by_role("link", name="All units again").click()
    settled(shown)
    assert "3,000" in shown.locator(".headline .lead").inner_text()


@HERE
def test_two_budgets_side_by_side(opens: Opens, look: tuple[str, int]) -> None:
    shown = opens("/budget?budget=600", look)
    shown.get_by_role("link", name="Keep for comparison").click()
    settled(shown)
    set_field(shown, "Budget", "1200")
    shown.get_by_role("link", name="Keep for comparison").click()
    settled(shown)
    rows = shown.locator("table").filter(has_text="Held-out rows").locator("tbody tr")
    assert rows.count() == 2
    assert "600" in rows.nth(0).inner_text()
    assert "1,200" in rows.nth(1).inner_text()
    shown.get_by_role("link", name="Forget those that are kept").click()
    settled(shown)
    assert shown.locator("table").filter(has_text="Held-out rows").count() == 0


@HERE
def test_what_if_orders_bring_less_and_everything_costs_more(opens: Opens, look: tuple[str, int]) -> None:
    shown = opens("/budget?budget=700", look)
    before = amount(reading(shown, "Net EUR"))
    set_field(shown, "One unit of value brings", "9.6")
    less = amount(reading(shown, "Net EUR"))
    set_field(shown, "Costs against those of the trial", "110")
    assert amount(reading(shown, "Net EUR")) < less < before


@HERE
def test_which_of_two_runs_is_better(opens: Opens, look: tuple[str, int]) -> None:
    shown = opens("/compare", look)
    assert "'autumn' brings" in shown.locator(".headline .lead").inner_text()
    assert shown.locator(".headline .badge").inner_text() == "no clear difference"
    assert "0 of 3,000 users (0 %) would get another treatment." in shown.locator("#moving").inner_text()


@HERE
def test_can_i_believe_it(opens: Opens, look: tuple[str, int]) -> None:
    shown = opens("/proof", look)
    text = shown.locator("main").inner_text()
    for part in (
        "Does it pay?",
        "Is the data sound?",
        "Which model, and why",
        "Planned and realised spend",
        "Limitations",
    ):
        assert part in text
    shown.get_by_role("link", name="Is the data sound?").click()
    assert shown.evaluate("location.hash") == "#data"


@HERE
def test_the_decision_goes_on_a_slide_and_the_link_to_a_colleague(opens: Opens, look: tuple[str, int]) -> None:
    shown = opens("/budget", look)
    set_field(shown, "Budget", "777")
    with shown.expect_download() as got:
        shown.get_by_role("link", name="Slide (PDF)").click()
    assert Path(got.value.path()).read_bytes().startswith(b"%PDF")
    with shown.expect_download() as got:
        shown.get_by_role("link", name="Markdown").click()
    assert "777 EUR for 3,000 users" in Path(got.value.path()).read_text()
    with shown.expect_download() as got:
        shown.get_by_role("link", name="Download this table as CSV").first.click()
    assert Path(got.value.path()).read_text().startswith("Treatment,Users,Share")
    with shown.expect_download() as got:
        shown.get_by_role("button", name=re.compile("Download this chart as PNG")).first.click()
    assert Path(got.value.path()).read_bytes().startswith(b"\x89PNG")
    shown.get_by_role("button", name="Copy the link").click()
    address = shown.evaluate("navigator.clipboard.readText()")
    other = opens(address.partition("//")[2].partition("/")[2].join(["/", ""]), look)
    assert other.locator("main").inner_text() == shown.locator("main").inner_text()


@HERE
def test_the_slider_follows_the_arrow_keys_and_the_chart_its_budget(opens: Opens, look: tuple[str, int]) -> None:
    shown = opens("/budget?budget=600", look)
    slider = shown.get_by_role("slider")
    slider.focus()
    texts = [reading(shown, "Expected spend")]
    for key in ("ArrowRight", "ArrowRight", "PageUp"):
        before = shown.url
        slider.press(key)
        until(shown, f"location.href !== {before!r}")
        settled(shown)
        texts.append(reading(shown, "Expected spend"))
    assert len(set(texts)) == 4
    field = shown.get_by_role("textbox", name=re.compile("^Budget"))
    at = shown.evaluate("document.getElementById('along').layout.shapes.at(-1).x0")
    assert at == pytest.approx(float(field.input_value()) / 3000, rel=1e-3)
    assert f"budget={field.input_value()}" in shown.url
    assert shown.evaluate("document.activeElement.type") == "range"


def test_moves_that_come_fast_end_at_the_last_one(opens: Opens) -> None:
    shown = opens("/budget?budget=600")
    shown.evaluate("""() => {
      const slider = document.querySelector("input[type=range]");
      for (let k = 20; k <= 120; k++) {
        slider.value = Number(slider.min) + k * Number(slider.step);
        slider.dispatchEvent(new Event("input", { bubbles: true }));
      }
    }""")
    last = shown.get_by_role("textbox", name=re.compile("^Budget")).input_value()
    until(shown, f"location.href.includes('budget={last}')")
    settled(shown)
    until(shown, f"document.querySelector('.lead').textContent.includes({number(float(last))!r})")


def test_a_wrong_number_is_named_and_the_way_back_shown(opens: Opens) -> None:
    shown = opens("/budget", fails=True)
    shown.get_by_role("textbox", name=re.compile("^Budget")).fill("a lot")
    shown.get_by_role("textbox", name=re.compile("^Budget")).press("Enter")
    alert = shown.get_by_role("alert").filter(has_text="budget == 'a lot'")
    alert.wait_for()
    shown.get_by_role("link", name="Go back to the page without these settings").click()
    settled(shown)
    assert reading(shown, "Expected spend")


def test_a_studio_that_has_stopped_is_noticed(opens: Opens, browser: Any, served: Served) -> None:
    shown = opens("/budget", fails=True)
    shown.route("**/*", lambda route: route.abort())
    shown.get_by_role("textbox", name=re.compile("^Budget")).fill("500")
    shown.get_by_role("textbox", name=re.compile("^Budget")).press("Enter")
    shown.get_by_role("alert").filter(has_text="does not answer").wait_for()
    shown.unroute("**/*")


@HERE
def test_cap_a_treatment_and_see_what_it_costs(
    opens: Opens, served: Served, look: tuple[str, int], tmp_path: Path
) -> None:
    shown = opens("/rules?budget=2000", look)
    shown.get_by_text("At most so many users get a treatment").click()
    set_field(shown, "At most, users with '5'", "300")
    rules = tmp_path / "rules.toml"
    with shown.expect_download() as got:
        shown.get_by_role("link", name="Download these rules (TOML)").click()
    rules.write_bytes(Path(got.value.path()).read_bytes())
    files = (served.place / "spring", served.place / "units.parquet")
    expected = allocate_run(*files, 2000.0, tmp_path / "plan.parquet", rules=rules)
    assert expected.plan.mix["5"] <= 300
    text = shown.locator("#moving").inner_text()
    for n in expected.plan.mix.values():
        assert f"{n:,}" in text
    assert re.search(r"costs? [\d.,]+ orders", shown.locator(".headline").inner_text())


@HERE
def test_who_may_not_get_a_treatment(opens: Opens, look: tuple[str, int]) -> None:
    """The rule is there once its three parts are chosen, and a link takes it back."""
    shown = opens("/rules?budget=2000", look)
    shown.get_by_text("Who may not get a treatment").click()
    for name, choice in (("Column", "city"), ("Its group", "north"), ("Must not get", "5")):
        shown.get_by_role("combobox", name=name, exact=True).select_option(choice)
        until(shown, f"location.search.includes('={choice}')")
        settled(shown)
    assert "'5' is not for units with city 'north'." in shown.locator("#moving").inner_text()
    shown.reload()
    assert "'5' is not for units with city 'north'." in shown.locator("#moving").inner_text()
    shown.get_by_role("link", name="Allow '5' for city 'north' again").click()
    until(shown, "!location.search.includes('north')")
    assert "There are no rules yet" in shown.locator(".headline").inner_text()


@HERE
def test_why_does_this_unit_get_what_it_gets(
    opens: Opens, served: Served, look: tuple[str, int], tmp_path: Path
) -> None:
    shown = opens("/unit?budget=2000", look)
    set_field(shown, "Id of a user", "17")
    files = (served.place / "spring", served.place / "units.parquet")
    allocate_run(*files, 2000.0, tmp_path / "plan.parquet")
    given = frames.read(tmp_path / "plan.parquet").to_pandas().set_index("user").treatment[17]
    until(shown, "document.querySelector('.lead').textContent.includes(\"'17'\")")
    assert f"User '17' gets '{given}'" in shown.locator(".lead").inner_text()
    shown.get_by_text("Its features").click()
    set_field(shown, "city", "nowhere")
    assert "city 'nowhere' was no frequent label of the trial" in shown.locator(".headline").inner_text()
    set_field(shown, "Id of a user", "no such")
    assert "There is no unit 'no such' in the column 'user'" in shown.locator(".headline").inner_text()


@HERE
def test_is_the_live_campaign_on_pace(opens: Opens, look: tuple[str, int]) -> None:
    shown = opens("/live", look)
    until(shown, "document.querySelector('.lead').textContent.includes('beyond the holdout')", 60)
    answer = shown.locator(".headline .lead").inner_text()
    assert re.search(r"(On pace|Too slow|Too fast): 35,383 of 1,000,000 units of money", answer)
    assert re.search(r"spent on day 15 of 30", answer)


@HERE
def test_what_did_the_experiment_show(opens: Opens, look: tuple[str, int]) -> None:
    shown = opens("/experiment", look)
    assert "spend" in shown.locator("main").inner_text()


@HERE
def test_are_the_units_like_the_trial(opens: Opens, look: tuple[str, int]) -> None:
    shown = opens("/data", look)
    assert "1,500" in shown.locator("main").inner_text()
    shown.get_by_role("combobox", name="Feature in the chart").select_option("city")
    until(shown, "location.search.includes('=city')")
    settled(shown)
    assert "north" in shown.locator("#moving").inner_text()


def test_the_challenger_is_promoted_only_after_a_yes(opens: Opens, served: Served) -> None:
    shown = opens("/live")
    until(shown, "[...document.querySelectorAll('button')].some(b => b.textContent.startsWith('Do what'))", 60)
    button = shown.get_by_role("button", name=re.compile("^Do what"))
    button.click()
    shown.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert served.world.rows()[0].run == str(served.world.spring)
    button.click()
    shown.get_by_role("dialog").get_by_role("button", name="Yes").click()
    until(shown, "document.querySelector('main').textContent.includes('promoted')", 60)
    assert served.world.rows()[0].run == str(served.world.summer)


# ---- everybody can read it


def paths() -> list[str]:
    from largesse.web.contents import PAGES

    return [page.path for page in PAGES]


@pytest.mark.parametrize("path", paths())
def test_a_page_fits_and_can_be_read(opens: Opens, served: Served, path: str) -> None:
    shown = opens(path, ("light", 390))
    shown.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    for scheme, width in (("light", 390), ("dark", 390), ("light", 1440), ("dark", 1440)):
        shown.set_viewport_size({"width": width, "height": 900})
        shown.emulate_media(color_scheme=scheme)
        shown.evaluate(SETTLED)
        assert shown.evaluate(TOO_WIDE) <= 0, (scheme, width)
        assert faults(shown, colours=True, rest=scheme == "light") == [], (scheme, width)
        if place := os.environ.get("LARGESSE_SCREENSHOTS"):
            Path(place).mkdir(parents=True, exist_ok=True)
            shown.screenshot(path=f"{place}/{path.strip('/')}-{scheme}-{width}.png", full_page=True)


def test_without_scripts_everything_but_the_charts_is_there(browser: Any, served: Served) -> None:
    context = browser.new_context(java_script_enabled=False)
    shown = context.new_page()
    shown.goto(served.link)
    shown.goto(served.base + "/budget")
    shown.get_by_role("textbox", name=re.compile("^Budget")).fill("650")
    shown.get_by_role("form", name="Settings").get_by_role("button", name="Show").click()
    assert "650 EUR for 3,000 users" in shown.locator(".lead").inner_text()
    context.close()
