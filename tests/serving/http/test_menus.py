"""The menu of a server is that of the policy, cell by cell; why a treatment is chosen is what trying all prices shows."""

from __future__ import annotations

import random
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from largesse.errors import SchemaError, StoreError
from tests.common.served import COST, VALUE, make_run

from largesse.serving.http.menus import Loaded, load_run, why, whys  # isort: skip
from largesse.serving.policy import ServedPolicy  # isort: skip


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    return load_run(make_run(tmp_path / "spring"))


CELLS: dict[str, list[Any]] = {
    "age": [40, 40.5, None, True, -3, 2**70, 0.0, float("nan")],
    "city": ["north", " north ", "south", None, "", "north"],
    "since": ["2026-05-01", "2026-05-01T12:00:00Z", None, 20_000, 20_000.5, date(2026, 5, 1)],
}


def test_one_row_and_many_have_the_menu_of_the_policy(loaded: Loaded):
    rng = random.Random(1)
    units = [{name: rng.choice(cells) for name, cells in CELLS.items()} | {"more": "x"} for _ in range(300)]
    value, cost = loaded.menus([loaded.row(one) for one in units])
    for one, v, c in zip(units, value, cost, strict=True):
        age = 0.0 if one["age"] is None or one["age"] != one["age"] else float(one["age"])
        away = 0.0 if isinstance(one["city"], str) and one["city"].strip() == "north" else 1.0
        expected = [age * VALUE[0] / 40, age * VALUE[1] / 40, age * VALUE[2] / 40 + away]
        assert v == pytest.approx(expected)
        assert c == list(COST)
    alone = [loaded.menus([loaded.row(one)])[0][0] for one in units[:20]]
    assert np.allclose(alone, value[:20], rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"age": "old"}, "age == 'old': the policy learned from number"), ({"age": 10**400}, "age == 1000"),
     ({"city": 3}, "city == 3: the policy learned from text"), ({"since": "2026-02-30"}, "since == '2026-02-30': is no date"),
     ({"age": [1]}, "age"), ({"since": "yesterday"}, "since == 'yesterday'")],
)  # fmt: skip
def test_other_cells_are_refused(loaded: Loaded, change: dict[str, Any], words: str):
    with pytest.raises(SchemaError, match=words):
        loaded.row({"age": 40, "city": "north", "since": None} | change)


@pytest.mark.parametrize("name", ["age", "city", "since"])
def test_a_missing_column_is_refused(loaded: Loaded, name: str):
    cells = {k: cell for k, cell in (("age", 40), ("city", "north"), ("since", None)) if k != name}
    with pytest.raises(SchemaError, match=f"column '{name}': missing"):
        loaded.row(cells)


def test_a_menu_that_no_campaign_may_have_is_an_error(loaded: Loaded):
    with pytest.raises(StoreError, match="not finite"):
        loaded.menus([loaded.row({"age": 1e308 * 10, "city": "north", "since": None})])


def test_the_version_is_that_of_the_files(tmp_path: Path):
    one, two = load_run(make_run(tmp_path / "spring")), load_run(make_run(tmp_path / "a" / "spring", price=0.4))
    assert one.version.startswith("spring-")
    assert len(one.version) == len("spring-") + 10
    assert one.version != two.version
    assert load_run(tmp_path / "spring").version == one.version
    assert isinstance(one.policy, ServedPolicy)


def chosen(value: list[float], cost: list[float], price: float, codes: list[int]) -> int:
    """The argmax of value - price · cost, ties to the cheaper, by trying all."""
    return max(codes, key=lambda j: (round(value[j] - price * cost[j], 12), -cost[j], value[j]))


def test_why_is_what_trying_all_prices_shows():
    rng = random.Random(3)
    names = ("a", "b", "c", "d")
    for _ in range(300):
        value, cost = [rng.randint(0, 40) / 4 for _ in names], [0.0, *(rng.randint(1, 30) / 2 for _ in names[1:])]
        codes = sorted({0, *rng.sample(range(4), rng.randint(1, 3))})
        price = rng.randint(1, 60) / 37
        got = why(value, cost, price, codes, names)
        best = names.index(got.treatment)
        assert value[best] - price * cost[best] == pytest.approx(max(value[j] - price * cost[j] for j in codes))
        nets = sorted((value[j] - price * cost[j] for j in codes), reverse=True)
        if len(codes) == 1:
            assert got.runner_up is got.margin is got.switch_price is None
            continue
        assert got.margin == pytest.approx(nets[0] - nets[1], abs=1e-9)
        # Every price at which two treatments are equal, and the choice on both sides of it.
        edges = sorted(
            {(value[i] - value[j]) / (cost[i] - cost[j]) for i in codes for j in codes if cost[i] != cost[j]}
        )
        changes = [
            p for p in edges if p >= 0
            and (chosen(value, cost, p - 1e-7, codes) == best or p < 1e-7) != (chosen(value, cost, p + 1e-7, codes) == best)
        ]  # fmt: skip
        if changes:
            nearest = min(abs(p - price) for p in changes)
            assert got.switch_price is not None
            assert abs(got.switch_price - price) == pytest.approx(nearest, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_the_reasons_of_many_are_those_of_each(seed):
    rng = np.random.default_rng(seed)
    n, m = 300, int(rng.integers(2, 6))
    value = rng.integers(-1, 4, (n, m)).astype(float)  # with ties
    cost = np.column_stack([np.zeros(n), rng.integers(0, 4, (n, m - 1))])
    price = rng.choice([0.0, 0.5, 1.0, 2.0], n)
    names = [f"t{j}" for j in range(m)]
    many = whys(value, cost, price, names)
    for i in range(n):
        assert many[i] == why(value[i].tolist(), cost[i].tolist(), price[i], range(m), names), (
            value[i],
            cost[i],
            price[i],
        )
