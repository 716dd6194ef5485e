"""The procedure of `fit`: folds are put together with all their columns."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from largesse import frames
from largesse.allocate import assign
from largesse.commands import held_out
from largesse.commands.fit import fit
from largesse.commands.held_out import together
from largesse.commands.procedure import in_order
from largesse.config import load
from largesse.logs import Logs
from largesse.menu import Menu
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


def test_the_last_task_of_all_is_a_short_one():
    folds, pieces = (None, 0, 1), [("long", 1), ("long", 0), ("short", 0)]
    alone = list(in_order(folds, pieces, 0))
    assert alone == [(fold, piece) for fold in folds for piece in pieces]
    beside = list(in_order(folds, pieces, 1))
    assert beside[:2] == [(None, ("long", 1)), (0, ("long", 1))]
    assert beside[-4:] == [(0, ("long", 0)), (0, ("short", 0)), (1, ("long", 0)), (1, ("short", 0))]
    assert sorted(map(str, beside)) == sorted(map(str, alone))
    assert sorted(map(str, in_order(folds, pieces, 7))) == sorted(map(str, alone)), "more processes than folds"


@dataclass
class Known:
    """A fitted procedure with one model, whose gain is the first feature times a scale."""

    scale: float
    name: str = "known"

    @property
    def models(self) -> dict[str, Known]:
        return {"known": self}

    menu_in_currency = True

    @property
    def model(self) -> Known:
        return self

    def predict_response(self, x: np.ndarray) -> np.ndarray:
        return x[:, 0] * self.scale

    def menu(self, gain: np.ndarray) -> Menu:
        return Menu(value=np.column_stack([0 * gain, gain]), cost=np.tile([0.0, 1.0], (len(gain), 1)))


def test_every_fold_of_a_proof_spends_the_same(monkeypatch: pytest.MonkeyPatch):
    """One fold's model predicts ten times the other's: with one price for both it would get all of the budget."""
    logs = full(400)
    parts = [replace(part, design="rct") for part in logs.split(1, 1, seed=0)]
    monkeypatch.setattr(
        held_out, "_decide", lambda one, rows, menu, task: (np.zeros((1, rows.n), np.int32), [0.0], [0.0])
    )
    proof = held_out.prove([Known(1.0), Known(10.0)], parts, SimpleNamespace(price=None))  # type: ignore[list-item, arg-type]
    menu = proof.menus["policy"]
    taken = assign(menu, float(np.median(menu.value[:, 1] - menu.value[:, 0])))
    weight = [part.weights for part in parts]
    shares = [float(w @ (got > 0)) / w.sum() for w, got in zip(weight, np.split(taken, [parts[0].n]), strict=True)]
    assert abs(shares[0] - shares[1]) < 0.02
    assert 0.2 < shares[0] < 0.8
