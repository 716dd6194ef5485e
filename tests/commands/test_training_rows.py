"""Digests of training rows: which rows of a file are among them, by ids or by cells."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from largesse.commands.training_rows import TrainingRows
from largesse.errors import DataError, StoreError
from largesse.logs import Logs
from largesse.store import save


def trial(n: int, seed: int, *, arms: int = 2, kinds: int = 0, **columns: Any) -> Logs:
    """A trial of n rows; with `kinds`, the features have so few distinct rows and the outcome is 0/1."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, kinds, (n, 1)) if kinds else rng.random((n, 3))
    value = rng.integers(0, 2, n) if kinds else rng.random(n)
    return Logs(x=x, treatment=rng.permutation(np.arange(n) % arms), value=value, cost=np.zeros(n), **columns)


def plain(logs: Logs) -> set[tuple[float, ...]]:
    """Distinct rows by their cells, without digests."""
    return {(*x, t, v) for x, t, v in zip(logs.x.tolist(), logs.treatment, logs.value, strict=True)}


class TestByIds:
    @pytest.mark.parametrize("name", ["unit", "cluster"])
    def test_rows_of_known_ids_are_counted(self, name: str):
        known = trial(600, 1, **{name: np.repeat(np.arange(300), 2)})
        other = trial(900, 2, **{name: np.repeat(np.arange(250, 550), 3)})
        both = known.take(np.arange(200)) | other
        ids = getattr(both, name)
        found = TrainingRows.of(known).overlap(both)
        np.testing.assert_array_equal(found.used, np.isin(ids, np.arange(300)))
        assert found.by == f"{name}s"
        assert found.sentence.startswith(f"{200 + 150} of 1,100 rows are of {name}s")

    def test_a_unit_counts_with_all_its_rows(self):
        """Weeks of users who were randomised once: the run has the first four, the file the next four."""
        users, arm = np.tile(np.arange(200), 8), np.tile(np.random.default_rng(0).permutation(np.arange(200) % 2), 8)
        rng = np.random.default_rng(1)
        panel = Logs(x=rng.random((1600, 2)), treatment=arm, value=rng.random(1600), cost=np.zeros(1600), unit=users)
        found = TrainingRows.of(panel.take(np.arange(800))).overlap(panel.take(np.arange(800, 1600)))
        assert found.count == 800

    def test_a_cluster_counts_where_its_units_are_new(self):
        known = trial(400, 1, unit=np.arange(400), cluster=np.repeat(np.arange(20), 20))
        kept = known.take(np.arange(100))
        new = Logs(
            x=kept.x, treatment=kept.treatment, value=kept.value, cost=kept.cost, unit=np.arange(1000, 1100),
            cluster=kept.cluster,
        )  # fmt: skip
        found = TrainingRows.of(known).overlap(new)
        assert found.count == 100
        assert found.by == "clusters"

    def test_units_of_the_past_log_count(self):
        rct, obs = trial(200, 1, unit=np.arange(200)), trial(100, 2, unit=np.arange(500, 600), design="obs")
        found = TrainingRows.of(rct, obs).overlap(trial(100, 3, unit=np.arange(550, 650)).take(np.arange(60)))
        assert found.count + found.drawn_anew == 50
        same = TrainingRows.of(rct, obs).overlap(obs)
        assert same.count == 100

    @pytest.mark.parametrize("arms", [2, 3])
    @pytest.mark.parametrize("n", [200, 1000, 5000])
    def test_units_whose_treatments_were_drawn_anew_are_fair(self, n: int, arms: int):
        known = TrainingRows.of(trial(n, 1, arms=arms, unit=np.arange(n)))
        refused = 0
        for seed in range(100, 120):
            found = known.overlap(trial(n, seed, arms=arms, unit=np.arange(n // 2, n + n // 2)))
            refused += found.count > 0
            assert found.count in (0, n // 2)
            assert found.drawn_anew in (0, n // 2)
        assert refused <= 1

    def test_few_rows_of_its_own_count_too(self):
        known = trial(100, 1, unit=np.arange(100))
        rows, any_arms = TrainingRows.of(known), replace(known, design="obs", propensity=None)
        for n in range(1, 60):
            assert rows.overlap(any_arms.take(np.arange(100 - n, 100))).count == n

    def test_a_file_of_both_kinds_counts(self):
        known = trial(1000, 1, unit=np.arange(1000))
        file = known.take(np.arange(500)) | trial(500, 2, unit=np.arange(500, 1000))
        assert TrainingRows.of(known).overlap(file).count == 1000

    def test_integers_and_their_text_are_one_id_and_leading_zeros_are_not(self):
        known = TrainingRows.of(trial(100, 1, unit=np.arange(100)))
        text = np.array([str(k) for k in range(100)], dtype=object)
        same = trial(100, 1, unit=text)
        assert known.overlap(same).count == 100
        assert known.overlap(trial(100, 1, unit=np.array([f"00{k}" for k in text]))).count == 0

    def test_rows_without_the_ids_are_refused(self):
        with pytest.raises(DataError, match="unit"):
            TrainingRows.of(trial(50, 1, unit=np.arange(50))).overlap(trial(50, 1))


class TestByCells:
    def test_equal_rows_are_counted(self):
        known, other = trial(500, 1), trial(700, 2)
        file = known.take(np.arange(100, 300)) | other
        found = TrainingRows.of(known).overlap(file)
        expected = [cells in plain(known) for cells in [(*x, t, v) for x, t, v in zip(
            file.x.tolist(), file.treatment, file.value, strict=True)]]  # fmt: skip
        np.testing.assert_array_equal(found.used, expected)
        assert found.count == 200
        assert found.separable

    def test_signs_of_zero_times_and_order_do_not_matter(self):
        times = np.datetime64("2026-01-01", "us") + np.arange(60).astype("m8[h]")
        known = Logs(x=np.r_[np.zeros((30, 1)), np.ones((30, 1))], treatment=np.arange(60) % 2, value=np.zeros(60),
                     cost=np.zeros(60), timestamp=times)  # fmt: skip
        same = Logs(x=-known.x[::-1] * (known.x[::-1] == 0) + known.x[::-1], treatment=known.treatment[::-1],
                    value=-known.value, cost=np.zeros(60), timestamp=times[::-1].astype("M8[ns]"))  # fmt: skip
        assert TrainingRows.of(known).overlap(same).count == 60
        later = replace(known, timestamp=times + np.timedelta64(999, "D"))
        assert TrainingRows.of(known).overlap(later).count == 0

    @pytest.mark.parametrize("kinds", [300, 1000, 5000])
    def test_rows_that_are_alike_by_chance_are_not_called_training_rows(self, kinds: int):
        known = trial(2000, 1, kinds=kinds)
        rows = TrainingRows.of(known)
        for seed in range(100, 140):
            fresh = rows.overlap(trial(1500, seed, kinds=kinds))
            assert fresh.count == 0
        chance = len(plain(known)) / (4 * kinds)  # cells are equally probable: what a new row meets
        assert fresh.by_chance == pytest.approx(1500 * chance, rel=0.15)
        assert rows.overlap(known).count == 2000
        assert not rows.overlap(known).separable

    def test_rows_too_alike_cannot_be_told(self):
        known = trial(2000, 1, kinds=3)
        found = TrainingRows.of(known).overlap(known)
        assert not found.known
        assert found.count == 0
        assert "not known" in found.sentence


class TestSaved:
    def test_it_is_read_as_written_and_depends_on_the_rows_only(self, tmp_path: Path):
        logs = trial(300, 1, unit=np.repeat(np.arange(150), 2), cluster=np.repeat(np.arange(30), 10))
        for name in ("one", "two"):
            TrainingRows.of(logs).save(tmp_path / name)
        again = TrainingRows.load(tmp_path / "one")
        assert again.overlap(logs).count == 300
        assert again.n == 300
        for part in ("arrays.safetensors", "manifest.json"):
            assert (tmp_path / "one" / part).read_bytes() == (tmp_path / "two" / part).read_bytes()

    def test_ids_are_not_in_it(self, tmp_path: Path):
        names = np.array([f"user-{k}@example.org" for k in range(100)])
        TrainingRows.of(trial(100, 1, unit=names)).save(tmp_path / "rows")
        assert not any(b"example" in p.read_bytes() for p in (tmp_path / "rows").iterdir())
        one, two = (TrainingRows.of(trial(100, seed, unit=names)).ids["unit"].digest for seed in (1, 2))
        assert not np.isin(one, two).any()  # two runs cannot be joined

    def test_a_million_units_are_compact(self):
        logs = trial(20_000, 1, unit=np.arange(20_000))
        rows = TrainingRows.of(logs)
        assert sum(e.digest.nbytes + e.arm.nbytes for e in rows.ids.values()) + rows.rows.nbytes == 10 * 20_000

    @pytest.mark.parametrize(
        "damage",
        [
            lambda s, a: a.update(rows=a["rows"].astype(np.int32)),
            lambda s, a: a.update({"unit.digest": a["unit.digest"][::-1]}),
            lambda s, a: a.update({"unit.arm": a["unit.arm"][1:]}),
            lambda s, a: a.pop("unit.arm"),
            lambda s, a: s.update(key="zz"),
            lambda s, a: s.update(key="00"),
            lambda s, a: s.update(single=10**9),
            lambda s, a: s.update(ids=["unit", "shop"]),
            lambda s, a: s.pop("rows"),
            lambda s, a: s.update(rows=None),
        ],
    )
    def test_a_damaged_record_is_refused(self, tmp_path: Path, damage: Any):
        logs = trial(40, 1, unit=np.arange(40))
        TrainingRows.of(logs).save(tmp_path / "rows")
        settings = json.loads((tmp_path / "rows" / "manifest.json").read_text())["settings"]
        rows = TrainingRows.of(logs)
        arrays = {"rows": rows.rows, "unit.digest": rows.ids["unit"].digest, "unit.arm": rows.ids["unit"].arm}
        damage(settings, arrays)
        save(tmp_path / "damaged", "training rows", settings, arrays)
        with pytest.raises(StoreError, match="damaged"):
            TrainingRows.load(tmp_path / "damaged")

    def test_another_kind_is_refused(self, tmp_path: Path):
        save(tmp_path / "other", "policy", {}, {})
        with pytest.raises(StoreError, match="not the digests"):
            TrainingRows.load(tmp_path / "other")
