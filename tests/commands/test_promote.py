"""`largesse promote`: what the evidence about a challenger supports is done, written down, and survives a restart."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.common.served import TREATMENTS

import sqlalchemy as sa  # isort: skip

from largesse.cli.app import app  # isort: skip
from largesse.commands.documents import DOCUMENTS  # isort: skip
from largesse.commands.promote import _trial, history, promote  # isort: skip
from largesse.errors import DataError  # isort: skip
from largesse.serving import Campaign, Ledger  # isort: skip
from largesse.serving.http.begin import begin  # isort: skip
from largesse.serving.http.challengers import put_challenger, remove_challenger  # isort: skip
from largesse.serving.http.menus import load_run  # isort: skip
from largesse.serving.http.service import put_run  # isort: skip
from tests.common.challenged import DAY, START, World  # isort: skip
from tests.common.ledgers import Clock  # isort: skip

RUN_FIELDS = ("campaign", "champion", "challenger", "action", "share_before", "share_after")


def test_a_better_challenger_is_promoted_and_stays_after_a_restart(tmp_path):
    world = World(tmp_path, gift=10.0)
    before = world.rows()
    planned = promote(world.store, dry_run=True)
    assert world.rows() == before
    assert (planned.action, planned.done) == ("promoted", False)
    done = promote(world.store)
    assert (done.champion, done.challenger) == world.versions
    assert (done.action, done.share_after, done.evidence.verdict) == ("promoted", 1.0, "better")
    assert done.evidence.low > 0
    decides, tried = world.rows()
    assert (decides.version, bool(decides.features), tried) == (world.versions[1], True, None)
    fields = [(one.field, (one.after or {}).get("version")) for one in history(world.store)]
    spring, summer = world.versions
    assert fields == [("run", spring), ("challenger", summer), ("run", summer), ("challenger", None)]
    assert "it is better: challenger less champion at equal spend +" in history(world.store)[2].after["why"]

    (sentence,) = begin(world.settings(0.3))
    assert "It has replaced the run that the configuration names: it is better" in sentence
    assert world.rows()[0].version == world.versions[1]
    assert world.rows()[1] is None
    assert len(history(world.store)) == 4  # what stays as it is has no line
    with pytest.raises(DataError, match="no challenger is tried"):
        promote(world.store)


def test_a_worse_challenger_is_ended_and_stays_ended(tmp_path):
    world = World(tmp_path, gift=4.0)
    done = promote(world.store)
    assert (done.action, done.share_after) == ("ended", 0.0)
    assert done.evidence.high < 0
    decides, tried = world.rows()
    assert (decides.version, tried) == (world.versions[0], None)
    begin(world.settings(0.3))
    assert world.rows()[1] is None


def test_while_nothing_is_shown_the_share_rises_as_far_as_the_worst_case_allows(tmp_path):
    """At a cost of 7, gift and coupon bring about the same: 3 - 0.5 · 7 and 1 - 0.5."""
    world = World(tmp_path, gift=5.0, share=0.02, spread=3.0, days=10)
    done = promote(world.store, loss=0.0)
    assert (done.action, done.share_after) == ("waiting", 0.02)
    assert "no difference is shown yet" in done.sentence
    raised = promote(world.store, loss=0.5)
    assert (raised.action, raised.share_after) == ("raised", 0.05)
    assert raised.evidence.most >= 0.05
    assert world.rows()[1].share == 0.05
    begin(world.settings(0.02))
    assert world.rows()[1].share == 0.05  # a restart does not lower it
    assert promote(world.store, loss=0.0).evidence == raised.evidence._replace(
        most=0.0
    )  # the same trial, from its beginning


def test_what_is_counted(tmp_path):
    """Matured decisions since the present trial began, except those that the budget limited."""
    world = World(tmp_path, gift=10.0, days=6, n=100)
    assert promote(world.store, dry_run=True).evidence.decisions == 600
    with Ledger.open(world.store) as ledger:
        with ledger.engine.begin() as connection:
            connection.execute(sa.text("update largesse_decision set limited = 1 where number % 10 = 0"))
        assert promote(world.store, dry_run=True).evidence.decisions == 540
        tried = load_run(world.summer)
        remove_challenger(ledger.engine, "spring", now=START + 3 * DAY)
        put_challenger(ledger.engine, "spring", tried, share=0.3, shadow=False, now=START + 4 * DAY)
        put_challenger(ledger.engine, "spring", tried, share=0.5, shadow=False, now=START + 5 * DAY)
    assert promote(world.store, dry_run=True).evidence.decisions == 180


def test_a_challenger_that_does_not_decide_its_share(tmp_path):
    """The journal says 90 %, and 30 % are its: the probabilities over both draws would be wrong, so nothing is concluded."""
    world = World(tmp_path, gift=10.0, days=6, n=100)
    with Ledger.open(world.store) as ledger:
        remove_challenger(ledger.engine, "spring", now=START)
        put_challenger(ledger.engine, "spring", load_run(world.summer), share=0.9, shadow=False, now=START)
    done = promote(world.store)
    assert (done.action, done.share_after) == ("waiting", 0.9)
    assert re.search(
        r"the challenger decided (2|3)\d\.\d % of 600 decisions, and 90\.0 % were its share", done.sentence
    )


def test_shares_and_changes_by_time(tmp_path):
    """Decisions of the minute after a change do not count, nor those before the champion or the exploration changed."""
    world = World(tmp_path, gift=10.0, days=1, n=8)
    with Ledger.open(world.store) as ledger:
        tried, engine = load_run(world.summer), ledger.engine
        put_challenger(engine, "spring", tried, share=0.5, shadow=False, now=START + 2 * DAY)
        row = world.rows()[1]
        times = START + np.array([0.0, 59.0, 60.0, DAY, 2 * DAY, 2 * DAY + 59, 2 * DAY + 61])
        share, sure = _trial(ledger, "spring", row).at(times)
        assert share.tolist() == [0.3] * 4 + [0.5] * 3
        assert sure.tolist() == [False, False, True, True, False, False, True]
        ledger.clock = Clock(START + 3 * DAY)
        terms: dict[str, Any] = {"holdout": 0.05, "explore": 0.3, "matures": DAY, "price": 0.5}
        ledger.start(Campaign(name="spring", treatments=TREATMENTS, budget=1e6, until=START + 30 * DAY, **terms))
        share, sure = _trial(ledger, "spring", row).at(START + DAY * np.array([2.5, 3.0, 3.1]))
        assert (share.tolist(), sure.tolist()) == ([0.3, 0.5, 0.5], [False, False, True])
        put_run(engine, "spring", tried, features=True, now=START + 4 * DAY)
        put_challenger(engine, "spring", load_run(world.spring), share=0.1, shadow=False, now=START + 5 * DAY)
        share, sure = _trial(ledger, "spring", world.rows()[1]).at(START + DAY * np.array([4.5, 5.1]))
        assert (share[1], sure.tolist()) == (0.1, [False, True])


def test_too_early(tmp_path):
    world = World(tmp_path, gift=4.0, days=1, n=8)
    done = promote(world.store)
    assert done.action == "waiting"
    assert re.search("it is too early: \\d+ decisions", done.sentence)


def test_nothing_is_concluded_from_a_log_that_is_not_by_its_propensities(tmp_path):
    world = World(tmp_path, gift=10.0, days=6)
    with Ledger.open(world.store) as ledger, ledger.engine.begin() as connection:
        connection.execute(
            sa.text("update largesse_decision set treatment = 'gift' where number % 7 = 0 and treatment = 'coupon'")
        )
    done = promote(world.store)
    assert done.action == "waiting"
    assert "share given less probability is an alarm" in done.sentence
    assert world.rows()[1] is not None


def test_the_command(tmp_path):
    world = World(tmp_path, gift=10.0)
    printed = CliRunner().invoke(app, ["promote", world.store, "--dry-run", "--json"])
    DOCUMENTS["promote"].model_validate_json(printed.stdout)
    assert {name: json.loads(printed.stdout)[name] for name in RUN_FIELDS} == {
        "campaign": "spring", "champion": world.versions[0], "challenger": world.versions[1], "action": "promoted",
        "share_before": 0.3, "share_after": 1.0,
    }  # fmt: skip
    said = " ".join(CliRunner().invoke(app, ["promote", world.store, "--dry-run"]).stdout.split())
    assert f"{world.versions[1]} would be promoted: it is better" in said
    shown = CliRunner().invoke(app, ["promote", world.store])
    assert shown.exit_code == 0, shown.exception
    lines = " ".join(CliRunner().invoke(app, ["promote", world.store, "--history"]).stdout.split())
    assert f"run: {world.versions[0]} → {world.versions[1]} (it is better" in lines
    document = CliRunner().invoke(app, ["promote", world.store, "--history", "--json"]).stdout
    DOCUMENTS["promote"].model_validate_json(document)
    assert len(json.loads(document)["changes"]) == 4


@pytest.mark.parametrize("option", [{"margin": -0.1}, {"margin": 0.6}, {"loss": 2.0}])
def test_refusals(tmp_path, option):
    with pytest.raises(DataError, match=rf"--{next(iter(option))} == {next(iter(option.values()))}: must be"):
        promote(f"sqlite:///{tmp_path}/none.db", **option)
