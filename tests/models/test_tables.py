"""Models that are fitted on rows of `largesse.read` predict for tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone

import largesse
from largesse import Boosting, Calibrated, Logs, Menu, Policy
from largesse.errors import DataError, NotFittedError, SchemaError

N = 400


def trial(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age, arm = rng.integers(20, 60, N).astype(float), rng.integers(0, 3, N)
    city = np.array(["north", "south", "east"])[rng.integers(0, 3, N)]
    orders = (rng.random(N) < 0.2 + 0.2 * arm * (city == "north")).astype(int)
    return pd.DataFrame(
        {"user": np.arange(N), "age": age, "city": city, "arm": 5 * arm, "orders": orders, "spent": 5.0 * arm * orders}
    )


def rows(**changes: Any) -> Logs:
    return largesse.read(trial(), **{"treatment": "arm", "value": "orders", "cost": "spent", "unit": "user"} | changes)


@pytest.fixture(scope="module")
def model() -> Boosting:
    return Boosting(rounds=5).fit(rows())


def same(one: Menu, other: Menu) -> None:
    np.testing.assert_array_equal(one.value, other.value)
    np.testing.assert_array_equal(one.cost, other.cost)
    assert one.treatments == other.treatments


def test_a_table_is_encoded_as_the_rows_of_the_fit(model: Boosting, tmp_path: Path) -> None:
    frame, x = trial(), rows().x
    expected = model.predict(x)
    frame.to_csv(tmp_path / "users.csv", index=False)
    carriers: list[Any] = [frame, pl.from_pandas(frame), frame.to_dict("list"), tmp_path / "users.csv", rows()]
    for carrier in carriers:
        menu = model.predict(carrier)
        same(menu, expected)
        assert menu.unit is not None
        assert menu.unit.tolist() == list(range(N))
    assert expected.unit is None
    np.testing.assert_array_equal(model.predict_response(frame).value, model.predict_response(x).value)


def test_only_the_features_are_needed_and_other_columns_do_not_matter(model: Boosting) -> None:
    frame = trial()
    menu = model.predict(frame[["city", "age"]].assign(note="x"))
    same(menu, model.predict(rows().x))
    assert menu.unit is None


def test_an_unseen_category_counts_as_none_of_the_known(model: Boosting) -> None:
    frame = trial().head(1)
    x = rows().x[:1].copy()
    x[:, [name.startswith("city") for name in rows().features]] = 0
    same(model.predict(frame.assign(city="west")), model.predict(x))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda frame: frame.drop(columns="age"), r"^column 'age': not in the table.*the encoder was fitted with them"),
        (lambda frame: frame.assign(age="old"), r"^column 'age': holds text .*it held number in training"),
        (lambda frame: frame.assign(city=1.5), r"^column 'city': holds number .*it held text in training"),
        (lambda frame: frame.head(0), r"0 rows"),
        (lambda frame: frame.assign(user=None), r"^user\[0\] is missing: every row needs a unit id"),
    ],
)
def test_tables_that_do_not_fit_are_refused(model: Boosting, change: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        model.predict(change(trial()))


def test_arrays_stay_arrays(model: Boosting) -> None:
    by_arrays = Boosting(rounds=5).fit(
        Logs(**{name: getattr(rows(), name) for name in ("x", "treatment", "value", "cost", "treatments", "features")})
    )
    same(by_arrays.predict(rows().x), model.predict(rows().x))
    same(by_arrays.predict(rows().x.tolist()), model.predict(rows().x))
    same(by_arrays.predict(pd.DataFrame(rows().x)), model.predict(rows().x))
    for table in ("users.parquet", Path("users.parquet"), {"age": [1.0]}):
        with pytest.raises(SchemaError, match=r"^x: Boosting was fitted on arrays.*largesse\.read"):
            by_arrays.predict(table)
    with pytest.raises(DataError, match=r"largesse\.read does"):
        by_arrays.predict(trial())


def test_a_second_fit_forgets_the_first_encoder(model: Boosting) -> None:
    again = clone(model)
    with pytest.raises(NotFittedError, match="not fitted"):
        again.predict(trial())
    assert again.fit(rows(features=["age"])).predict(trial()[["age"]]).n == N
    plain = Logs(x=rows().x[:, :1], treatment=rows().treatment, value=rows().value, cost=rows().cost)
    assert again.fit(plain).encoder_ is None


def test_a_wrapper_predicts_for_tables_too() -> None:
    wrapped = Calibrated(base=Boosting(rounds=5)).fit(rows())
    same(wrapped.predict(trial()), wrapped.predict(rows().x))


def test_a_policy_takes_encoder_and_roles_from_its_rows(model: Boosting, tmp_path: Path) -> None:
    policy = Policy.calibrated(model, largesse.read(trial(1), like=rows()), draws=20)
    policy.save(tmp_path / "policy")
    loaded = Policy.load(tmp_path / "policy")
    for one in (policy, loaded):
        given = one.allocate(trial(), 100.0)
        same(one.menu(trial()), model.predict(trial()))
        assert given.plan.unit is not None
        assert given.plan.unit.tolist() == list(range(N))


def test_the_plan_of_a_table_names_its_units(model: Boosting) -> None:
    plan = largesse.solve(model.predict(trial()), 100.0)
    assert plan.to_frame()["unit"].tolist() == list(range(N))
