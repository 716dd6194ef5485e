"""How features are spread, against counts by hand; and how often nothing is taken for a drift."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from largesse.errors import StoreError
from largesse.frames import Encoder
from largesse.serving.watch.features import DRIFT, FEATURES, Spread, read_spreads, spreads, stability, write_spreads

N = 1_000
RNG = np.random.default_rng(4)
AGE = [None if k % 10 == 0 else float(k % 70) + 0.1 for k in range(N)]
CITY = [("north", "south", None)[k % 3] if k else "rare" for k in range(N)]
VIP = [k % 4 == 0 for k in range(N)]
TABLE = pa.table({"age": AGE, "city": CITY, "vip": VIP, "spend": RNG.exponential(size=N)})
NAMES = ["age", "city", "vip", "spend"]


@pytest.fixture(scope="module")
def known() -> dict[str, Spread]:
    encoder = Encoder.fit(TABLE, NAMES)
    return {one.name: one for one in spreads(encoder, encoder.transform(TABLE))}


def test_text_is_counted_by_label(known):
    city = known["city"]
    assert city.bins == ("'north'", "'south'", "another label", "missing")
    assert city.shares == pytest.approx((0.333, 0.333, 0.001, 0.333), abs=1e-6)
    assert city.counts(["north", None, "mars", "north"]).tolist() == [2, 0, 1, 1]


def test_few_different_numbers_have_a_bin_each(known):
    vip = known["vip"]
    assert (vip.edges, vip.shares) == ((0.5,), pytest.approx((0.75, 0.25, 0.0)))
    assert vip.bins == ("below 0.5", "from 0.5", "missing")


@pytest.mark.parametrize("name", ["age", "spend", "vip"])
def test_the_shares_are_those_of_the_raw_cells(known, name):
    """The encoder rounds numbers to single precision; a cell never changes its bin by that."""
    raw = np.array([np.nan if cell is None else cell for cell in TABLE[name].to_pylist()], float)
    assert known[name].counts(raw) / N == pytest.approx(known[name].shares, abs=1e-9)
    assert len(known[name].edges) <= 10
    assert known[name].rows == N


def test_a_column_that_varies_by_missing_cells_only():
    table = pa.table({"a": [1.0 if k % 2 else None for k in range(100)], "b": list(range(100))})
    encoder = Encoder.fit(table, ["a", "b"])
    one = spreads(encoder, encoder.transform(table))[0]
    assert (one.bins, one.shares) == (("any number", "missing"), (0.5, 0.5))
    assert one.counts([7.0, np.nan, 1.0]).tolist() == [2, 1]


def test_the_index_by_hand():
    spread = Spread("age", False, (40.0,), (), (0.6, 0.4, 0.0), 10**9)
    a, b = np.array([0.2, 0.8]), np.array([0.6, 0.4])
    worst = stability(spread, np.array([200_000, 800_000, 0]), 1e-4)
    assert worst.psi == pytest.approx(float(((a - b) * np.log(a / b)).sum()), rel=1e-4)
    assert (worst.bin, worst.now, worst.then, worst.threshold) == ("below 40", 0.2, 0.6, DRIFT)


def test_a_small_day_is_not_taken_for_a_drift():
    """The index of a day from the same population is above its threshold with the stated probability."""
    rng, shares, rows, n, alpha = np.random.default_rng(5), np.full(10, 0.1), 2_000, 60, 0.05
    above = []
    for _ in range(2_000):
        then = rng.multinomial(rows, shares) / rows
        spread = Spread("x", False, tuple(range(9)), (), (*then.tolist(), 0.0), rows)
        got = stability(spread, np.append(rng.multinomial(n, shares), 0), alpha)
        assert got.threshold == pytest.approx(stats.chi2.isf(alpha, 9) * (1 / n + 1 / rows))
        above.append(got.psi > got.threshold)
    assert np.mean(above) == pytest.approx(alpha, abs=0.02)


def test_a_label_that_was_never_there(known):
    worst = stability(known["city"], known["city"].counts(["venus"] * 300 + ["north", "south", None] * 100), 1e-6)
    assert worst.psi > worst.threshold
    assert (worst.bin, worst.now) == ("another label", 0.5)


def test_they_are_kept_in_the_run(known, tmp_path):
    assert read_spreads(tmp_path) == ()
    write_spreads(tmp_path, list(known.values()))
    assert read_spreads(tmp_path) == tuple(known.values())


@pytest.mark.parametrize("damage", ["{", "[]", '{"features": [{"name": "a"}]}', '{"features": 3}'])
def test_a_damaged_file(tmp_path, damage):
    (tmp_path / FEATURES).write_text(damage)
    with pytest.raises(StoreError, match=r"features\.json: is damaged .*Copy the whole run folder again"):
        read_spreads(tmp_path)


def test_a_file_whose_numbers_do_not_fit(known, tmp_path):
    write_spreads(tmp_path, list(known.values()))
    content = json.loads((tmp_path / FEATURES).read_text())
    content["features"][0]["shares"].pop()
    (tmp_path / FEATURES).write_text(json.dumps(content))
    with pytest.raises(StoreError, match="is damaged"):
        read_spreads(tmp_path)
