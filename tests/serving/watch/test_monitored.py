"""The monitor over a ledger: what it reads, what it names, and that it agrees with the rows of the trial."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'serve' is not installed")

from largesse.errors import DataError
from largesse.serving import Campaign, Ledger, Outcome, monitor, trial_rows
from largesse.serving.ledger.accounts import terms_of
from largesse.serving.ledger.log import row_of
from largesse.serving.ledger.terms import Written
from largesse.serving.watch.features import Spread, write_spreads
from largesse.serving.watch.lookup import expected_decisions
from tests.common.ledgers import NAMES, Clock
from tests.common.served import make_run

NORTH = ("south", "north")
DAY, START = 86_400.0, 20_000 * 86_400.0
SPREADS = (
    Spread("age", False, (30.0, 50.0), (), (0.3, 0.4, 0.3, 0.0), 5_000),
    Spread("city", True, (), ("north", "south"), (0.5, 0.5, 0.0, 0.0), 5_000),
    Spread("since", False, (), (), (1.0, 0.0), 5_000),
)


def campaign(ledger: Ledger, clock: Clock, days: int = 12, n: int = 300, broken: int = 99, **changes: Any) -> None:
    """Decides, and reports outcomes a day later; from day `broken` on the age is missing."""
    terms = {
        "budget": 4_000.0,
        "until": START + 20 * DAY,
        "price": 0.1,
        "holdout": 0.1,
        "explore": 0.2,
        "matures": 2 * DAY,
    }
    ledger.start(Campaign(name="c", treatments=NAMES, **{**terms, **changes}))
    rng, late = np.random.default_rng(6), list[list[Outcome]]()
    for day in range(days):
        clock.now = START + (day + 0.5) * DAY
        x = rng.random(n)
        value = np.column_stack([0.2 + 0.1 * x, 0.4 + 0.1 * x, 0.3 + 0.5 * x])
        cost = np.tile([0.0, 1.0, 2.0], (n, 1))
        features = [
            Written(json.dumps({
                "age": None if day >= broken else 20 + 40 * float(u), "city": NORTH[k % 2], "since": "2026-01-01",
            })) for k, u in enumerate(rng.random(n))
        ]  # fmt: skip
        units = [f"u{day}-{k}" for k in range(n)]
        got = ledger.decide_many("c", units, value=value, cost=cost, version="spring-1", features=features)
        codes = np.array([NAMES.index(name) for name in got.treatment])
        order = rng.random(n) < value[np.arange(n), codes]
        late.append([
            Outcome(name, f"o{name}", cost=float(cost[k, code]), value=float(order[k]))
            for k, (name, code) in enumerate(zip(got.id, codes.tolist(), strict=True)) if order[k] or code
        ])  # fmt: skip
        if day:
            ledger.outcomes(late[day - 1])
        ledger.expire()
    clock.now = START + days * DAY


@pytest.fixture
def clock() -> Clock:
    return Clock(START)


@pytest.fixture
def ledger(store: str, clock: Clock) -> Any:
    with Ledger.open(store, clock=clock) as opened:
        yield opened


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = make_run(tmp_path_factory.mktemp("run") / "spring")
    write_spreads(place, SPREADS)
    return place


def test_it_agrees_with_the_rows_of_the_trial(ledger, clock):
    campaign(ledger, clock)
    done = monitor(ledger, "c", value_per_unit=4.0)
    rows = pa.Table.from_batches(list(trial_rows(ledger, "c"))).to_pandas()
    held = rows.kind == "holdout"
    lift = next(one for one in done.signals if one.name == "value per unit, beyond the holdout")
    assert lift.rests_on == len(rows) == 10 * 300
    assert lift.number == pytest.approx(rows.value[~held].mean() - rows.value[held].mean(), rel=0.02)
    assert done.status.decided == sum(done.day_decisions.values()) == 3_600
    assert done.day_spend.keys() == done.day_decisions.keys()
    assert next(iter(done.day_decisions)) == "2024-10-04"
    assert sum(done.day_spend.values()) == pytest.approx(done.status.spent)
    assert not [one for one in done.alarms if one.group != "running"]
    assert "folder of the run is not here" in done.not_watched[0]


def test_a_broken_feature_is_named_on_its_day(ledger, clock, run):
    campaign(ledger, clock, broken=7)
    done = monitor(ledger, "c", run=run)
    drift = {one.about: one for one in done.signals if one.name == "drift (PSI)"}
    assert (drift["age"].state, drift["age"].first_bad_day) == ("alarm", "2024-10-11")
    assert "missing: 100.0% of a day, 0.0% of the trial" in drift["age"].next_step
    assert drift["city"].state == drift["since"].state == "fine"


def test_without_holdout_and_exploration(ledger, clock, run):
    campaign(ledger, clock, days=4, holdout=0.0, explore=0.0)
    done = monitor(ledger, "c", run=run)
    words = " ".join(done.not_watched)
    assert "no holdout" in words
    assert "nothing explores" in words
    assert "net value" in words
    assert {one.group for one in done.signals} == {"trust", "model", "running"}


def test_intervals_of_all_days_are_tuned_alike(ledger, clock):
    """To the decisions of the first day times the days, whatever comes later; or to what is declared."""
    campaign(ledger, clock, days=3)
    row = row_of(ledger, "c")
    own = terms_of(row.settings).campaign
    assert expected_decisions(ledger, row, own) == pytest.approx(300 * 20)
    clock.now = START + 5.5 * DAY
    ledger.decide_many("c", range(900), value=np.tile([0.0, 1, 2], (900, 1)), cost=np.tile([0.0, 1, 2], (900, 1)))
    assert expected_decisions(ledger, row_of(ledger, "c"), own) == pytest.approx(300 * 20)
    assert expected_decisions(ledger, row, replace(own, units=77.0)) == 77


def test_an_empty_campaign(ledger, clock):
    ledger.start(Campaign(name="c", treatments=NAMES, budget=10.0, until=START + 9 * DAY, price=1.0))
    clock.now = START + DAY
    done = monitor(ledger, "c")
    assert {one.state for one in done.signals} <= {"too early", "fine"}
    assert done.day_spend == {}


def test_erased_units_leave_the_menus_out_and_the_money_right(ledger, clock):
    campaign(ledger, clock, days=5)
    before = monitor(ledger, "c")
    for k in range(50):
        ledger.erase(f"u0-{k}")
    after = monitor(ledger, "c")
    assert after.day_spend == before.day_spend
    pairs = [(a, b) for a, b in zip(before.signals, after.signals, strict=True) if a.name.startswith("value against")]
    assert sum(a.rests_on - b.rests_on for a, b in pairs) == 50
    assert before.signals[0] == after.signals[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tolerance": 0.0}, "tolerance == 0.0: must be"),
        ({"tolerance": 1.0}, "tolerance == 1.0: must be"),
        ({"oldest": -1}, "oldest == -1: must be"),
        ({"value_per_unit": 0}, "value_per_unit == 0: must be"),
    ],
)
def test_refusals(ledger, options, words):
    ledger.start(Campaign(name="c", treatments=NAMES, budget=10.0, until=START + 9 * DAY, price=1.0))
    with pytest.raises(DataError, match=words):
        monitor(ledger, "c", **options)
    with pytest.raises(DataError, match="campaign == 'd': is not in this ledger"):
        monitor(ledger, "d")
