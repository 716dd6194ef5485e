"""The procedure of `fit`: folds are put together with all their columns."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from largesse import frames
from largesse.commands.fit import fit
from largesse.commands.procedure import together
from largesse.config import load
from largesse.logs import Logs
from tests.common.campaigns import TEXT, table


def full(n: int = 120) -> Logs:
    """Rows with every optional column."""
    rng = np.random.default_rng(0)
    arm = np.arange(n) % 2
    return Logs(
        x=rng.random((n, 2)), treatment=arm, value=rng.random(n), cost=arm * 1.0, propensity=np.where(arm, 0.4, 0.6),
        unit=np.arange(n) // 2, cluster=np.arange(n) // 6, weight=1 + rng.random(n), timestamp=rng.random(n), design="obs",
    )  # fmt: skip


@pytest.mark.parametrize("count", [1, 3])
def test_folds_put_together_have_every_column_of_theirs(count: int):
    logs = full()
    folds = logs.split(*[1.0] * count, seed=1)
    both = together(list(folds))
    for name in (f.name for f in fields(Logs) if f.init):
        whole = getattr(both, name)
        if isinstance(whole, np.ndarray):
            np.testing.assert_array_equal(whole, np.concatenate([getattr(part, name) for part in folds]), err_msg=name)
        else:
            assert whole == getattr(logs, name)
    assert both.n == logs.n


def test_a_trial_of_clusters_is_cross_fitted(tmp_path: Path):
    trial = table(1200, 1).append_column("home", [np.arange(1200) // 4])
    frames.write(trial, tmp_path / "trial.parquet")
    text = (
        TEXT.format(more="folds = 2")
        .replace(', "mlp-rct"', "")
        .replace('unit = "user"', 'unit = "user"\ncluster = "home"')
    )
    (tmp_path / "campaign.toml").write_text(text)
    run = fit(load(tmp_path / "campaign.toml"), folder=tmp_path / "run")
    assert dict(run.results.provenance.rows) == {"trial": 1200, "proof": 1200}
