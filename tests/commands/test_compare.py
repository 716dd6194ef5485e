"""`compare`: two runs on the same rows, whatever columns each of them knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from largesse import frames
from largesse.commands.compare import compare_runs
from largesse.commands.evaluate import evaluate_run
from largesse.commands.fit import fit
from largesse.config import load
from tests.common.campaigns import TEXT, table


def test_runs_that_declare_other_columns_are_compared_on_the_same_rows(tmp_path: Path):
    """Each run orders rows by its own columns: the menu of one must not meet the outcomes of other rows."""
    frames.write(table(1500, 1), tmp_path / "trial.parquet")
    frames.write(table(900, 3), tmp_path / "later.parquet")
    base = TEXT.format(more="folds = 2").replace(', "mlp-rct"', "")
    texts = {"a": base, "b": base.replace('unit = "user"\nignore = ["note"]', 'ignore = ["note", "user", "f1"]')}
    assert texts["a"] != texts["b"]
    for name, text in texts.items():
        (tmp_path / f"{name}.toml").write_text(text)
        fit(load(tmp_path / f"{name}.toml"), folder=tmp_path / name)
    later, budgets = tmp_path / "later.parquet", (0.5, 1.0)
    alone = [evaluate_run(tmp_path / name, later, budgets=budgets, draws=20)[0].value[0] for name in texts]
    both = compare_runs(tmp_path / "a", tmp_path / "b", later, budgets=budgets, draws=20)
    np.testing.assert_allclose(both.value[:2], alone)
