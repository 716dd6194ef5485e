"""Results follow from what the rows hold, not from their order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from largesse import frames
from largesse.commands.fit import fit
from largesse.config import load
from largesse.experiment import Columns, CrossFit, Metric, measure
from largesse.experiment.data.crossfit import cross_fit
from largesse.frames.order import by_content, content_order
from largesse.logs import Logs
from largesse.policy import Policy
from tests.common.campaigns import TEXT, table
from tests.common.shops import SPEND, shop


def rows(n: int = 400, **more: Any) -> Logs:
    rng = np.random.default_rng(0)
    t = rng.integers(0, 2, n)
    return Logs(x=rng.integers(0, 3, (n, 4)), treatment=t, value=rng.integers(0, 2, n), cost=t * 1.0, **more)


MORE: dict[str, Any] = {
    "bare": {},
    "numbers as ids": {"unit": np.arange(400) // 2},
    "text as ids": {"unit": np.array([f"u{k // 2}" for k in range(400)])},
    "objects as ids": {"unit": np.array([f"u{k // 2}" for k in range(400)], object)},
    "weights and times": {
        "weight": np.arange(1, 401) % 3 + 1.0,
        "timestamp": np.datetime64("2026-01-01") + np.arange(400) % 9,
    },
    "propensities": {"design": "obs", "propensity": np.where(np.arange(400) % 2, 0.4, 0.6)},
}


@pytest.mark.parametrize("more", MORE.values(), ids=MORE)
def test_any_order_of_rows_gives_the_same_rows(more: Any):
    logs = rows(**more)
    first = by_content(logs)
    for seed in range(3):
        again = by_content(logs.take(np.random.default_rng(seed).permutation(logs.n)))
        for name in ("x", "treatment", "value", "cost", "unit", "weight", "timestamp", "propensity"):
            one, two = getattr(first, name), getattr(again, name)
            assert one is two is None or (np.asarray(one) == np.asarray(two)).all(), name
    assert (first.x != logs.x).any()


def test_rows_that_differ_only_late_are_told_apart():
    columns = [np.zeros(100)] * 30 + [np.arange(100)]
    order = content_order(columns, 100)
    turned = np.random.default_rng(0).permutation(100)
    again = content_order([c[turned] for c in columns], 100)
    np.testing.assert_array_equal(order, turned[again])


@pytest.mark.parametrize("model", ["lightgbm-rct", "hrc", "mlp"])
def test_a_shuffled_trial_gives_the_same_decisions(tmp_path: Path, model: str):
    """An export without ORDER BY: trees, clusters and networks; splits, samples and bootstrap draws included."""
    if model != "lightgbm-rct":
        pytest.importorskip("torch")
    trial, users = table(2500, 1), table(500, 4).drop(["arm", "orders", "spent"])
    decided = []
    for seed in (0, 1):
        order = np.random.default_rng(seed).permutation(trial.num_rows)
        folder = tmp_path / str(seed)
        folder.mkdir()
        frames.write(trial.take(pa.array(order)), folder / "trial.parquet")
        frames.write(table(300, 2, "obs"), folder / "past.parquet")
        text = TEXT.format(more="folds = 1").replace('["auto"]', f'["{model}"]')
        lines = [f'candidates = ["{model}"]' if line.startswith("candidates") else line for line in text.splitlines()]
        (folder / "campaign.toml").write_text("\n".join(lines))
        done = fit(load(folder / "campaign.toml"), folder=folder / "run")
        policy = Policy.load(done.folder / "policy")
        menu = policy.menu(users)
        decided.append((menu.value, menu.cost, policy.allocate(menu, 0.3 * users.num_rows).plan.treatment))
    assert len(np.unique(decided[0][0])) > 3
    for one, two in zip(*decided, strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_shuffled_experiment_gives_the_same_predictions():
    data = pa.table(shop(3000))
    names = list(SPEND.features)
    target = data["spend"].to_numpy()
    first = cross_fit(data, names, target, CrossFit())
    order = np.random.default_rng(1).permutation(data.num_rows)
    again = cross_fit(data.take(pa.array(order)), names, target[order], CrossFit())
    np.testing.assert_array_equal(first[order], again)


def test_a_shuffled_experiment_of_clusters_gives_the_same_effects():
    data = shop(2000)
    data["city"] = np.array([f"c{k}" for k in np.random.default_rng(5).integers(0, 80, 2000)])
    data["group"] = np.where(np.char.str_len(data["city"]) % 2 == 0, "new", "control")
    columns = Columns(arm="group", metrics=(Metric("spend"),), features=SPEND.features, cluster="city")
    effects = []
    for seed in (0, 1):
        order = np.random.default_rng(seed).permutation(2000)
        found = measure({name: column[order] for name, column in data.items()}, columns)["spend"]
        effects.append([e.effect for e in found.effects])
    np.testing.assert_allclose(*effects, rtol=1e-9)
