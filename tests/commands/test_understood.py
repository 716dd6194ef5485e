"""`check` and the report of `fit` say what was understood: rows, arms, control, features, units, and what is undeclared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from largesse.commands.campaign import task_of
from largesse.commands.check import soundness
from largesse.commands.findings.understood import Understood, understood
from largesse.commands.load import load_rows
from largesse.config import parse
from tests.common.shell import shell

N = 1200


def trial(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    arm = rng.choice(["control", "5 off for everybody who comes back"], N, p=[0.4, 0.6])
    given = arm != "control"
    return pd.DataFrame({
        "user": np.arange(N), "arm": arm, "orders": rng.poisson(0.5 + 0.2 * given), "spent": 5.0 * given,
        "age": rng.normal(40, 9, N), "city": rng.choice(list("abc"), N), "fixed": 7, "empty": np.nan,
        "token": [f"t{k}x" for k in range(N)], "labels": [f"l{k // 3}" for k in range(N)], "secret": rng.normal(size=N),
        "redeemed": (given & (rng.random(N) < 0.5)).astype(int), "spread": rng.normal(size=N) * (1 + given),
    })  # fmt: skip


def campaign(folder: Path, more: str = "", columns: str = "") -> str:
    trial().to_csv(folder / "trial.csv", index=False)
    roles = 'treatment = "arm"\nvalue = "orders"\ncost = "spent"\nunit = "user"\nignore = ["secret"]'
    return f'[data]\nrct = "{folder.as_posix()}/trial.csv"\n[columns]\n{roles}\n{columns}\n{more}'


def taken(folder: Path, more: str = "", columns: str = "") -> Understood:
    config = parse(campaign(folder, more, columns))
    rows = load_rows(config)
    return understood(config, rows, soundness(config, rows, lambda: task_of(config, rows)))


def test_arms_are_those_of_the_raw_rows(tmp_path: Path) -> None:
    arms = taken(tmp_path).arms
    raw = trial()
    assert [arm.treatment for arm in arms] == ["control", "5 off for everybody who comes back"]
    for arm in arms:
        own = raw[raw.arm == arm.treatment]
        assert (arm.rows, arm.share) == (len(own), pytest.approx(len(own) / N))
        assert (arm.value, arm.cost) == (pytest.approx(own.orders.mean()), pytest.approx(own.spent.mean()))


def test_weighted_means(tmp_path: Path) -> None:
    raw = trial()
    arms = taken(tmp_path, columns='weight = "age"').arms
    own = raw[raw.arm == "control"]
    assert arms[0].value == pytest.approx(np.average(own.orders, weights=own.age))


def test_every_column_is_a_feature_or_left_out_with_its_reason(tmp_path: Path) -> None:
    got = taken(tmp_path)
    assert got.features == ("age", "city", "redeemed", "spread")
    assert dict(got.left_out) == {
        "user": "is the unit", "arm": "is the treatment", "orders": "is the value", "spent": "is the cost",
        "fixed": "the same in every row", "empty": "every cell is missing",
        "token": "looks like an id: every row has its own",
        "labels": "text in which no two labels are frequent enough", "secret": "declared in columns.ignore",
    }  # fmt: skip
    assert {*got.features, *dict(got.left_out)} == {*trial().columns}


def test_declared_features(tmp_path: Path) -> None:
    got = taken(tmp_path, columns='features = ["age", "city"]')
    assert got.features == ("age", "city")
    assert dict(got.left_out)["spread"] == "not named in columns.features"


@pytest.mark.parametrize(
    ("columns", "why"),
    [("", "recognised by its label (not declared in columns.control)"),
     ('control = "control"', "declared in columns.control"),
     ('treatments = ["control", "5 off for everybody who comes back"]', "declared: the first of columns.treatments")],
)  # fmt: skip
def test_why_an_arm_is_control(tmp_path: Path, columns: str, why: str) -> None:
    assert taken(tmp_path, columns=columns).control == why


def test_features_measured_after_the_treatment_are_named(tmp_path: Path) -> None:
    reasons = dict(taken(tmp_path).suspects)
    assert set(reasons) == {"redeemed", "spread"}
    assert "differs between the arms by" in reasons["redeemed"]
    assert "its name suggests it" in reasons["redeemed"]
    assert reasons["spread"] == "its distribution differs between the arms"


def test_a_column_of_ids_is_not_measured_after_the_treatment(tmp_path: Path) -> None:
    """Numbers given arm by arm differ between the arms as much as anything can."""
    raw = trial().sort_values("arm", kind="stable").assign(order_id=np.arange(N), member=np.arange(N) * 7)
    raw = raw.assign(late=(raw.arm != "control") * 1).sample(frac=1, random_state=0)  # no longer in order
    text = campaign(tmp_path)
    raw.to_csv(tmp_path / "trial.csv", index=False)
    config = parse(text)
    rows = load_rows(config)
    assert "order_id" in rows.id_like
    named = dict(understood(config, rows, soundness(config, rows, lambda: task_of(config, rows))).suspects)
    assert "late" in named
    assert not {"order_id", "member"} & set(named)


def test_units_that_are_not_declared_are_asked_for(tmp_path: Path) -> None:
    lines = taken(tmp_path).undeclared
    assert [word in line for line, word in zip(lines, ("money_unit", "value_unit", "value_per_unit"), strict=True)] == [
        True
    ] * 3
    declared = '[report]\nmoney_unit = "EUR"\nvalue_unit = "orders"\n[outcome]\nvalue_per_unit = 10.0\nmargin = 0.5'
    got = taken(tmp_path, declared)
    assert got.undeclared == ()
    assert got.units["One of it brings"] == "5 EUR, after variable costs"


def run(folder: Path, *more: str) -> Any:
    (folder / "campaign.toml").write_text(campaign(folder), encoding="utf-8")
    return shell("check", str(folder / "campaign.toml"), *more, columns=80)


def test_check_prints_it_within_80_columns(tmp_path: Path) -> None:
    text = run(tmp_path).stdout
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for words in (
        "Arms of the trial",
        "5 off for everybody who comes back",
        "Columns left out",
        "money_unit",
        "spread",
    ):
        assert words in text


def test_check_as_json(tmp_path: Path) -> None:
    got = json.loads(run(tmp_path, "--json").stdout)["understood"]
    assert got["rows"] == {"of the trial": N}
    assert got["arms"][0]["treatment"] == "control"
    assert ["empty", "every cell is missing"] in got["left_out"]
