"""`largesse monitor`: its document, its page, its exit code and its refusals."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("sqlalchemy", reason="the extra 'serve' is not installed")

from largesse.cli.app import app
from largesse.commands.documents import DOCUMENTS
from largesse.errors import DataError
from largesse.serving import Campaign, Ledger, Outcome
from tests.common.ledgers import NAMES, Clock, ask
from tests.common.shell import shell

DAY, START = 86_400.0, 20_000 * 86_400.0


def made(place: Path, *, reported: bool = True, names: tuple[str, ...] = ("spring",)) -> str:
    """A ledger whose campaigns are over by now: the money was to last until their end, 20 days after the start."""
    store, clock = f"sqlite:///{place}/spring.db", Clock(START)
    with Ledger.open(store, clock=clock) as ledger:
        for name in names:
            terms: dict[str, Any] = {"budget": 2_000.0, "until": START + 20 * DAY, "price": 0.5, "matures": DAY}
            ledger.start(Campaign(name=name, treatments=NAMES, holdout=0.3, explore=0.3, **terms))
        for day in range(20):
            clock.now = START + (day + 0.2) * DAY
            several = [ask(f"{day}-{k}", campaign=names[0], value=[0.5, 1.0, 3.0]) for k in range(60)]
            answers = ledger.decide(several)
            clock.now += DAY / 2
            paid = [a for a in answers if reported or day < 10]
            gains = {"none": (0.0, 0.5), "coupon": (1.0, 1.0), "gift": (2.0, 3.0)}
            ledger.outcomes([
                Outcome(a.id, f"o{a.id}", cost=gains[a.treatment][0], value=gains[a.treatment][1] * (0.5 + (k % 3) / 2))
                for k, a in enumerate(paid)
            ])  # fmt: skip
    return store


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["monitor", *words])


def test_the_document(tmp_path):
    done = run(made(tmp_path), "--value-per-unit", "2", "--json")
    document = json.loads(done.stdout)
    DOCUMENTS["monitor"].model_validate_json(done.stdout)
    by_name = {one["name"]: one for one in document["signals"]}
    assert document["decided"] == 1_200
    net = by_name["net value per unit, beyond the holdout"]
    assert net["low"] < net["number"] < net["high"]
    assert done.exit_code == (0 if document["ok"] else 1)
    assert len(document["day_spend"]) == 20


def test_the_page(tmp_path):
    done = run(made(tmp_path), "--value-per-unit", "2", "-o", str(tmp_path / "page"))
    page = (tmp_path / "page" / "report.html").read_text()
    shown = " ".join(done.stdout.split())
    (sentence,) = re.findall(
        r"The campaign pays: \+[\d.]+ net value[^.]*per unit beyond the holdout \([^)]*\)\.", shown
    )
    assert sentence in " ".join(page.split())
    for title in ("What it brings", "Can that be believed", "Does the model hold", "Money, outcomes and the server"):
        assert title in page
    assert "drift of features" in shown
    assert (tmp_path / "page" / "metrics.json").is_file()
    again = run(f"sqlite:///{tmp_path}/spring.db", "-o", str(tmp_path / "page"))
    assert "--replace" in str(again.exception)


def test_an_alarm_leaves_by_one_and_says_what_to_do(tmp_path):
    done = run(made(tmp_path, reported=False), "--json")
    assert done.exit_code == 1
    alarms = [one for one in json.loads(done.stdout)["signals"] if one["state"] == "alarm"]
    assert alarms
    assert all(one["next_step"] for one in alarms)
    names = [one["name"] for one in alarms]
    assert "value against prediction" in names


def test_csv_is_the_signals(tmp_path):
    lines = run(made(tmp_path), "--csv").stdout.splitlines()
    assert lines[0].startswith("group,name,about,state,number,low,high,threshold,first_bad_day")
    assert len(lines) > 10


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--campaign", "autumn"), "campaign == 'autumn': is not in this ledger"),
        ((), r"--campaign: is missing, and the ledger's campaigns are not one \(it has 2: spring, summer\)"),
        (("--campaign", "spring", "--tolerance", "2"), "tolerance == 2.0: must be"),
        (("--json", "--csv"), "--json, --csv"),
    ],
)
def test_refusals(tmp_path, words, message):
    done = run(made(tmp_path, names=("spring", "summer")), *words)
    assert isinstance(done.exception, DataError)
    assert re.search(message, str(done.exception))


def test_a_store_that_is_not_there(tmp_path):
    done = shell("monitor", f"sqlite:///{tmp_path}/none.db")
    assert done.returncode == 2
    assert "this file is not there" in done.stderr
    assert not (tmp_path / "none.db").exists()
