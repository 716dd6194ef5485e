"""What a run keeps of its proof gives the numbers of its report again, at its budgets and at any other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from largesse import frames
from largesse.commands.fit import fit
from largesse.commands.kept_proof import KEPT, KeptProof
from largesse.config import parse
from largesse.errors import StoreError
from largesse.evaluate import compare
from largesse.evaluate.comparison import BEST_MIX
from largesse.evaluate.paths import DecisionPath
from tests.common.campaigns import table
from tests.common.studios import TEXT, made_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_run(tmp_path_factory.mktemp("kept"))


def as_reported(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    proof = KeptProof.load(run)
    assert proof is not None
    again = compare(proof.logs, {"policy": proof.menu}, metrics["budgets_per_head"]).against(BEST_MIX)
    numbers = ("value", "low", "high", "spend", "difference", "difference_low", "difference_high", "events")
    rows = [row for row in metrics["rows"] if row["name"] in again.names]
    assert len(rows) == 4 * len(again.budgets)
    for row in rows:
        p, b = again.index(row["name"]), again.budgets.tolist().index(row["budget"])
        for name in numbers:
            expected = np.nan if row[name] is None else row[name]
            np.testing.assert_allclose(
                getattr(again, name)[p, b], expected, rtol=1e-12, err_msg=f"{row['name']} {name}"
            )


def test_the_numbers_of_the_report_come_again(run: Path) -> None:
    as_reported(run)


def test_with_weights_clusters_and_given_propensities(tmp_path: Path) -> None:
    rows = table(1500, 3)
    rng = np.random.default_rng(0)
    rows = rows.append_column("w", pa.array(rng.uniform(0.5, 2, 1500)))
    rows = rows.append_column("street", pa.array([f"s{k // 3}" for k in range(1500)]))
    frames.write(rows, tmp_path / "trial.parquet")
    text = TEXT.replace('unit = "user"', 'unit = "user"\nweight = "w"\ncluster = "street"').format(more="folds = 2")
    text += '[design]\nrct_propensity = "uniform"\n'  # not the shares of these rows
    fit(parse(text, folder=tmp_path), folder=tmp_path / "run")
    proof = KeptProof.load(tmp_path / "run")
    assert proof is not None
    assert proof.logs.weight is not None
    assert proof.logs.cluster is not None
    as_reported(tmp_path / "run")


def test_under_rules_the_decisions_are_kept(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text('count = [{treatment = "5", at_most = 400}]\n')
    text = TEXT + '[rules]\nfile = "rules.toml"\nunits = 1500\n'
    run = made_run(tmp_path, text=text)
    proof = KeptProof.load(run)
    assert proof is not None
    assert isinstance(proof.menu, DecisionPath)
    as_reported(run)


def test_the_groups_are_those_of_the_columns(run: Path) -> None:
    proof = KeptProof.load(run)
    assert proof is not None
    data = frames.read(run.parent / "trial.parquet").to_pandas()
    kept = {one.column: one for one in proof.groups}
    assert set(kept) == {"f0", "f1", "f2", "f3", "city", "age"}
    sizes = {name: int((kept["city"].code == k).sum()) for k, name in enumerate(kept["city"].names)}
    assert sizes == data.city.value_counts().to_dict()
    assert int((kept["age"].code == kept["age"].names.index("missing")).sum()) == data.age.isna().sum()


def test_no_ids_are_kept(run: Path) -> None:
    proof = KeptProof.load(run)
    assert proof is not None
    assert proof.logs.unit is not None
    assert sorted(proof.logs.unit) == list(range(1500))  # numbers in their place


def test_a_run_of_an_earlier_version_has_none(run: Path, tmp_path: Path) -> None:
    old = shutil.copytree(run, tmp_path / "old")
    shutil.rmtree(old / KEPT)
    assert KeptProof.load(old) is None


def test_a_damaged_one_is_refused(run: Path, tmp_path: Path) -> None:
    bad = shutil.copytree(run, tmp_path / "bad")
    manifest = bad / KEPT / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"treatments"', '"treatment"'))
    with pytest.raises(StoreError, match="proof"):
        KeptProof.load(bad)
