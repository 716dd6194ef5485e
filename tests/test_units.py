"""Rows of one unit are dependent: they stand on one side of every split, and a bootstrap draws them together."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import lightgbm as lgb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from largesse.checks import past_policy
from largesse.commands import campaign as campaign_rows
from largesse.commands import held_out, load
from largesse.commands import tune_search as search
from largesse.commands.fit import fit
from largesse.config import parse
from largesse.errors import DataError
from largesse.evaluate.bootstrap import row_weights
from largesse.logs import Logs
from largesse.models import HRC, Boosting, Corrected, Stack, Student
from largesse.models import crossfit as crossfit
from largesse.models.decision.dfcl import DFCL
from largesse.models.two_stage.mlp import MLP
from tests.common.worlds import orders


def panel(users: int = 300, weeks: int = 4, seed: int = 0, *, design: str = "rct", first: int = 0) -> Logs:
    """Users seen for some weeks, their rows shuffled; x[:, 0] is the user's id."""
    rng = np.random.default_rng(seed)
    unit = rng.permutation(np.repeat(np.arange(first, first + users), weeks))
    level, arm = rng.normal(size=first + users)[unit], rng.integers(0, 3, first + users)[unit]
    value = (rng.random(len(unit)) < 1 / (1 + np.exp(1 - level))).astype(float)
    x = np.column_stack([unit, rng.normal(size=(len(unit), 3))]).astype(np.float32)
    return Logs(x=x, treatment=arm, value=value, cost=arm * value, unit=unit, design=design)


def users_of(rows: Logs) -> set[int]:
    return set(rows.x[:, 0].astype(int).tolist())


class TestGroups:
    def test_are_the_units_where_one_has_several_rows(self):
        logs = panel()
        codes = logs.groups
        assert codes is not None
        assert codes.max() + 1 == len(set(logs.unit.tolist()))
        for code in (0, 7, 299):
            assert len(set(logs.unit[codes == code].tolist())) == 1

    def test_are_nothing_where_each_unit_has_one_row_or_none_is_named(self):
        assert orders(50).groups is None
        assert replace(orders(50), unit=np.arange(50), propensity="observed").groups is None

    def test_of_two_logs_one_below_the_other(self):
        rct, obs = panel(20, 2), panel(20, 2, seed=1, design="obs", first=10)
        both = rct | obs
        assert len(np.unique(both.groups)) == 30, "ten users stand in both"
        nameless = rct | replace(obs, unit=None)
        assert len(np.unique(nameless.groups)) == 20 + obs.n, "each row without an id is a unit of its own"
        assert (orders(30) | orders(30)).unit is None

    def test_text_ids(self):
        logs = panel(10, 3)
        named = replace(logs, unit=np.array([f"user {u}" for u in logs.unit]), propensity="observed")
        same = named.groups[:, None] == named.groups
        np.testing.assert_array_equal(same, logs.unit[:, None] == logs.unit)


class TestParts:
    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("shares", [(1, 1), (0.7, 0.3), (1, 1, 1, 1, 1), (0.9, 0.05, 0.05)])
    def test_no_unit_is_parted_and_every_part_has_its_share_of_every_arm(self, seed, shares):
        logs = panel(600, 5, seed)
        part = logs.parts(*shares, seed=seed)
        for user in np.unique(logs.unit):
            assert len(set(part[logs.unit == user].tolist())) == 1
        wanted = np.array(shares) / np.sum(shares)
        for j in range(3):
            found = np.bincount(part[logs.treatment == j], minlength=len(shares)) / logs.arm_rows[j]
            np.testing.assert_allclose(found, wanted, atol=0.02)

    def test_units_randomised_anew_every_week(self):
        rng = np.random.default_rng(0)
        logs = panel(200, 6)
        arm = np.where(
            rng.random(logs.n) < 0.05, 2, rng.integers(0, 2, logs.n)
        )  # one rare arm, given to nobody for long
        logs = replace(logs, treatment=arm, cost=arm.astype(float), propensity="observed")
        part = logs.parts(1, 1, 1, 1, seed=0)
        for user in range(200):
            assert len(set(part[logs.unit == user].tolist())) == 1
        rare = np.bincount(part[arm == 2], minlength=4)
        assert rare.min() >= 0.6 * rare.mean(), "the rare arm is spread over the parts"

    def test_one_row_a_unit_is_as_without_ids(self):
        logs = orders(500)
        named = replace(logs, unit=np.arange(500)[::-1], propensity="observed")
        np.testing.assert_array_equal(named.parts(3, 1, seed=5), logs.parts(3, 1, seed=5))


class TestWithoutUnitsOf:
    def test_leaves_out_the_rows_of_shared_units(self):
        a, b = panel(20, 2), panel(20, 2, seed=1, first=15)
        assert users_of(a.without_units_of(b)) == set(range(15))
        assert a.without_units_of(panel(5, 2, first=100)) is a

    def test_needs_ids_on_both_sides(self):
        a = panel(20, 2)
        assert a.without_units_of(orders(10)) is a
        assert orders(10).without_units_of(a).n == 10

    def test_nothing_left_is_refused(self):
        with pytest.raises(
            DataError, match=r"unit == .*all 40 rows belong to units that also occur in the held-out rows"
        ):
            panel(20, 2).without_units_of(panel(20, 1))


class TestBootstrap:
    def test_rows_of_a_unit_are_drawn_together(self):
        logs = replace(panel(100, 3), propensity="uniform")
        for weight in row_weights(logs, 5, 0):
            for user in range(100):
                assert len(set(weight[logs.unit == user].tolist())) == 1

    def test_the_spread_of_a_mean_is_that_of_unit_totals(self):
        logs = replace(panel(400, 8), propensity="uniform")
        drawn = np.array([w @ logs.value for w in row_weights(logs, 4000, 1)]) / logs.n
        total = np.bincount(logs.unit, logs.value - logs.value.mean())  # the linearised total of each user
        assert drawn.std() == pytest.approx(np.sqrt((total**2).sum()) / logs.n, rel=0.04)
        by_row = logs.value.std() / np.sqrt(logs.n)
        assert drawn.std() > 1.25 * by_row, "the rows of a user are alike"


class Recorder:
    """Records who was learned from, and of whom a model was asked."""

    def __init__(self) -> None:
        self.pairs: list[tuple[set[int], set[int]]] = []

    def check(self) -> None:
        assert self.pairs
        for learned, held in self.pairs:
            assert learned, "somebody was learned from"
            assert held, "somebody was held back"
            assert not learned & held


@pytest.fixture
def record(monkeypatch):
    """Every `fit` of a small LightGBM is recorded with those it is asked about next."""
    found = Recorder()
    fit, predict_response = Boosting.fit, Boosting.predict_response

    def recorded(self, rct, obs=None, *, validation=None):
        self.learned_ = users_of(rct) | (set() if obs is None or self.data == "rct" else users_of(obs))
        return fit(self, rct, obs, validation=validation)

    def asked(self, x):
        found.pairs.append((self.learned_, set(x[:, 0].astype(int).tolist())))
        return predict_response(self, x)

    monkeypatch.setattr(Boosting, "fit", recorded)
    monkeypatch.setattr(Boosting, "predict_response", asked)
    return found


class TestCrossFitting:
    def test_halves(self, record):
        rct, obs = panel(), panel(200, 3, seed=1, design="obs", first=100)
        crossfit.cross_fitted(Boosting(rounds=2), rct, obs)
        assert len(record.pairs) == 2
        record.check()

    def test_weights_of_a_mean(self, record):
        rct, obs = panel(), panel(200, 3, seed=1, design="obs", first=100)
        Stack((Boosting(rounds=2), Boosting(rounds=3)), folds=3).fit(rct, obs)
        assert len(record.pairs) == 6
        record.check()

    def test_networks_that_a_tuning_starts_from(self, monkeypatch):
        rct, obs, found = panel(), panel(200, 3, seed=1, design="obs", first=100), []
        model = DFCL(MLP(members=1))
        monkeypatch.setattr(model, "_two_stage", lambda rct, obs, outcome: found.append((rct, obs)))
        model.prepare(rct, obs)
        whole, *folds = found if found[0][0].n == rct.n else found[::-1]
        assert whole[0].n == rct.n
        held = [users_of(rct) - users_of(rows) for rows, _ in folds]
        assert held[0] | held[1] == users_of(rct)
        for (rows, log), out in zip(folds, held, strict=True):
            assert not (users_of(rows) | users_of(log)) & out

    def test_sizes_of_clusters(self, monkeypatch):
        rct, obs, found = panel(), panel(200, 3, seed=1, design="obs", first=100), []
        model = HRC(MLP(members=1, hidden=(4, 2)), sizes=(2, 3))
        learned = HRC._learned
        monkeypatch.setattr(HRC, "_learned", lambda self, *rows: found.append(rows) or learned(self, *rows))
        model.fit(rct, obs)
        _, *folds = found
        for rows, log in ((r[0], r[1]) for r in folds):
            held = users_of(rct) - users_of(rows)
            assert held
            assert not (users_of(rows) | users_of(log)) & held


class TestStopping:
    """Boosting stops when rows that are held back stop gaining: these are of other units."""

    def rows_of(self, monkeypatch, fit) -> list[tuple[set[int], set[int]]]:
        found, cv, train = [], lgb.cv, lgb.train

        def whom(data, rows):
            return set(data.data[rows][:, 0].astype(int).tolist())

        def recorded_cv(params, data, *rest, folds=None, **more):
            assert folds is not None
            found.extend((whom(data, a), whom(data, b)) for a, b in folds)
            return cv(params, data, *rest, folds=folds, **more)

        def recorded_train(params, data, *rest, valid_sets=None, **more):
            for other in valid_sets or ():
                found.append(tuple(whom(data.reference, part.used_indices) for part in (data, other)))
            return train(params, data, *rest, **({"valid_sets": valid_sets} if valid_sets else {}), **more)

        dataset = lgb.Dataset

        def kept(*args, **more):
            return dataset(*args, free_raw_data=False, **more)

        for name in ("largesse.models.two_stage.lightgbm.lgb", "largesse.models.two_stage.corrected.lgb"):
            fake = SimpleNamespace(**{n: getattr(lgb, n) for n in ("Booster", "early_stopping")})
            fake.cv, fake.train, fake.Dataset = recorded_cv, recorded_train, kept
            monkeypatch.setattr(name, fake)
        fit()
        return found

    @pytest.mark.parametrize("strategy", ["S", "T"])
    def test_few_rows_take_turns(self, monkeypatch, strategy):
        logs = panel()
        found = self.rows_of(monkeypatch, lambda: Boosting(strategy=strategy).fit(logs))
        assert len(found) == (5 if strategy == "S" else 15)
        assert all(a and b and not a & b for a, b in found)

    def test_of_many_rows_a_tenth(self, monkeypatch):
        logs = panel(4000, 6)
        found = self.rows_of(monkeypatch, lambda: Boosting().fit(logs))
        assert len(found) == 1
        ((learned, held),) = found
        assert not learned & held
        assert len(held) == 400

    def test_trial_and_log_together(self, monkeypatch):
        rct, obs = panel(), panel(200, 3, seed=1, design="obs", first=100)
        found = self.rows_of(monkeypatch, lambda: Boosting().fit(rct, obs))
        assert all(a and b and not a & b for a, b in found)

    def test_corrections(self, monkeypatch):
        rct = panel()
        base = Boosting(rounds=2)
        found = self.rows_of(
            monkeypatch, lambda: Corrected(base).fit(rct, panel(50, 2, seed=1, design="obs", first=900))
        )
        assert len(found) == 2
        assert all(a and b and not a & b for a, b in found)

    def test_one_unit_alone(self):
        logs = replace(panel(30, 4), unit=np.zeros(120, int), propensity="observed")
        assert Boosting().fit(logs).predict(logs.x).n == 120


def test_temperatures_are_set_on_other_units(monkeypatch):
    rct = panel(400, 3)
    teacher = HRC(MLP(members=1, hidden=(4, 2)), sizes=(3,)).fit(rct)
    student, seen = Student(form="lightgbm", rounds=1), []
    learned = Student._learned
    monkeypatch.setattr(Student, "_learned", lambda self, x, target: seen.append(x) or learned(self, x, target))
    student.distil(teacher, rct.x, groups=rct.groups)
    users = set(seen[0][:, 0].astype(int).tolist())
    assert 0.85 * 400 < len(users) <= 0.95 * 400
    for user in users:  # all of a user's rows, or none
        assert (seen[0][:, 0] == user).sum() == 3
    with pytest.raises(DataError, match="of other units"):
        student.distil(teacher, rct.x, groups=np.zeros(rct.n, np.int64))


def test_fitted_propensities_are_of_other_units():
    obs = panel(300, 4, design="obs")
    for learn, hold in past_policy._halves(obs, 0):
        assert not set(obs.unit[learn].tolist()) & set(obs.unit[hold].tolist())


CAMPAIGN = """
[data]
rct = "trial.parquet"
{data}
[columns]
treatment = "treatment"
value = "value"
cost = "cost"
unit = "user"
[model]
candidates = ["lightgbm-rct"]
[budget]
shares = [0.5]
[run]
draws = 100
"""


def campaign(folder, logs: Logs, data: str = "", **others: Logs):
    """Returns the configuration of a campaign whose files hold these logs."""
    for name, rows in ({"trial": logs} | others).items():
        columns = {"user": rows.unit, "treatment": rows.treatment, "value": rows.value, "cost": rows.cost}
        features = {f"x{k}": rows.x[:, k] for k in range(rows.x.shape[1])}
        pq.write_table(pa.table(columns | features), folder / f"{name}.parquet")
    return parse(CAMPAIGN.format(data=data), folder=folder)


class TestCampaign:
    @pytest.mark.parametrize("data", ["", "folds = 1", "folds = 3", 'obs = "past.parquet"'])
    def test_a_user_is_learned_from_or_judges(self, tmp_path, monkeypatch, data):
        past = panel(200, 3, seed=1, first=100)
        config, found = campaign(tmp_path, panel(400, 3), data, past=past), []
        boost, prove = Boosting.fit, held_out.prove

        def learned(self, rct, obs=None, *, validation=None):
            assert not users_of(rct) & users_of(validation), "who chooses was not learned from"
            assert obs is None or not users_of(obs) & users_of(validation)
            self.learned_ = users_of(rct) | users_of(validation) | (set() if obs is None else users_of(obs))
            return boost(self, rct, obs, validation=validation)

        def proven(learned, parts, task, rules=None):
            found.extend((one.model.learned_, users_of(rows)) for one, rows in zip(learned, parts, strict=True))
            return prove(learned, parts, task, rules)

        monkeypatch.setattr(Boosting, "fit", learned)
        monkeypatch.setattr("largesse.commands.proof.prove", proven)
        fit(config, folder=tmp_path / "run")
        assert len(found) == {"folds = 1": 1, "folds = 3": 3}.get(data, 5)
        for learned_from, judges in found:
            assert learned_from
            assert not learned_from & judges

    def test_a_file_of_its_own_for_the_proof(self, tmp_path):
        config = campaign(tmp_path, panel(400, 3), 'test = "test.parquet"', test=panel(200, 2, seed=1, first=300))
        rows = load.load_rows(config)
        learning, _, proof = campaign_rows.split_rows(config, rows)
        assert users_of(learning) == set(range(300))
        assert proof is rows.test
        shown = fit(config, folder=tmp_path / "run").results
        assert any(
            text.startswith("300 of 1,200 rows of the trial are of units that data.test contains too")
            for text in shown.cautions
        )

    def test_too_few_units_are_refused(self, tmp_path):
        with pytest.raises(DataError, match=r"units of treatment '.' in rct == .*need 20 of every arm"):
            fit(campaign(tmp_path, panel(30, 20)), folder=tmp_path / "run")

    def test_a_search_scores_on_other_users(self, tmp_path):
        config = campaign(tmp_path, panel(400, 3), 'obs = "past.parquet"', past=panel(200, 3, seed=1, first=100))
        rows = load.load_rows(config)
        learning, obs, _ = campaign_rows.split_rows(config, rows)
        tries = search.Search(learning, obs, campaign_rows.task_of(config, rows), ("lightgbm-rct",), few=True)
        for (train, hold), log in zip(tries.folds, tries.obs, strict=True):
            assert not (users_of(train) | users_of(log)) & users_of(hold)

    def test_a_treatment_that_does_nothing_is_not_proven_by_remembering_users(self, tmp_path):
        """Eight weeks of each user: with rows instead of users held out, all of these trials said "better"."""
        better = []
        for seed in range(4):
            rng = np.random.default_rng(seed)
            users = 800
            x, level = rng.normal(size=(users, 4)), rng.normal(0, 1.5, users)
            arm, unit = rng.integers(0, 2, users), np.repeat(np.arange(users), 8)
            value = (rng.random(len(unit)) < 1 / (1 + np.exp(1.2 - 0.6 * x[unit, 0] - level[unit]))).astype(float)
            logs = Logs(x=x[unit], treatment=arm[unit], value=value, cost=0.5 * arm[unit], unit=unit)
            folder = tmp_path / str(seed)
            folder.mkdir()
            row = next(
                r
                for r in fit(campaign(folder, logs, "folds = 3"), folder=folder / "run").metrics["rows"]
                if r["name"] == "policy"
            )
            better.append(row["difference_low"] > 0)
        assert sum(better) <= 1
