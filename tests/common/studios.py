"""A fitted run and units that it is to decide, for the studio."""

from __future__ import annotations

from pathlib import Path

from largesse import frames
from largesse.commands.fit import fit
from largesse.config import parse
from tests.common.campaigns import DATA, table

TEXT = (
    DATA
    + """[model]
candidates = ["lightgbm-rct"]
[outcome]
value_per_unit = 12.0
[report]
title = "Spring"
value_unit = "orders"
money_unit = "EUR"
head = "user"
[run]
draws = 40
"""
)


def made_run(place: Path, *, name: str = "spring", more: str = "folds = 2", text: str = TEXT, seed: int = 1) -> Path:
    """Fits a run on 1,500 rows in a folder, and returns its folder."""
    trial = place / "trial.parquet"
    if not trial.exists():
        frames.write(table(1500, seed), trial)
    fit(parse(text.format(more=more), folder=place), folder=place / name)
    return place / name


def made_units(place: Path, n: int = 3000) -> Path:
    """Writes units with the features of `made_run`, and returns their file."""
    units = table(n, 7).drop_columns(["arm", "orders", "spent"])
    frames.write(units, place / "units.parquet")
    return place / "units.parquet"
