"""What the commands say of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from largesse.commands.allocate import allocate_run
from largesse.commands.evaluate import evaluate_run
from largesse.commands.predict import predict_run


def results(run: Path, place: Path, out: Path) -> dict[str, Any]:
    """The results of three commands on users and later rows; they write their tables into `out`."""
    out.mkdir()
    predict_run(run, place / "users.parquet", out / "menu.parquet")
    plan = allocate_run(run, place / "users.parquet", 60.0, out / "plan.parquet")
    compared, realised, _ = evaluate_run(run, place / "later.parquet", draws=20)
    found = {"price": plan.price, "counts": plan.plan.counts.tolist(), "spend": plan.spend.mean}
    return found | {"value": compared.value.tolist(), "planned": realised.planned_cost.tolist()}
