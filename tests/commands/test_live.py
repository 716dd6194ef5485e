"""`largesse demo --live`: the whole loop through the service, small."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")
pytest.importorskip("httpx", reason="the extra 'client' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'serve' is not installed")

from largesse.commands.documents import DOCUMENTS
from largesse.commands.findings.live import headline, sections
from largesse.commands.live import live
from largesse.commands.live_shop import Scale, Shop
from largesse.errors import StoreError
from largesse.serving import Ledger
from largesse.serving.ledger.changes import changes

SMALL = Scale(days=10, per_day=700, trial=1_500)


@pytest.mark.slow
def test_the_whole_loop(tmp_path):
    lines = []
    done = live(tmp_path / "live", line=lines.append, scale=SMALL)
    assert [one.day for one in done.days] == list(range(1, 11))
    assert done.days[-1].decisions == 7_000
    assert (
        0.9 * done.budget < done.days[-1].spent < 1.02 * done.budget
    )  # payments may be more than was reserved for them
    assert all(one.stays < one.best and one.value < one.best for one in done.days)
    commands = [one.command for one in done.events]
    assert commands.count("largesse update") == 1
    assert "largesse serve" in commands
    assert len([line for line in lines if line.startswith("day ")]) == 10
    assert {one.name for one in (tmp_path / "live").iterdir()} >= {
        "report.html",
        "live.json",
        "ledger.db",
        "first",
        "second",
    }
    written = (tmp_path / "live" / "live.json").read_text()
    assert json.loads(written)["headline"] == headline(done).sentence
    DOCUMENTS["demo --live"].model_validate_json(written)
    assert [part.anchor for part in sections(done)][:3] == ["brought", "happened", "money"]

    with Ledger.open(f"sqlite:///{tmp_path}/live/ledger.db") as ledger:
        assert ledger.verify().problems == []
        status = ledger.status("live")
        assert status.spent + status.reserved <= done.budget + status.beyond
        assert status.decided == 7_000
        runs = [
            one[name]["run"]
            for one in (change._asdict() for change in changes(ledger, "live"))
            for name in ("before", "after")
            if one[name] and "run" in one[name]
        ]
        assert runs
        assert all(Path(run).is_dir() for run in runs)  # where the folder is in the end, so that one can go back
    with sqlite3.connect(tmp_path / "live" / "ledger.db") as connection:
        (run,) = connection.execute("select run from largesse_served").fetchone()
    assert run in (str(tmp_path / "live" / "first"), str(tmp_path / "live" / "second"))
    config = (tmp_path / "live" / "first" / "config.toml").read_text()
    assert str(tmp_path / "live" / "trial") in config
    assert ".partial" not in config


def test_what_is_paid_beyond_the_budget_is_admitted(tmp_path):
    done = live(tmp_path / "live", scale=Scale(days=2, per_day=300, trial=1_200))
    last = done.days[-1]
    within, beyond = (
        headline(replace(done, days=(*done.days[:-1], last._replace(spent=share * done.budget)))).summary[0]
        for share in (0.98, 1.001)
    )
    assert within.endswith("No decision raised what is paid or reserved above the budget.")
    assert beyond.endswith("though some coupons cost more than was reserved for them.")


def test_the_page_when_nothing_is_promoted(tmp_path):
    done = live(tmp_path / "live", scale=Scale(days=2, per_day=300, trial=1_200))
    assert headline(done).sentence.startswith("The second run was not promoted within these days")
    assert len(sections(done)[0].blocks[1].rows) == 3


def test_a_folder_that_is_not_its_own_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="exists"):
        live(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["notes.txt"]


def test_customers_have_moved_since_the_trial():
    shop, same = Shop(SMALL), Shop(Scale(days=10, per_day=700, moved=0.0))
    assert shop.customers(0).features.equals(same.customers(0).features)
    assert abs(shop.customers(0).value - same.customers(0).value).mean() > 0.03
    assert (shop.truth(shop.customers(0)).cost[:, 0] == 0).all()
