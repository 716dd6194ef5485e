"""The files of a configuration are read alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from largesse.commands.campaign import task_of
from largesse.commands.check import soundness
from largesse.commands.load import OF_PAST, OF_TRIAL, id_like, in_toml, load_rows
from largesse.config import parse
from largesse.errors import ConfigError, DataError


def trial(n: int = 400, seed: int = 0, **columns: Any) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    arm = rng.choice(["control", "5"], n)
    return pd.DataFrame(
        {"arm": arm, "y": rng.integers(0, 2, n), "spent": 5.0 * (arm == "5"), "age": rng.normal(size=n)} | columns
    )


def config(folder: Path, **columns: str) -> Any:
    more = "".join(f'{role} = "{name}"\n' for role, name in columns.items())
    data = f'[data]\nrct = "{folder}/a.parquet"\nobs = "{folder}/b.parquet"\n'
    return parse(f'{data}[columns]\ntreatment = "arm"\nvalue = "y"\ncost = "spent"\n{more}')


def category(values: Any) -> Any:
    return pd.Series(values).astype("category")


N = 400
PAIRS = {
    "category and text": (category(["a", "b"] * 200), ["a", "b"] * 200),
    "category of numbers and numbers": (category([1, 2] * 200), [1, 2] * 200),
    "bool and 0/1": (np.arange(N) % 2 == 0, np.arange(N) % 2),
    "whole floats and integers": (np.arange(N) % 3 * 1.0, np.arange(N) % 3),
    "nothing and numbers": ([None] * N, np.arange(N) % 3),
}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_a_feature_of_two_types_is_read_alike(tmp_path: Path, pair: Any, turned: bool):
    first, second = pair[::-1] if turned else pair
    trial(z=first).to_parquet(tmp_path / "a.parquet")
    trial(seed=1, z=second).to_parquet(tmp_path / "b.parquet")
    rows = load_rows(config(tmp_path))
    assert rows.obs is not None
    assert rows.rct.features == rows.obs.features
    if "nothing" not in str(pair) and None not in list(first) + list(second):
        np.testing.assert_array_equal(rows.rct.x[:, 1:].sum(0), rows.obs.x[:, 1:].sum(0))


def test_a_feature_that_is_text_in_one_file_and_a_number_in_the_other_is_refused(tmp_path: Path):
    trial(z=["a", "b"] * 200).to_parquet(tmp_path / "a.parquet")
    trial(z=[1, 2] * 200).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(ConfigError, match="another type"):
        load_rows(config(tmp_path))


@pytest.mark.parametrize(
    ("cells", "roles", "words"),
    [
        ({"spent": -1.0}, {}, r"^spent\[0\] == -1.0: must be >= 0 .*\(`columns\.cost = 'spent'`\)"),
        ({"spent": 1.0}, {}, r"set `design\.control_cost = true`\. \(`columns\.cost = 'spent'`\)"),
        ({"arm": ["x", "y"] * 200}, {}, r"Name it in `columns\.control`\."),
        ({}, {"unit": "user"}, r"^column 'user': not in the table.*\(`columns\.unit = 'user'`\)"),
        ({"p": np.linspace(0.1, 0.9, N)}, {"propensity": "p"}, r"set `design\.stratified = true` and keep this column"),
    ],
)
def test_errors_name_the_fields_of_the_configuration(tmp_path: Path, cells: Any, roles: Any, words: str):
    trial(**cells).to_parquet(tmp_path / "a.parquet")
    trial(seed=1).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match=words) as refusal:
        load_rows(config(tmp_path, **roles))
    assert "data.rct" in refusal.value.__notes__[0]


def test_the_probabilities_of_past_campaign_data_have_a_field_of_their_own():
    message = "p[0] == 0.0: must be in (0, 1]. (`propensity='p'`)"
    assert in_toml(message, OF_PAST).endswith("(`design.obs_propensity_column = 'p'`)")
    assert in_toml(message, OF_TRIAL).endswith("(`columns.propensity = 'p'`)")
    assert in_toml("`x=1` and `like=` stay", OF_TRIAL) == "`x=1` and `like=` stay"


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (
            'cost = "per_contact"\namounts = {"5" = 9.0}',
            r"^outcome\.cost == 'per_contact': .*set `outcome\.cost = 'learned'`",
        ),
        (
            'cost = "per_contact"\namounts = {"6" = 5.0}',
            r"^outcome\.amounts == \{'6': 5\.0\}: needs one number for each of",
        ),
        ('value = "bernoulli"', r"^y\[\d\] == 2\.0: does not fit the family 'bernoulli'.*\(`columns\.value = 'y'`\)"),
    ],
)
def test_errors_about_the_outcome_name_its_fields(tmp_path: Path, outcome: str, words: str):
    trial(y=np.arange(N) % 3).to_parquet(tmp_path / "a.parquet")
    text = (
        f'[data]\nrct = "{tmp_path}/a.parquet"\n[columns]\ntreatment = "arm"\nvalue = "y"\ncost = "spent"\n[outcome]\n'
    )
    with pytest.raises(DataError, match=words):
        load_rows(parse(text + outcome))


ALL: dict[str, Any] = {
    "customer": [f"c{k}" for k in range(N)],
    "row": np.arange(N),
    "order_id": np.random.default_rng(0).permutation(10**6)[:N],
    "visits": np.random.default_rng(0).permutation(10**6)[:N],
    "town": ["a", "b"] * 200,
    "spend": np.random.default_rng(0).random(N),
}


def test_columns_that_look_like_ids():
    table = pa.table(ALL)
    assert id_like(table, list(ALL)) == ("customer", "row", "order_id")
    assert id_like(table.slice(0, 20), list(ALL)) == ()


def test_check_says_that_a_feature_looks_like_an_id(tmp_path: Path):
    trial(customer_id=np.random.default_rng(1).permutation(N)).to_parquet(tmp_path / "a.parquet")
    trial(seed=1, customer_id=np.arange(N)).to_parquet(tmp_path / "b.parquet")
    settings = config(tmp_path)
    rows = load_rows(settings)
    found = soundness(settings, rows, lambda: task_of(settings, rows))
    assert "'customer_id': every row has its own value" in found["features like ids"].sentence
    settings = config(tmp_path, unit="customer_id")
    rows = load_rows(settings)
    assert "features like ids" not in [one.name for one in soundness(settings, rows, lambda: task_of(settings, rows))]
