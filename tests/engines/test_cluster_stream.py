"""Clusters from Parquet to Parquet: the plan equals that of units in memory, for any blocks and after interruptions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from largesse import frames
from largesse.allocate import Chance, plan_clusters
from largesse.engines import cluster_stream as engine
from largesse.engines.cluster_stream import Clustered, allocate_clusters, cluster_table
from largesse.errors import DataError, InfeasibleBudget, SchemaError
from largesse.frames import Encoder
from largesse.models import HRC, MLP, Schedule
from tests.common.worlds import orders

N = 1_900
NAMES = ("0", "1", "2")
NET = MLP(members=1, hidden=(8, 6), schedule=Schedule(epochs=1, least=80, batch=256))


def table(n: int = N, seed: int = 3, **more: Any) -> pa.Table:
    x = orders(n, seed=seed).x
    return pa.table({"who": [f"u{k}" for k in range(n)], **{f"f{j}": x[:, j] for j in range(4)}, **more})


@pytest.fixture(scope="module")
def learned() -> tuple[HRC, Encoder]:
    return HRC(NET, sizes=(8,)).fit(orders(3000)), Encoder.fit(table(), [f"f{j}" for j in range(4)])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    frames.write(table(), tmp_path / "units.parquet")
    return tmp_path / "units.parquet"


def units(source: Path, learned: tuple[HRC, Encoder], **more: Any) -> Clustered:
    model, encoder = learned
    return Clustered(**{"path": source, "model": model, "encoder": encoder, "unit": "who"} | more)


def allocate(*given: Any, size: int | None = None, **options: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        if size:
            patch.setattr("largesse.engines.parquet.BLOCK", size)
        return allocate_clusters(*given, **options)


@pytest.mark.parametrize("size", [7, 250, N, 10_000])
@pytest.mark.parametrize("unit", ["who", None])
def test_the_file_holds_the_plan_of_units_in_memory(learned, source: Path, size: int, unit: str | None):
    model, encoder = learned
    output = source.with_name("plan.parquet")
    x = encoder.transform(table())
    cells, of = model.cells(x), model.clusters(x)
    budget = 0.4 * float((cells.size * cells.cost[:, 2]).sum())
    done = allocate(units(source, learned, unit=unit), output, budget, risk=Chance(0.1), size=size)
    (wanted,) = plan_clusters(cells, [budget], risk=Chance(0.1))
    written = frames.read(output)
    assert written.column_names == ["row" if unit is None else "who", "treatment", "cluster", "value", "cost"]
    np.testing.assert_array_equal(written["cluster"].to_numpy(), of)
    assert written["treatment"].to_pylist() == [NAMES[j] for j in wanted.treatment[of]]
    np.testing.assert_allclose(written["value"].to_numpy(), cells.value[of, wanted.treatment[of]], rtol=1e-6)
    assert written[0].to_pylist() == (list(range(N)) if unit is None else table()["who"].to_pylist())
    assert (done.n, done.plan.spend) == (N, pytest.approx(wanted.spend))
    assert done.plan.charged <= budget
    assert done.plan.treatment.any()
    assert sorted(path.name for path in source.parent.iterdir()) == ["plan.parquet", "units.parquet"]


def test_an_interrupted_run_goes_on_and_writes_the_same_file(learned, source: Path, monkeypatch: pytest.MonkeyPatch):
    output, real, calls = source.with_name("plan.parquet"), HRC.clusters, []
    allocate(units(source, learned), output, 300.0, size=200)
    wanted = output.read_bytes()
    output.unlink()

    def stops(self: HRC, x: Any) -> Any:
        calls.append(len(x))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(self, x)

    monkeypatch.setattr(HRC, "clusters", stops)
    with pytest.raises(KeyboardInterrupt):
        allocate(units(source, learned), output, 300.0, size=200)
    assert not output.exists()
    calls[:] = [0] * 10
    stages: list[str] = []
    allocate(units(source, learned), output, 300.0, size=200, say=lambda stage, share: stages.append(stage))
    assert output.read_bytes() == wanted
    assert len(calls) - 10 == 10 - 3, "only the blocks that were missing are scored"
    assert stages[0].startswith("Continuing from unit 600")


def test_another_model_starts_anew(learned, source: Path, monkeypatch: pytest.MonkeyPatch):
    output = source.with_name("plan.parquet")
    with monkeypatch.context() as patched:
        patched.setattr(engine, "plan_clusters", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            allocate(units(source, learned), output, 300.0)
    other = HRC(NET, sizes=(3,), seed=1).fit(orders(2000, seed=4)), learned[1]
    stages: list[str] = []
    done = allocate(units(source, other), output, 300.0, say=lambda stage, share: stages.append(stage))
    assert not any("Continuing" in stage for stage in stages)
    np.testing.assert_array_equal(
        frames.read(output)["cluster"].to_numpy(), other[0].clusters(other[1].transform(table()))
    )
    assert len(done.cells.size) <= 3


def test_nobody_gets_what_he_may_not(learned, tmp_path: Path):
    rng = np.random.default_rng(0)
    may = {f"may_{j}": rng.random(N) < 0.7 for j in NAMES}
    may["may_0"] |= ~(may["may_1"] | may["may_2"])
    frames.write(table(**may), tmp_path / "units.parquet")
    clustered = units(tmp_path / "units.parquet", learned, eligible="may_{}")
    least = allocate(clustered, tmp_path / "most.parquet", 1e6).plan
    done = allocate(clustered, tmp_path / "plan.parquet", 0.8 * least.spend, risk=Chance(0.1), size=300)
    written = frames.read(tmp_path / "plan.parquet")
    given = np.array([NAMES.index(name) for name in written["treatment"].to_pylist()])
    assert np.column_stack(list(may.values()))[np.arange(N), given].all()
    assert len(set(given)) == 3
    assert done.plan.charged <= done.plan.budget
    assert done.cells.size.sum() == N
    model, encoder = learned
    of = model.clusters(encoder.transform(table()))
    np.testing.assert_array_equal(written["cluster"].to_numpy(), of)
    np.testing.assert_array_equal(
        np.bincount(done.cluster, done.cells.size, model.n_clusters), np.bincount(of, minlength=model.n_clusters)
    )
    assert float(written["cost"].to_numpy().sum()) == pytest.approx(done.plan.spend, rel=1e-4)
    again, by_table = cluster_table(clustered, table(**may), 0.8 * least.spend, risk=Chance(0.1))
    assert by_table.equals(written), "units in memory get the same"
    assert again.plan.spend == done.plan.spend


def test_what_cannot_be_planned_is_refused_and_leaves_nothing(learned, source: Path, tmp_path: Path):
    output = tmp_path / "plan.parquet"
    true = np.ones(N, np.bool_)
    frames.write(table(may_0=~true, may_1=true, may_2=np.arange(N) < 1500), tmp_path / "other.parquet")
    frames.write(table(may_0=~true, may_1=np.arange(N) < 1500, may_2=~true), tmp_path / "none.parquet")
    frames.write(table(may_0=[None] * N, may_1=true, may_2=true), tmp_path / "empty.parquet")
    for name, more, kind, words in (
        ("units", {"eligible": "may"}, DataError, r"eligible == 'may': must have \{\}"),
        ("units", {"eligible": "may_{}"}, SchemaError, "may_0"),
        ("none", {"eligible": "may_{}"}, DataError, r"row 300 == False: every unit needs .* \(100 such rows\)"),
        ("empty", {"eligible": "may_{}"}, DataError, r"may_0\[0\] == nan: must be true or false"),
        ("other", {"eligible": "may_{}"}, InfeasibleBudget, "budget"),
        ("units", {"unit": "f9"}, SchemaError, "f9"),
    ):
        clustered = units(tmp_path / f"{name}.parquet", learned, **more)
        with pytest.raises(kind, match=words) as caught:
            allocate(clustered, output, 1.0, size=400)
        if name == "none":
            assert caught.value.__notes__ == ["Rows are counted from row 1,200 of the file."]
        with pytest.raises(kind, match=words.replace("row 300", "row 1500").replace("100 such", "400 such")):
            cluster_table(clustered, frames.read(tmp_path / f"{name}.parquet"), 1.0)
        assert not output.exists()
        assert not (tmp_path / ".plan.parquet.partial").exists(), name
    with pytest.raises(DataError, match="u0"):
        cluster_table(units(tmp_path / "units.parquet", learned), pa.concat_tables([table(), table().slice(0, 1)]), 1e6)
