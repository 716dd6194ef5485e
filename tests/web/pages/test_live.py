"""The page Live: what it says of a campaign in each state, and who may press its buttons."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.common.challenged import DAY, START, World

from largesse.commands.findings.monitor import steps  # isort: skip
from largesse.commands.promote import history, promote  # isort: skip
from largesse.commands.studio.live import BACK, DO, END, InService  # isort: skip
from largesse.errors import LargesseError  # isort: skip
from largesse.report.blocks import Bullets, Facts, Table, Text  # isort: skip
from largesse.serving import Campaign, Ledger, monitor  # isort: skip
from largesse.web.opened import Studio  # isort: skip
from largesse.web.pages.live import act, view  # isort: skip
from largesse.web.query import Query  # isort: skip
from largesse.web.view import Drawn, Heading, View, blocks_of, tables_of  # isort: skip
from tests.common.ledgers import NAMES, Clock, ask  # isort: skip
from tests.common.studios import made_run  # isort: skip
from tests.common.visits import Visitor, visitor  # isort: skip

NOW = START + 14.5 * DAY


def studio(store: str, now: float = NOW) -> Any:
    service = InService(store, clock=Clock(now))
    service.patience = None
    return SimpleNamespace(live=service)


def shown(store: str, now: float = NOW, **query: str) -> View:
    return view(studio(store, now), Query(list(query.items())))


def table(page: View, title: str) -> Table:
    (got,) = (one for one in tables_of(page) if one.title == title)
    return got


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A challenger that is better; nothing in this module changes it."""
    return World(tmp_path_factory.mktemp("live"), gift=10.0)


def test_the_answer(world):
    page = shown(world.store)
    with Ledger.open(world.store, clock=Clock(NOW)) as ledger:
        status, watched = ledger.status("spring"), monitor(ledger, "spring")
    lift = next(one for one in watched.signals if one.name == "value per unit, beyond the holdout")
    assert page.headline.startswith(f"Too slow: {status.spent:,.0f} of 1,000,000 units of money spent on day 15 of 30")
    assert "(an even plan: 483,333)" in page.headline
    assert re.search(rf"it brings \+{lift.number:.2g}\d* units of value per unit beyond the holdout", page.headline)
    assert "valid on every day" in page.headline
    read = {one.name: one for one in page.readings}
    assert read["Spent, units of money"].value == f"{status.spent:,.0f}"
    assert read["Left, units of money"].value == f"{status.left:,.0f}"
    assert (read["Day"].value, read["Decisions"].value) == ("15 of 30", f"{status.decided:,}")
    assert page.document["status"]["spent"] == status.spent
    assert page.document["plan"] == pytest.approx(1e6 * 14.5 / 30)
    assert page.refresh == 15


def test_alarms_come_first_with_what_to_do(world):
    page = shown(world.store)
    with Ledger.open(world.store, clock=Clock(NOW)) as ledger:
        watched = monitor(ledger, "spring", run=world.spring)
    assert watched.alarms
    assert page.badge.text == f"{len(watched.alarms)} alarm{'s' * (len(watched.alarms) > 1)}"
    assert watched.alarms[0].next_step in page.action
    first = blocks_of(page)[:2]
    assert isinstance(first[0], Heading)
    assert first[1] == Bullets(steps(watched))


def test_the_challenger_is_shown_as_promote_says(world):
    page, planned = shown(world.store), promote(world.store, dry_run=True)
    (facts,) = (dict(one.entries) for one in blocks_of(page) if isinstance(one, Facts))
    assert facts["Why"] == f"{planned.sentence}."
    assert facts["What the evidence supports"] == f"{planned.challenger} should decide for all units."
    assert facts["Decisions that count"] == f"{planned.evidence.decisions:,}"
    assert [one.fields["act"].split()[0] for one in page.actions] == [DO, END]
    assert all(one.role == "admin" and one.confirm and one.address == "/live" for one in page.actions)
    assert page.document["promote"]["action"] == "promoted"


def test_runs_decisions_and_journal(world):
    page = shown(world.store)
    runs = table(page, "Which run decides")
    spring, summer = world.versions
    assert {row.cells[0]: str(row.cells[1]) for row in runs.rows} == {spring: "decides", summer: "tried on 30 %"}
    with Ledger.open(world.store) as ledger:
        counts = ledger.status("spring").counts
    drawn = table(page, "Decisions by the rule that drew them")
    assert sorted(row.cells[1] for row in drawn.rows) == sorted(f"{sum(one.values()):,}" for one in counts.values())
    lines = table(page, "Journal: what was changed, the last first")
    assert [row.cells[1] for row in lines.rows] == [one.field for one in reversed(history(world.store))]


def test_charts_show_the_days_of_the_monitor(world):
    page = shown(world.store)
    spend, lift = (one for one in page.fixed if isinstance(one, Drawn))
    with Ledger.open(world.store, clock=Clock(NOW)) as ledger:
        watched = monitor(ledger, "spring")
    assert [row.cells[0] for row in spend.table.rows] == list(watched.day_spend)
    assert float(spend.table.rows[-1].cells[-1].replace(",", "")) == round(sum(watched.day_spend.values()))
    assert list(spend.chart.figure().data[0].y) == list(watched.day_spend.values())
    ends = [one for one in watched.day_lift.values() if one.lower > -1e300]
    assert list(lift.chart.figure().data[2].y) == [one.estimate for one in ends]
    assert list(lift.chart.figure().data[0].y) == [one.lower for one in ends]
    assert len(lift.table.rows) == len(ends)


def test_money_is_shown_while_the_first_signals_are_computed(world, monkeypatch):
    where = studio(world.store)
    monkeypatch.setattr(where.live, "watched", lambda campaign, patience: None)
    page = view(where, Query())
    assert page.headline.endswith("; what it brings is not known yet.")
    assert page.badge.text == "computing"
    assert page.refresh == 3
    assert page.action.startswith("The log is being read")
    assert [one.fields["act"].split()[0] for one in page.actions] == [END]


def test_a_campaign_that_is_over_has_no_buttons(world):
    page = shown(world.store, START + 40 * DAY)
    assert page.headline.startswith("Over since 2024-11-03: ")
    assert page.actions == ()


def test_a_campaign_without_decisions(tmp_path):
    store = f"sqlite:///{tmp_path}/a.db"
    with Ledger.open(store, clock=Clock(START)) as ledger:
        ledger.start(Campaign(name="c", treatments=NAMES, budget=500.0, until=START + 9 * DAY, price=0.5))
    page = shown(store, START + 60)
    assert page.headline == (
        "No unit has been decided yet: 500 units of money are to be spent from 2024-10-04 to 2024-10-13."
    )
    assert page.badge.text == "not begun"
    assert page.action.startswith("Send the first units")
    assert all(one.rows for one in tables_of(page))
    texts = [one.words for one in page.fixed if isinstance(one, Text)]
    assert "No run has decided here yet." in texts
    assert "Nothing was changed since the start." in texts
    assert page.actions == ()


def test_several_campaigns_on_one_budget(tmp_path):
    store, clock = f"sqlite:///{tmp_path}/a.db", Clock(START)
    with Ledger.open(store, clock=clock) as ledger:
        parts = [
            Campaign(name=name, treatments=NAMES, budget=part, until=START + 9 * DAY, price=0.5)
            for name, part in (("app", 2.0), ("mail", 1.0))
        ]
        ledger.share("growth", 300.0, parts)
        ledger.decide([ask(k, campaign="mail") for k in range(5)])
    page = shown(store, START + 60, campaign="mail")
    assert any("joint budget 'growth' of 300 units of money, which it shares with app." in one for one in page.summary)
    assert any("menus come from a program of your own" in one for one in page.summary)
    (field,) = page.fields
    assert (field.value, [one[0] for one in field.options]) == ("mail", ["app", "mail"])
    assert shown(store, START + 60).fields[0].value == "app"


def test_a_run_that_is_gone(tmp_path):
    world = World(tmp_path, gift=10.0, days=1, n=8)
    shutil.rmtree(world.summer)
    page = shown(world.store)
    assert any(isinstance(one, Text) and one.lead == "A run is missing: " for one in page.fixed)
    (facts,) = (dict(one.entries) for one in page.moving if isinstance(one, Facts))
    assert str(world.summer) in facts["Evidence"]
    assert [one.fields["act"].split()[0] for one in page.actions] == [END]


def test_signals_that_cannot_be_computed_leave_the_money(tmp_path):
    world = World(tmp_path, gift=10.0, days=1, n=8)
    (world.spring / "features.json").write_text("{")
    page = shown(world.store)
    assert page.badge.text == "not watched"
    assert "features.json: is damaged" in page.action
    assert {one.name for one in page.readings} >= {"Spent, units of money"}


def test_a_button_of_an_old_page_does_nothing(tmp_path):
    world = World(tmp_path, gift=10.0, days=1, n=8)
    where = studio(world.store)
    page = view(where, Query())
    (end,) = page.actions
    query = Query(list(end.fields.items()))
    act(where, query)
    with pytest.raises(LargesseError, match="was changed since the page was shown"):
        act(where, query)
    assert len(history(world.store)) == 3


# ---- through the application


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_run(tmp_path_factory.mktemp("run"), more="folds = 1")


def client(run: Path, store: str, role: str) -> Visitor:
    made = Studio([run], store=store, clock=Clock(NOW))
    made.live.patience = None
    return visitor(made, role=role)


def fields(html: str, what: str) -> dict[str, str]:
    (form,) = (one for one in re.findall(r'<form class="act".*?</form>', html, re.S) if f'value="{what} ' in one)
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form))


def test_the_role_admin_may_act_with_the_secret_of_the_form_only(run, tmp_path):
    world = World(tmp_path, gift=10.0)
    browser = client(run, world.store, "admin")
    html = browser.get("/live").text
    sent = fields(html, DO)
    assert browser.post("/live", data={name: one for name, one in sent.items() if name != "form"}).status_code == 403
    assert browser.post("/live", data=sent | {"form": "guessed"}).status_code == 403
    assert browser.post("/live", data=sent, headers={"origin": "http://elsewhere"}).status_code == 403
    assert len(history(world.store)) == 2
    done = browser.post("/live", data=sent, follow_redirects=False)
    assert (done.status_code, done.headers["location"]) == (303, "/live?campaign=spring")
    assert world.rows()[0].version == world.versions[1]
    html = browser.get("/live").text
    assert browser.post("/live", data=fields(html, BACK), follow_redirects=False).status_code == 303
    assert world.rows()[0].version == world.versions[0]
    again = browser.post("/live", data=sent)
    assert again.status_code == 422
    assert "was changed since the page was shown" in again.text


def test_a_key_with_the_role_report_may_look_only(run, world):
    browser = client(run, world.store, "report")
    html = browser.get("/live").text
    assert re.search(r'<button id="act-1" disabled>', html)
    assert "The buttons need a key with the role admin" in html
    before = history(world.store)
    assert browser.post("/live", data=fields(html, DO)).status_code == 403
    assert history(world.store) == before


def test_the_page_refreshes_itself_and_has_other_forms(run, world):
    browser = client(run, world.store, "report")
    html = browser.get("/live").text
    assert 'hx-get="/live" hx-trigger="every 15s" hx-target="this"' in html
    part = browser.get("/live", headers={"hx-request": "true", "hx-target": "view"}).text
    assert part.lstrip().startswith('<div id="view"')
    document = json.loads(browser.get("/live?form=json").text)
    assert document["data"]["status"]["campaign"] == "spring"
    assert browser.get("/live?form=md").status_code == 200
    assert browser.get("/live?form=csv&table=0").status_code == 200


def test_a_store_that_is_gone_is_tried_again(run, tmp_path):
    browser = client(run, f"sqlite:///{tmp_path}/none.db", "admin")
    got = browser.get("/live")
    assert got.status_code == 422
    assert "this file is not there. Check its path." in got.text
    assert 'hx-trigger="every 15s"' in got.text
    assert not (tmp_path / "none.db").exists()
    assert "Live" in browser.get("/budget").text
