"""Who gets what, by group: against a data frame that is grouped by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from largesse import frames
from largesse.commands.studio.population import Population
from largesse.commands.studio.who import Who
from largesse.errors import DataError
from tests.common.studios import made_run, made_units


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Population:
    place = tmp_path_factory.mktemp("who")
    made_run(place)
    table = frames.read(made_units(place))
    rng = np.random.default_rng(0)
    table = table.append_column("many", pa.array([f"m{k}" for k in rng.geometric(0.05, table.num_rows)]))
    table = table.append_column("new", pa.array(rng.random(table.num_rows) < 0.3))
    table = table.append_column("day", pa.array(np.datetime64("2026-01-01") + rng.integers(0, 90, table.num_rows)))
    frames.write(table, place / "units.parquet")
    return Population.open(place / "spring", place / "units.parquet")


def by_hand(units: Population, price: float) -> pd.DataFrame:
    value, cost = units.menu.value.astype(float), units.menu.cost.astype(float)
    gets = [
        min(range(value.shape[1]), key=lambda j: (-(v[j] - price * c[j]), c[j]))
        for v, c in zip(value, cost, strict=True)
    ]
    at = np.arange(units.n)
    data = units.table.columns(list(units.table.names)).to_pandas()
    return data.assign(gets=gets, value=value[at, gets] - value[:, 0], cost=cost[at, gets] - cost[:, 0])


def test_groups_are_those_of_the_column(units: Population) -> None:
    who, price, other = Who(units), 0.15, 0.3
    now, then = by_hand(units, price), by_hand(units, other)
    got = {one.name: one for one in who.groups("city", price, other)}
    assert set(got) == set(now.city)
    for name, rows in now.groupby("city"):
        one, others = got[str(name)], then.loc[rows.index]
        assert one.n == len(rows)
        assert one.counts == tuple(np.bincount(rows.gets, minlength=3))
        assert (one.value, one.cost) == pytest.approx((rows.value.sum(), rows.cost.sum()), rel=1e-5)
        assert one.moved == (rows.gets != others.gets).sum()
        assert (one.other_value, one.other_cost) == pytest.approx((others.value.sum(), others.cost.sum()), rel=1e-5)


def test_units_can_be_limited_to_groups_of_other_columns(units: Population) -> None:
    who, rows = Who(units), by_hand(units, 0.15)
    got = who.groups("city", 0.15, within={"new": "true"})
    picked = rows[rows.new]
    assert {one.name: one.n for one in got} == picked.city.value_counts().to_dict()
    both = who.groups("city", 0.15, within={"new": "true", "city": "north"})
    assert [(one.name, one.n) for one in both] == [("north", int((picked.city == "north").sum()))]


def test_numbers_are_parted_and_missing_ones_are_a_group(units: Population) -> None:
    who, rows = Who(units), by_hand(units, 0.15)
    got = who.groups("age", 0.15)
    assert got[-1].name == "missing"
    assert got[-1].n == rows.age.isna().sum()
    assert sum(one.n for one in got) == units.n
    assert len(got) == 6
    sizes = [one.n for one in who.groups("f0", 0.15)]
    assert max(sizes) - min(sizes) < 0.02 * units.n  # fifths
    days = who.groups("day", 0.15)
    assert days[0].name.startswith("2026-01-01 to ")


def test_of_many_words_the_rarest_share_a_group(units: Population) -> None:
    rows = by_hand(units, 0.15)
    got = Who(units).groups("many", 0.15)
    assert got[-1].name == "all others"
    sizes = rows.many.value_counts()
    assert [one.n for one in got[:-1]] == sizes.head(23).tolist()
    assert got[-1].n == sizes.iloc[23:].sum()


def test_unknown_names_are_refused(units: Population) -> None:
    who = Who(units)
    assert "user" not in who.columns
    with pytest.raises(DataError, match="citty"):
        who.groups("citty", 0.1)
    with pytest.raises(DataError, match="west"):
        who.groups("age", 0.1, within={"city": "west"})
