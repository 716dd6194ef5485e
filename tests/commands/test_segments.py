"""The report says who gets what and what that brings, by column and by segments of a tree."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from largesse import frames
from largesse.commands.findings.segments import grouped
from largesse.commands.fit import Run, fit
from largesse.config import parse
from largesse.errors import DataError
from largesse.frames.encoder import Encoder
from tests.common.campaigns import TEXT, table

CAMPAIGN = TEXT.format(more="folds = 2") + "[outcome]\nvalue_per_unit = 10\n[report]\nsegments = {wanted}\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("segments")
    rows = table(3000, 1)
    label = pa.array(["<b>x</b>" if k % 2 else "plain" for k in range(3000)])
    frames.write(rows.append_column("tag", label), folder / "trial.parquet")
    return folder


@pytest.fixture(scope="module")
def run(place: Path) -> Run:
    return fit(parse(CAMPAIGN.format(wanted='["tag", "city"]'), folder=place), folder=place / "run")


def test_columns_that_are_asked_for_are_shown_and_add_up(run: Run):
    shown = {one["title"]: one for one in run.metrics["segments_by_column"]}
    assert {"tag", "city"} <= set(shown)
    assert {row["name"] for row in shown["city"]["rows"]} == {"north", "south", "east"}
    lead = run.metrics["lead"]["budget"]
    (whole,) = [r for r in run.metrics["returns"]["rows"] if (r["name"], r["budget"]) == ("policy", lead)]
    for one in shown.values():
        assert sum(row["share"] for row in one["rows"]) == pytest.approx(1)
        for name in ("value", "spend", "net"):
            assert sum(row["share"] * row[name] for row in one["rows"]) == pytest.approx(whole[name])


def test_a_segment_by_hand_from_the_rows_of_the_proof(run: Run, place: Path):
    proof = pd.read_parquet(run.folder / "proof.parquet").merge(
        frames.read(place / "trial.parquet").to_pandas(), on="user"
    )
    k = run.metrics["budgets_per_head"].index(run.metrics["lead"]["budget"]) + 1
    own = proof[proof.city == "north"]
    part = (own[f"counts_{k}"] - (own.treatment == "0")) / own.propensity
    (shown,) = [one for one in run.metrics["segments_by_column"] if one["title"] == "city"]
    (row,) = [row for row in shown["rows"] if row["name"] == "north"]
    assert row["net"] == pytest.approx((part * (10 * own.value - own.cost)).sum() / len(own))
    assert row["given"][0] == pytest.approx((own[f"decision_{k}"] == "0").mean())


def test_the_page_shows_the_segments_and_escapes_labels(run: Run):
    html = (run.folder / "report.html").read_text()
    assert "Who gets what, and what that brings" in html
    assert "A tree proposed these segments" in html
    assert "By tag" in html
    assert "&lt;b&gt;x&lt;/b&gt;" in html
    assert "A tree proposed these segments" in re.sub(r"\\", "", (run.folder / "summary.md").read_text())


@pytest.mark.parametrize(("wanted", "words"), [
    ('["ciyt"]', r"report.segments == 'ciyt': no feature .*'city'"),
    ('["note"]', r"report.segments == 'note': no feature"),
])  # fmt: skip
def test_columns_that_are_no_features_are_refused_before_any_work(place: Path, wanted: str, words: str):
    stages: list[str] = []
    with pytest.raises(DataError, match=words):
        fit(
            parse(CAMPAIGN.format(wanted=wanted), folder=place),
            folder=place / "no",
            say=lambda stage, _: stages.append(stage),
        )
    assert stages == ["reading"]
    assert not (place / "no").exists()


def test_groups_of_every_kind_of_column():
    n = 400
    rng = np.random.default_rng(0)
    day = np.datetime64("2026-01-01") + rng.integers(0, 100, n)
    data = pa.table({
        "vip": pa.array(rng.random(n) < 0.5), "size": [float(k % 3) for k in range(n)],
        "age": pa.array([None if k % 10 == 0 else float(20 + k % 60) for k in range(n)]), "day": pa.array(day),
        "city": pa.array([None if k % 20 == 0 else ("north", "south")[k % 2] for k in range(n)]),
        "shop": [f"s{k % 25}" for k in range(n)],
    })  # fmt: skip
    encoder = Encoder.fit(data, data.column_names)
    made = {one.column: one for one in grouped(encoder, encoder.transform(data))}
    assert made["vip"].names == ("no", "yes")
    assert made["size"].names == ("0", "1", "2")
    assert made["age"].names[-1] == "missing"
    assert len(made["age"].names) == 5
    assert all(re.fullmatch(r"2026-\d\d-\d\d to 2026-\d\d-\d\d", name) for name in made["day"].names)
    assert set(made["city"].names) == {"north", "south", "missing"}
    assert len(made["shop"].names) == 9
    assert made["shop"].names[-1] == "all others"
    frame = data.to_pandas()
    labels = {
        "vip": np.where(frame.vip, "yes", "no"), "size": frame["size"].astype(int).astype(str),
        "city": frame.city.fillna("missing"),
    }  # fmt: skip
    for name, label in labels.items():
        assert (np.array(made[name].names)[made[name].code] == np.asarray(label)).all()
    ages = np.array(made["age"].names)[made["age"].code]
    assert ((ages == "missing") == frame.age.isna()).all()
