"""What `allocate` writes: the same columns and numbers in memory and from file to file, and a control group that is kept back."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from largesse import _check, frames
from largesse.allocate import price_plan
from largesse.cli.app import app
from largesse.commands.allocate import allocate_run
from largesse.commands.fit import fit
from largesse.config import load
from largesse.engines import parquet as engine
from largesse.engines.holdout import Holdout
from largesse.errors import DataError, SchemaError
from largesse.experiment import assign
from largesse.policy import Policy
from tests.common.campaigns import DATA, table

M, N = 12.0, 600
TEXT = DATA.format(more="folds = 2") + '[model]\ncandidates = ["lightgbm-rct"]\n[run]\ndraws = 40\n'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("allocate")
    frames.write(table(1500, 1), folder / "trial.parquet")
    users = table(N, 4).drop(["arm", "orders", "spent"]).append_column("code", pa.array([f"{k:05d}" for k in range(N)]))
    for kind in ("parquet", "feather", "csv"):
        frames.write(users, folder / f"users.{kind}")
    for name, more in (("run", f"[outcome]\nvalue_per_unit = {M}\n"), ("nameless", "")):
        text = TEXT if name == "run" else TEXT.replace('unit = "user"\n', "").replace('["note"]', '["note", "user"]')
        (folder / f"{name}.toml").write_text(text + more)
        fit(load(folder / f"{name}.toml"), folder=folder / name)
    return folder


HOLDOUT = Holdout(0.25, "spring")


def test_what_the_safety_costs_is_said_in_numbers(place: Path, tmp_path: Path):
    """The choice that the note offers is what the call on average then does."""
    notes = {}
    for kind in ("parquet", "feather"):
        safe, free = (
            allocate_run(
                place / "run", place / f"users.{kind}", 90.0, tmp_path / f"{kind}{safety}.parquet", safety=safety
            )
            for safety in (0.95, None)
        )
        (note,) = [note for note in safe.notes if note.startswith("To stay within 90")]
        left = 90.0 - safe.spend.mean
        assert f"probability 0.95, {_check.written(left, 4)} of it ({100 * left / 90:.0f} %)" in note
        choice = re.search(r"would spend ([\d.,]+) and bring ([\d.,]+) instead of ([\d.,]+), and", note)
        assert choice is not None
        assert [float(x) for x in choice.groups()] == pytest.approx(
            [free.spend.mean, free.value.mean, safe.value.mean], rel=2e-3
        )
        assert not any(note.startswith("To stay within") for note in free.notes)
        notes[kind] = note
    assert notes["parquet"] == notes["feather"]
    plenty = allocate_run(place / "run", place / "users.parquet", 1e9, tmp_path / "plenty.parquet", safety=0.95)
    assert not any(note.startswith("To stay within") for note in plenty.notes)


@pytest.mark.parametrize("more", [{}, {"holdout": HOLDOUT}])
def test_what_is_brought_leaves_out_what_control_brings(place: Path, tmp_path: Path, more):
    """The expected value less that of the same units under control, by the curve; control costs nothing here."""
    policy = Policy.load(place / "run" / "policy")
    made = []
    for kind in ("parquet", "feather"):
        done = allocate_run(place / "run", place / f"users.{kind}", 90.0, tmp_path / f"{kind}.parquet", **more)
        written = frames.read(tmp_path / f"{kind}.parquet").to_pandas()
        given = written["arm"] == "shipped" if more else np.ones(len(written), bool)
        control = (written["value"] - written["incremental_value"])[given].sum()
        last = policy.curve.value
        under_control = last.base * control + given.sum() * last.residual[-1]
        assert done.brought is not None
        assert done.brought.value == pytest.approx(done.value.mean - under_control, rel=1e-4)
        assert done.brought.cost == pytest.approx(done.spend.mean)
        assert done.brought.net == pytest.approx(M * done.brought.value - done.brought.cost)
        assert 0 < done.brought.value < 0.5 * done.value.mean
        made.append(done.brought)
    assert made[0] == pytest.approx(made[1], rel=1e-9)


def test_the_output_leads_with_what_is_brought(place: Path, tmp_path: Path):
    call = ["allocate", str(place / "run"), str(place / "users.parquet"), "-b", "90", "-o", str(tmp_path / "a.parquet")]
    text = " ".join(CliRunner().invoke(app, call).output.split())
    assert text.index("incremental value") < text.index("total value expected")
    assert "after its cost" in text
    got = json.loads(CliRunner().invoke(app, [*call, "--json"]).output)
    assert got["brought"]["net"] == pytest.approx(M * got["brought"]["value"] - got["brought"]["cost"])


@pytest.mark.parametrize("size", [64, engine.BLOCK])
@pytest.mark.parametrize(
    "how",
    [
        {"budget": 90.0}, {"budget": None}, {"budget": 90.0, "holdout": HOLDOUT}, {"budget": None, "holdout": HOLDOUT},
        {"budget": None, "budget_per_unit": 0.15, "holdout": HOLDOUT, "safety": None}, {"budget": 90.0, "unit": "code"},
    ],
)  # fmt: skip
def test_the_file_is_the_same_in_memory_and_from_file_to_file(place: Path, tmp_path: Path, how, size, monkeypatch):
    monkeypatch.setattr(engine, "BLOCK", size)
    keep = ["city", "note", "f1"]
    one, two = (
        allocate_run(place / "run", place / f"users.{kind}", output=tmp_path / f"{kind}.parquet", keep=keep, **how)
        for kind in ("parquet", "feather")
    )
    streamed, whole = (frames.read(tmp_path / f"{kind}.parquet") for kind in ("parquet", "feather"))
    assert streamed.equals(whole)
    assert (one.price, one.plan.mix, one.budget, one.held_out) == (two.price, two.plan.mix, two.budget, two.held_out)
    assert one.notes == two.notes
    assert tuple(one.spend) + tuple(one.value) == pytest.approx(tuple(two.spend) + tuple(two.value), rel=1e-12)
    users = frames.read(place / "users.parquet")
    unit = how.get("unit", "user")
    assert streamed.column_names[:5] == [unit, *keep, "treatment"]
    assert streamed.select([unit, *keep]).equals(users.select([unit, *keep]))
    sent = np.full(N, True) if "holdout" not in how else streamed["arm"].to_numpy() == "shipped"
    assert one.n == sent.sum() == N - one.held_out
    assert one.planned_spend == pytest.approx(streamed["cost"].to_numpy()[sent].astype(float).sum(), rel=1e-6)
    assert one.plan.value == pytest.approx(streamed["value"].to_numpy()[sent].astype(float).sum(), rel=1e-6)
    if "budget_per_unit" in how:
        assert one.budget == pytest.approx(0.15 * sent.sum())
    menu = Policy.load(place / "run" / "policy").menu(users)
    own = price_plan(menu, one.price).treatment
    rows = np.arange(N)
    net = menu.value.astype(float) - one.price * menu.cost.astype(float)
    chosen = net[rows, own].copy()
    net[rows, own] = -np.inf
    np.testing.assert_allclose(streamed["margin"].to_numpy(), chosen - net.max(axis=1), atol=1e-6)
    assert [menu.treatments[k] for k in net.argmax(axis=1)] == streamed["runner_up"].to_pylist()
    given = np.where(sent, own, 0)
    gain, paid = (part[rows, given].astype(float) - part[:, 0] for part in (menu.value, menu.cost))
    np.testing.assert_allclose(streamed["incremental_value"].to_numpy(), gain, atol=1e-6)
    np.testing.assert_allclose(streamed["net_value"].to_numpy(), M * gain - paid, rtol=1e-5, atol=1e-5)


def test_cells_of_a_csv_file_are_copied_as_they_are(place: Path, tmp_path: Path):
    allocate_run(place / "run", place / "users.csv", 90.0, tmp_path / "plan.csv", unit="code", keep=["user"])
    plan = frames.read(tmp_path / "plan.csv", text=["code"])
    assert plan["code"].to_pylist()[:3] == ["00000", "00001", "00002"]
    assert plan["user"].to_pylist()[:3] == [0, 1, 2]


def test_a_run_without_ids_takes_them_from_the_command(place: Path, tmp_path: Path):
    allocate_run(place / "nameless", place / "users.parquet", 90.0, tmp_path / "plan.parquet")
    assert frames.read(tmp_path / "plan.parquet")["row"].to_pylist() == list(range(N))
    with pytest.raises(DataError, match=r"--holdout == 0.25: .*names no column of ids. Name it: --id user"):
        allocate_run(place / "nameless", place / "users.parquet", 90.0, tmp_path / "none.parquet", holdout=HOLDOUT)
    done = allocate_run(
        place / "nameless", place / "users.parquet", 90.0, tmp_path / "plan.parquet", unit="user", holdout=HOLDOUT
    )
    assert "net_value" not in frames.read(tmp_path / "plan.parquet").column_names
    assert done.held_out > 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"keep": ["cty"]}, "Did you mean 'city'"), ({"keep": ["treatment"]}, "'treatment' is a column of the plan itself"),
        ({"keep": ["user"]}, "'user' is a column of the plan"), ({"keep": ["city", "city"]}, "named twice"),
        ({"unit": "usr"}, "Did you mean 'user'"), ({"budget_per_unit": 1.0}, "cannot be used with --budget"),
        ({"budget": None, "budget_per_unit": float("nan")}, "--budget-per-unit == nan"),
        ({"budget": None, "safety": 0.9}, r"--safety == 0.9: says how surely a budget is kept"),
        ({"budget": None, "price": 0.1, "safety": 0.9}, "--safety == 0.9"),
        ({"budget": None, "price": 0.1, "safety": None}, "--on-average"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_refusals(place: Path, tmp_path: Path, more, words: str, kind: str):
    with pytest.raises((DataError, SchemaError), match=words):
        allocate_run(place / "run", place / f"users.{kind}", output=tmp_path / f"p.{kind}", **({"budget": 90.0} | more))
    assert list(tmp_path.iterdir()) == []


class TestUnderRules:
    def test_the_part_past_break_even_is_named(self, place: Path, tmp_path: Path):
        rules = tmp_path / "rules.toml"
        menu = Policy.load(place / "run" / "policy").menu(frames.read(place / "users.parquet"))
        paid = price_plan(menu, 1 / M)
        rules.write_text(f'count = [{{treatment = "10", at_least = {paid.counts[2] + 100}}}]\n')
        done = allocate_run(place / "run", place / "users.parquet", 1e5, tmp_path / "plan.parquet", rules=rules)
        (note,) = [note for note in done.notes if "past break-even" in note]
        given = np.array(
            [menu.treatments.index(t) for t in frames.read(tmp_path / "plan.parquet")["treatment"].to_pylist()]
        )
        rows = np.arange(N)
        spend, value = (
            part[rows, given].astype(float) - part[rows, paid.treatment] for part in (menu.cost, menu.value)
        )
        spend, back = spend[spend > 0].sum(), M * value[spend > 0].sum()
        numbers = [float(x.replace(",", "")) for x in re.findall(r"\d[\d,]*\.?\d*(?=,? )", note)]
        assert numbers == pytest.approx([spend, back, spend - back], rel=2e-3)
        rules.write_text("")
        free = allocate_run(place / "run", place / "users.parquet", 1e5, tmp_path / "plan.parquet", rules=rules)
        plain = allocate_run(place / "run", place / "users.parquet", 1e5, tmp_path / "plan.parquet")
        assert free.notes == plain.notes
        assert [note for note in plain.notes if "past break-even" in note]

    def test_a_budget_per_unit_counts_the_units(self, place: Path, tmp_path: Path):
        rules = tmp_path / "rules.toml"
        rules.write_text('count = [{treatment = "10", at_most = 5}]\n')
        done = allocate_run(
            place / "run", place / "users.parquet", None, tmp_path / "p.csv", budget_per_unit=0.2, rules=rules
        )
        assert done.budget == pytest.approx(0.2 * N)

    def test_nobody_is_kept_back(self, place: Path, tmp_path: Path):
        (tmp_path / "rules.toml").write_text("")
        with pytest.raises(DataError, match=r"--holdout == 0.25: cannot be used with rules"):
            allocate_run(
                place / "run",
                place / "users.parquet",
                9.0,
                tmp_path / "p.csv",
                rules=tmp_path / "rules.toml",
                holdout=HOLDOUT,
            )


class TestHoldout:
    @pytest.mark.parametrize("kind", ["parquet", "csv"])
    def test_it_is_the_one_that_assign_draws(self, place: Path, tmp_path: Path, kind: str):
        users, plan, arms = place / f"users.{kind}", tmp_path / f"plan.{kind}", tmp_path / "arms.parquet"
        line = ["allocate", str(place / "run"), str(users), "-o", str(plan), "-b", "90", "--holdout", "0.25", "--json"]
        done = CliRunner().invoke(app, [*line, "--salt", "spring", "--id", "code"])
        assert done.exit_code == 0, done.exception
        other = ["assign", str(users), "--unit", "code", "--shares", "shipped=0.75,holdout=0.25", "--salt", "spring"]
        assert CliRunner().invoke(app, [*other, "-o", str(arms)]).exit_code == 0
        written, document = frames.read(plan, text=["code"]), json.loads(done.stdout)
        assert written["arm"].to_pylist() == [str(arm) for arm in frames.read(arms)["arm"].to_pylist()]
        assert document["held_out"] == written["arm"].to_pylist().count("holdout") > 0
        assert document["units"] + document["held_out"] == N
        assert "are kept back with '0'" in document["notes"][-1] or "are kept back with '0'" in " ".join(
            document["notes"]
        )

    def test_propensities_follow_the_definition(self, place: Path, tmp_path: Path):
        plan = tmp_path / "plan.parquet"
        allocate_run(place / "run", place / "users.parquet", None, plan, holdout=HOLDOUT, price=0.05)
        back = assign(range(N), {"shipped": 0.75, "holdout": 0.25}, salt="spring") == "holdout"
        for row, out in zip(frames.read(plan).to_pylist(), back, strict=True):
            policy = row["policy_treatment"]
            assert row["treatment"] == ("0" if out else policy)
            assert row["propensity"] == pytest.approx(1 if policy == "0" else 0.25 if out else 0.75)

    def test_the_budget_is_that_of_the_others(self, place: Path, tmp_path: Path):
        plan, users = tmp_path / "plan.parquet", frames.read(place / "users.parquet")
        done = allocate_run(place / "run", place / "users.parquet", 60.0, plan, holdout=HOLDOUT, safety=None)
        back = HOLDOUT.of(range(N))
        frames.write(users.filter(pa.array(~back)), tmp_path / "others.parquet")
        alone = allocate_run(place / "run", tmp_path / "others.parquet", 60.0, tmp_path / "alone.parquet", safety=None)
        assert (alone.spend, alone.value, alone.plan.mix) == (done.spend, done.value, done.plan.mix)
        sent = frames.read(plan).filter(pa.array(~back))
        assert sent["treatment"].equals(frames.read(tmp_path / "alone.parquet")["treatment"])

    @pytest.mark.parametrize(("share", "salt", "words"), [
        (0.0, "s", "--holdout == 0.0: must be a share"), (1.0, "s", "--holdout == 1.0"), (float("nan"), "s", "--holdout == nan"),
        (0.1, "", "--salt == '': must not be empty"), (1 - 1e-6, "s", "keeps back every unit"),
    ])  # fmt: skip
    def test_shares_that_make_no_sense(self, place: Path, tmp_path: Path, share: float, salt: str, words: str):
        with pytest.raises(DataError, match=words):
            allocate_run(
                place / "run", place / "users.parquet", 60.0, tmp_path / "p.parquet", holdout=Holdout(share, salt)
            )
        assert list(tmp_path.iterdir()) == []

    def test_a_salt_needs_a_holdout(self, place: Path, tmp_path: Path):
        line = ["allocate", str(place / "run"), str(place / "users.parquet"), "-o", str(tmp_path / "p.csv"), "-b", "9"]
        assert "--salt == 's': needs --holdout" in str(CliRunner().invoke(app, [*line, "--salt", "s"]).exception)
        none = CliRunner().invoke(app, [*line, "--holdout", "0.1"])
        assert "--salt" in str(none.exception)

    def test_an_experiment_measures_what_was_shipped(self, place: Path, tmp_path: Path):
        """Every treated unit gains 3; the effect of shipping is 3 times the share of units that the policy treats."""
        n, plan, joined = 4000, tmp_path / "plan.parquet", tmp_path / "joined.parquet"
        frames.write(table(n, 11).drop(["arm", "orders", "spent"]), tmp_path / "many.parquet")
        allocate_run(
            place / "run", tmp_path / "many.parquet", None, plan, budget_per_unit=0.8, safety=None, keep=["f0", "f1"],
            holdout=Holdout(0.3, "spring"),
        )  # fmt: skip
        rows = frames.read(plan)
        treated, rng = np.array(rows["treatment"].to_pylist()) != "0", np.random.default_rng(0)
        wanted = 3.0 * np.mean(np.array(rows["policy_treatment"].to_pylist()) != "0")
        assert 0.5 < wanted < 3.0
        orders = rows["f0"].to_numpy() + 3.0 * treated + rng.normal(size=n)
        frames.write(rows.append_column("orders", pa.array(orders)), joined)
        line = [
            "experiment",
            str(joined),
            "--arm",
            "arm",
            "--metric",
            "orders",
            "--features",
            "f0,f1",
            "--unit",
            "user",
        ]
        more = ["--planned", "shipped=70,holdout=30", "-o", str(tmp_path / "effect"), "--json"]
        done = CliRunner().invoke(app, [*line, *more])
        assert done.exit_code == 0, done.output
        effects = json.loads(done.stdout)["metrics"][0]["effects"]
        (effect,) = [effect for effect in effects if effect["method"] == "CUPAC"]
        assert effect["low"] < wanted < effect["high"]
        assert effect["high"] - effect["low"] < 0.4 * wanted
