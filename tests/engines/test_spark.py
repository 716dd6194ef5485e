"""Spark: the plan, the totals and the curve equal those on one machine."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from largesse import frames
from largesse.allocate import solve as solve_here
from largesse.errors import DataError, InfeasibleBudget, SchemaError
from largesse.evaluate.curve import outcome_curve
from largesse.frames.plans import PlanColumns
from largesse.menu import Menu
from largesse.models.two_stage.lightgbm import Boosting
from largesse.policy import Policy
from largesse.roles import Roles

pytest.importorskip("pyspark", reason="the extra 'spark' is not installed")
if shutil.which("java") is None:
    pytest.skip("Spark needs Java", allow_module_level=True)

from largesse.engines import rows
from largesse.engines import spark as engine

pytestmark = pytest.mark.slow

NAMES = ("none", "small", "large")
COLUMNS = engine.Columns(NAMES, "v {}", "c {}")
N = 40_000


@pytest.fixture(scope="module")
def spark() -> Any:
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    settings = {
        "spark.ui.enabled": "false", "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1",
        "spark.sql.files.maxPartitionBytes": "500k", "spark.sql.files.openCostInBytes": "0",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC", "spark.ui.showConsoleProgress": "false",
        "spark.sql.codegen.wholeStage": "false",
    }  # fmt: skip
    session = SparkSession.builder.master("local[2,4]").appName("largesse").config(map=settings).getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


def menus(n: int = N, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    value, cost = (np.sort(rng.gamma(2.0, 1.0, (n, 3)), axis=1).astype(np.float32) for _ in range(2))
    cost[:, 0] = 0
    columns: dict[str, Any] = {"who": np.arange(n)}
    for j, name in enumerate(NAMES):
        columns |= {f"v {name}": value[:, j], f"c {name}": cost[:, j]}
    return pa.table(columns)


def menu_of(table: pa.Table) -> Menu:
    value, cost = (np.column_stack([table[f"{kind} {name}"].to_numpy() for name in NAMES]) for kind in "vc")
    return Menu(value=value, cost=cost, treatments=NAMES)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("units") / "units.parquet"
    pa_parquet.write_table(menus(), path, row_group_size=7000)
    return path


def jobs(spark: Any, name: str) -> int:
    return len(spark.sparkContext.statusTracker().getJobIdsForGroup(name))


def test_the_plan_is_that_of_one_machine_in_three_jobs(spark, source: Path):
    frame = spark.read.parquet(str(source))
    assert frame.rdd.getNumPartitions() > 1
    wanted = solve_here(menu_of(menus()), 20_000.0)
    spark.sparkContext.setJobGroup("three", "solve")
    plan, passes = engine.solve(frame, 20_000.0, COLUMNS)
    assert jobs(spark, "three") == 3
    spark.sparkContext.setJobGroup("rest", "plan")
    assert plan.price == wanted.price
    assert (plan.n, plan.counts.tolist(), plan.status) == (N, wanted.counts.tolist(), wanted.status)
    assert plan.spend == pytest.approx(wanted.spend, rel=1e-14)
    assert plan.value == pytest.approx(wanted.value, rel=1e-14)
    assert plan.bound == pytest.approx(wanted.bound, rel=1e-12)
    planned = pa.Table.from_pylist([row.asDict() for row in passes.plan(plan, keep=["who"]).collect()])
    assert planned["who"].to_pylist() == list(range(N))
    assert planned["treatment"].to_pylist() == [NAMES[code] for code in wanted.treatment]
    assert sum(planned["cost"].to_pylist()) == pytest.approx(wanted.spend, rel=1e-6)


def test_a_task_that_fails_is_done_again(spark, source: Path, tmp_path: Path):
    marks = str(tmp_path)

    def failing(batches):
        from pyspark import TaskContext

        at = TaskContext.get()
        mark = os.path.join(marks, f"{at.stageId()}-{at.partitionId()}")
        for k, batch in enumerate(batches):
            if k == 1 and at.partitionId() == 0 and len(os.listdir(marks)) < 2 and not os.path.exists(mark):
                open(mark, "w").close()
                raise RuntimeError("the executor is gone")
            yield batch

    plain = spark.read.parquet(str(source))
    frame = rows.mapped(rows.picked(plain, plain.columns), failing, dict(plain.dtypes))
    plan, passes = engine.solve(frame, 20_000.0, COLUMNS)
    wanted = solve_here(menu_of(menus()), 20_000.0)
    assert len(os.listdir(marks)) == 2
    assert plan.price == wanted.price
    planned = passes.plan(plan).select("treatment").collect()
    assert [row.treatment for row in planned] == [NAMES[code] for code in wanted.treatment]


def _with_the_clock(batches):
    import time

    for batch in batches:
        names = batch.schema.names
        at, now = names.index("v large"), np.full(batch.num_rows, time.time() % 1000, np.float32)
        yield batch.set_column(at, batch.schema.field(at), pa.array(now))


def test_rows_that_change_are_found_out(spark, source: Path):
    frame = spark.read.parquet(str(source))
    changing = rows.mapped(rows.picked(frame, frame.columns), _with_the_clock, dict(frame.dtypes))
    with pytest.raises(DataError, match="its rows changed between two passes. Persist it"):
        engine.solve(changing, 20_000.0, COLUMNS)


def test_refusals_come_back_in_their_own_words(spark, source: Path):
    frame = spark.read.parquet(str(source))
    with pytest.raises(SchemaError, match="column 'w none': not in the DataFrame. Did you mean 'v none'"):
        engine.solve(frame, 1.0, engine.Columns(NAMES, "w {}", "c {}"))
    with pytest.raises(InfeasibleBudget):
        engine.solve(frame, -1.0, COLUMNS)
    with pytest.raises(DataError, match="units == 0"):
        engine.solve(frame.where("who < 0"), 1.0, COLUMNS)
    from pyspark.sql import functions as F

    broken = frame.withColumn(
        "c large", F.when(frame.who == 123, float("nan")).otherwise(frame["c large"]).cast("float")
    )
    with pytest.raises(DataError, match=r"frame: c large\[\d+\] == nan"):
        engine.solve(broken, 1.0, COLUMNS)


ODD = ("none", "0.5", "(0, 0.5]", "a`b", "50 % off")


def test_any_name_of_treatments_and_columns(spark, tmp_path: Path):
    rng = np.random.default_rng(0)
    value, cost = np.sort(rng.gamma(2.0, 1.0, (2, 3000, len(ODD))), axis=2)
    cost[:, 0] = 0
    columns: dict[str, Any] = {"home.village": np.arange(3000), "x`y": np.arange(3000)}
    for j, name in enumerate(ODD):
        columns |= {f"value_{name}": value[:, j], f"cost_{name}": cost[:, j]}
    pa_parquet.write_table(pa.table(columns), tmp_path / "menus.parquet")
    frame = spark.read.parquet(str(tmp_path / "menus.parquet"))
    plan, passes = engine.solve(frame, 2000.0, engine.Columns(ODD))
    wanted = solve_here(Menu(value=value, cost=cost, treatments=ODD), 2000.0)
    assert plan.price == wanted.price
    kept = passes.plan(plan, keep=["home.village", "x`y"])
    assert kept.columns == [
        "home.village",
        "x`y",
        "treatment",
        "value",
        "incremental_value",
        "cost",
        "runner_up",
        "margin",
    ]
    decided = {row[0]: (row[1], row[2]) for row in kept.collect()}
    assert decided == {k: (k, ODD[code]) for k, code in enumerate(wanted.treatment.tolist())}
    for keep, words in (
        (["x`y", "x`y"], "keep: column 'x`y' is named twice"),
        (["treatment"], "keep: column 'treatment' is a column of the plan itself"),
        (["gone"], "column 'gone': not in the DataFrame"),
    ):
        with pytest.raises(SchemaError, match=words):
            passes.plan(plan, keep=keep)


def test_a_policy_of_columns_with_points(spark, tmp_path: Path):
    names = {"age": "home.age", "city": "home.city"}
    renamed = [
        trial(n, seed).rename_columns([names.get(c, c) for c in trial(2, 0).column_names])
        for n, seed in ((3000, 1), (2000, 2), (1500, 3))
    ]
    logs, encoder = frames.logs(renamed[0], ROLES)
    validation, _ = frames.logs(renamed[1], ROLES, encoder)
    model = Boosting(rounds=5, seed=0).fit(logs)
    dotted = Policy.calibrated(model, validation, encoder=encoder, roles=ROLES, draws=40)
    users = renamed[2].drop_columns(["arm", "orders", "spent"])
    pa_parquet.write_table(users, tmp_path / "users.parquet")
    frame = spark.read.parquet(str(tmp_path / "users.parquet")).repartition(1)
    done = engine.allocate(frame, dotted, 300.0, keep=["home.city", "who"])
    wanted = dotted.allocate(users, 300.0)
    assert done.allocation.plan.counts.tolist() == wanted.plan.counts.tolist()
    assert done.frame.columns[:2] == ["home.city", "who"]
    done.scored.unpersist()
    with pytest.raises(SchemaError, match="'who' is named twice"):
        engine.score(frame, dotted, keep=["who", "who"])


# ---- a policy


ROLES = Roles(treatment="arm", value="orders", cost="spent", unit="who", treatments=NAMES)


def trial(n: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    age, city = rng.normal(40, 10, n), np.array(["north", "south", "east"])[rng.integers(0, 3, n)]
    arm = rng.integers(0, 3, n)
    p = 1 / (1 + np.exp(1.5 - 0.02 * (age - 40) - np.array([0, 0.4, 0.7])[arm] * np.where(city == "south", 1.5, 0.5)))
    order = (rng.random(n) < p).astype(float)
    return pa.table({
        "who": np.arange(n), "age": age, "city": city, "arm": np.array(NAMES)[arm], "orders": order,
        "spent": np.array([0.0, 1.0, 2.0])[arm] * order,
    })  # fmt: skip


@pytest.fixture(scope="module")
def policy() -> Policy:
    logs, encoder = frames.logs(trial(6000, 1), ROLES)
    validation, _ = frames.logs(trial(4000, 2), ROLES, encoder)
    return Policy.calibrated(Boosting(rounds=20, seed=0).fit(logs), validation, encoder=encoder, roles=ROLES, draws=40)


@pytest.mark.parametrize("safety", [None, 0.9])
def test_a_policy_decides_as_on_one_machine(spark, policy: Policy, tmp_path: Path, safety):
    users = trial(9000, 3).drop_columns(["arm", "orders", "spent"])
    pa_parquet.write_table(users, tmp_path / "users.parquet")
    frame = spark.read.parquet(str(tmp_path / "users.parquet")).repartition(1)
    wanted = policy.allocate(users, 1500.0, safety=safety)
    done = engine.allocate(frame, policy, 1500.0, safety=safety, keep=["who"], unit_value=3.0)
    got = done.allocation
    assert (got.price, got.safety, got.budget) == (wanted.price, safety, 1500.0)
    assert got.spend == pytest.approx(wanted.spend, rel=1e-12)
    assert got.value == pytest.approx(wanted.value, rel=1e-12)
    assert got.plan.counts.tolist() == wanted.plan.counts.tolist()
    assert got.planned_spend == pytest.approx(wanted.planned_spend, rel=1e-12)
    decided = {row.who: row.treatment for row in done.frame.collect()}
    assert decided == dict(zip(wanted.plan.unit.tolist(), [NAMES[code] for code in wanted.plan.treatment], strict=True))
    menu, form = policy.menu(users), PlanColumns(treatments=NAMES, unit="who", unit_value=3.0)
    here = form.table({"who": users["who"]}, menu.value.T, menu.cost.T, wanted.plan.treatment, wanted.price)
    assert done.frame.columns == here.column_names
    assert [row.asDict() for row in done.frame.orderBy("who").collect()] == here.to_pylist(), "to the last bit"
    done.scored.unpersist()


def test_the_curve_is_that_of_one_machine(spark, policy: Policy, tmp_path: Path):
    later = trial(5000, 4)
    pa_parquet.write_table(later, tmp_path / "trial.parquet", row_group_size=1500)
    frame = spark.read.parquet(str(tmp_path / "trial.parquet"))
    logs, _ = frames.logs(later, ROLES, policy.encoder)
    wanted = outcome_curve(logs, policy.model.predict(logs.x))
    spark.sparkContext.setJobGroup("curve", "curve")
    estimate = engine.curve(frame, policy, ROLES)
    assert jobs(spark, "curve") == 1
    np.testing.assert_array_equal(estimate.price, wanted.price)
    np.testing.assert_allclose(estimate.value, wanted.value, rtol=1e-12)
    np.testing.assert_allclose(estimate.cost, wanted.cost, rtol=1e-12, atol=1e-15)
    with pytest.raises(DataError, match="arm.* == 'none'|must be one of the treatments"):
        engine.curve(frame.replace("large", "huge", subset=["arm"]), policy, ROLES)
    with pytest.raises(SchemaError, match=r"roles.cost: no column is named"):
        engine.curve(frame, policy, Roles(treatment="arm", value="orders"))
    with pytest.raises(DataError, match="frame: has 0 rows"):
        engine.curve(frame.where("who < 0"), policy, ROLES)
    with pytest.raises(InfeasibleBudget):
        engine.allocate(frame, policy, -1.0)
    assert not spark.sparkContext._jsc.getPersistentRDDs()
    with pytest.raises(SchemaError, match="column 'age': not in the DataFrame"):
        engine.curve(frame.drop("age"), policy, ROLES)


def test_a_policy_without_an_encoder_cannot_score(spark, policy: Policy, source: Path):
    with pytest.raises(DataError, match="policy: has no encoder"):
        engine.score(spark.read.parquet(str(source)), Policy(model=policy.model, curve=policy.curve))
