"""The configuration of a server, and how its campaigns begin."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from largesse.errors import ConfigError, DataError, StoreError
from tests.common.served import make_run

from largesse.serving.http.access import create_key  # isort: skip
from largesse.serving.http.begin import begin  # isort: skip
from largesse.serving.http.settings import end_of, load_settings  # isort: skip
from largesse.serving.ledger.book import Ledger  # isort: skip

TEXT = """[server]
store = "sqlite:///x.db"
{server}
[campaigns.spring]
run = "runs/spring"
budget = 1000
until = 2026-12-31
{campaign}
"""


def loaded(place: Path, server: str = "", campaign: str = "", **environment: str) -> Any:
    (place / "server.toml").write_text(TEXT.format(server=server, campaign=campaign))
    return load_settings(place / "server.toml", environment=environment)


def test_a_file_and_the_environment(tmp_path: Path):
    got = loaded(
        tmp_path, "port = 1\nworkers = 2", "holdout = 0.1", LARGESSE_SERVER_PORT="9000", LARGESSE_SERVER_KEYS="false",
        LARGESSE_SERVER_DEADLINE="2", LARGESSE_SERVER_STORE="sqlite:///y.db", LARGESSE_OTHER="1",
    )  # fmt: skip
    server, spring = got.server, got.campaigns["spring"]
    assert (server.port, server.workers, server.keys, server.deadline, server.store) == (
        9000,
        2,
        False,
        2.0,
        "sqlite:///y.db",
    )
    assert (spring.run, spring.holdout, spring.explore) == (tmp_path / "runs" / "spring", 0.1, 0.05)
    assert spring.until == datetime(2027, 1, 1, tzinfo=UTC).timestamp()


def test_options_override_both(tmp_path: Path):
    (tmp_path / "server.toml").write_text(TEXT.format(server="port = 1", campaign=""))
    got = load_settings(tmp_path / "server.toml", server={"port": 3}, environment={"LARGESSE_SERVER_PORT": "2"})
    assert got.server.port == 3


@pytest.mark.parametrize(
    ("given", "when"),
    [("2026-12-31", datetime(2027, 1, 1, tzinfo=UTC)), ("2026-12-31T10:00", datetime(2026, 12, 31, 10, tzinfo=UTC)),
     ("2026-12-31T10:00:00+02:00", datetime(2026, 12, 31, 8, tzinfo=UTC)), (86_400.0, datetime(1970, 1, 2, tzinfo=UTC))],
)  # fmt: skip
def test_an_end_is_a_date_or_a_time(given: Any, when: datetime):
    assert end_of(given) == when.timestamp()


@pytest.mark.parametrize(
    ("server", "campaign", "environment", "words"),
    [
        ("prot = 1", "", {}, r"server\.prot == 1: unknown key\. Did you mean 'port'\?"),
        ("port = 70000", "", {}, r"server\.port == 70000: must be <= 65535"),
        ('port = "1"', "", {}, r"server\.port == '1': must be a whole number"),
        ("workers = 0", "", {}, r"server\.workers == 0: must be >= 1"),
        ('log = "loud"', "", {}, r"server\.log == 'loud': must be 'debug', 'info', 'warning' or 'error'"),
        ("deadline = nan", "", {}, r"server\.deadline == nan"),
        ('keys = false\nhost = "0.0.0.0"', "", {}, r"server\.keys == False: anybody who reaches 0\.0\.0\.0 could decide"),
        ("", "holdout = 1.5", {}, r"campaigns\.spring\.holdout == 1\.5: must be < 1"),
        ("", 'guarantee = "soft"', {}, r"campaigns\.spring\.guarantee == 'soft': must be 'expected' or 'hard'"),
        ("", 'until = "soon"', {}, "same key|Cannot overwrite"),
        ("", "fallback = 'coupon'", {}, r"campaigns\.spring\.fallback == 'coupon': unknown key"),
        ("", "[other]", {}, r"other is no section\. The sections are \[server\], \[campaigns\.NAME\] and \[budgets\.NAME\]"),
        ("", "[campaigns]\nx = 1", {}, "campaigns|declared"),
        ("", "", {"LARGESSE_SERVER_PROT": "1"}, r"LARGESSE_SERVER_PROT: no such setting\. Did you mean 'port'\?"),
        ("", "", {"LARGESSE_SERVER_PORT": "high"}, r"server\.port == 'high': must be a whole number"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence(tmp_path: Path, server: str, campaign: str, environment: Any, words: str):
    with pytest.raises(ConfigError, match=words) as error:
        loaded(tmp_path, server, campaign, **environment)
    assert "\n" not in str(error.value)


def test_what_is_missing_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="has no campaign"):
        load_settings(None, server={"store": "x"}, environment={})
    with pytest.raises(ConfigError, match=r"campaigns\.s: 2 fields|2 fields break a rule"):
        load_settings(None, server={"store": "x"}, campaigns={"s": {"budget": 1.0}}, environment={})
    with pytest.raises(ConfigError, match=r"campaigns\.s\.budget is missing\. Add it, or budget_of with the name of a"):
        load_settings(None, server={"store": "x"}, campaigns={"s": {"run": "r", "until": 1.0}}, environment={})
    with pytest.raises(ConfigError, match=r"server\.store is missing"):
        load_settings(None, campaigns={"s": {"run": "r", "budget": 1.0, "until": 1.0}}, environment={})
    with pytest.raises(ConfigError, match="no such file"):
        load_settings(tmp_path / "no.toml")


SHARED = """
[server]
store = "sqlite:///{place}/l.db"
keys = false
[budgets.growth]
budget = {budget}
[campaigns.app]
run = "run"
until = 2100-01-01
budget_of = "growth"
{app}
[campaigns.mail]
run = "run"
until = 2100-01-01
{mail}
"""


def sharing(place: Path, *, budget: float = 900.0, app: str = "", mail: str = 'budget_of = "growth"') -> list[str]:
    (place / "server.toml").write_text(SHARED.format(place=place, budget=budget, app=app, mail=mail))
    return begin(load_settings(place / "server.toml", environment={}))


def test_campaigns_share_a_budget(tmp_path: Path):
    """Divided by the expected units at first; a changed budget is divided as what was left."""
    make_run(tmp_path / "run")
    mail = 'budget_of = "growth"\nunits = 200'
    first, second = sharing(tmp_path, app="units = 100", mail=mail)
    assert "Campaign app: run run-" in first
    assert "budget 300 of 900 that it shares (growth), of which 0 is spent" in first
    assert "budget 600 of 900 that it shares (growth)" in second
    assert "budget 400 of 1,200" in sharing(tmp_path, budget=1200.0, app="units = 100", mail=mail)[0]
    assert "budget 400 of 1,200" in sharing(tmp_path, budget=1200.0, mail=mail)[0]
    with pytest.raises(DataError, match="must have 'mail', which shares the budget 'growth' until its end"):
        sharing(tmp_path, mail="budget = 100")


@pytest.mark.parametrize(
    ("app", "mail", "words"),
    [
        ("budget = 1", 'budget_of = "growth"', r"campaigns\.app has both budget and budget_of\. Leave out one"),
        ("", 'budget_of = "grwth"', r"campaigns\.mail\.budget_of == 'grwth': there is no such budget\. Did you mean 'growth'"),
        ("", "budget = 1\n[budgets.more]\nbudget = 5", r"budgets\.more has no campaign\. Write budget_of = \"more\" in those"),
        ("", "budget = 1\n[budgets.more]\nbudget = -5", r"budgets\.more\.budget == -5: must be >= 0"),
    ],
)  # fmt: skip
def test_a_wrong_shared_budget_is_refused(tmp_path: Path, app: str, mail: str, words: str):
    with pytest.raises(ConfigError, match=words):
        sharing(tmp_path, app=app, mail=mail)


def beginning(place: Path, *, keys: bool = False, **campaign: Any) -> list[str]:
    terms = {"run": str(place / "run"), "budget": 1000.0, "until": "2100-01-01"} | campaign
    server = {"store": f"sqlite:///{place}/l.db", "keys": keys}
    return begin(load_settings(None, server=server, campaigns={"spring": terms}, environment={}))


def price(place: Path) -> float:
    with Ledger.open(f"sqlite:///{place}/l.db") as ledger:
        return ledger.status("spring").price


def test_the_first_price(tmp_path: Path):
    """Given; else of the budget per unit in the run's proof; else where everybody gets what pays."""
    proof = {"rows": [{"name": "policy", "budget": b, "price": p} for b, p in ((0.5, 0.8), (1.5, 0.4))]}
    proof["rows"] += [{"name": "best", "budget": 1.0, "price": None}, {"name": "policy", "budget": None, "price": 0.1}]
    for k, (terms, expected) in enumerate(
        [({"price": 0.3}, 0.3), ({"units": 1000.0}, 0.6), ({"units": 10_000.0}, 0.8), ({"units": 1.0}, 0.4), ({}, 0.5)]
    ):
        place = tmp_path / str(k)
        make_run(place / "run")
        (place / "run" / "metrics.json").write_text(json.dumps(proof))
        beginning(place, **terms)
        assert price(place) == pytest.approx(expected)
    make_run(tmp_path / "x" / "run", price=None)
    with pytest.raises(
        ConfigError, match=r"campaigns\.spring\.price: is missing, and the run has none\. Give the price"
    ):
        beginning(tmp_path / "x")
    (tmp_path / "x" / "run" / "metrics.json").write_text("[]")
    with pytest.raises(StoreError, match="is no proof of a run"):
        beginning(tmp_path / "x", units=10.0)


def test_a_campaign_begins_once_and_changes_after(tmp_path: Path):
    make_run(tmp_path / "run")
    (sentence,) = beginning(tmp_path)
    assert (
        "decides among none, coupon, gift; budget 1,000, of which 0 is spent and 0 reserved; until 2100-01-02"
        in sentence
    )
    assert "budget 2,000" in beginning(tmp_path, budget=2000.0, price=9.0)[0]
    assert price(tmp_path) == 0.5, "the first price counts once"
    with pytest.raises(DataError, match="holdout == 0.5: is 0.02 in the started campaign and cannot change"):
        beginning(tmp_path, holdout=0.5)


def test_nothing_begins_without_a_key_or_a_run(tmp_path: Path):
    with pytest.raises(StoreError, match=r"policy\.json: no such file"):
        beginning(tmp_path)
    assert not (tmp_path / "l.db").exists()
    make_run(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"the store has no key, so nobody could ask\. Create one"):
        beginning(tmp_path, keys=True)
    with Ledger.open(f"sqlite:///{tmp_path}/l.db") as ledger:
        with pytest.raises(DataError):
            ledger.status("spring")
        create_key(ledger.engine, "decide")
    assert beginning(tmp_path, keys=True)
