"""Later rows are read as the rows of the run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import largesse
from largesse import Boosting, Policy
from largesse.commands.run_folder import trial_rows
from largesse.config import parse
from largesse.errors import DataError
from largesse.frames import write
from tests.common.campaigns import table

COLUMNS = (
    '[data]\nrct = "trial.parquet"\n[columns]\ntreatment = "arm"\nvalue = "orders"\ncost = "spent"\nunit = "user"\n'
)


def test_errors_about_later_rows_name_the_fields_of_the_configuration(tmp_path: Path) -> None:
    trial = table(600, 1).drop_columns(["note"])
    rows = largesse.read(trial, treatment="arm", value="orders", cost="spent", unit="user")
    policy = Policy.calibrated(Boosting(rounds=2).fit(rows), rows, draws=20)
    write(trial, tmp_path / "later.parquet")
    np.testing.assert_array_equal(trial_rows(parse(COLUMNS), policy, tmp_path / "later.parquet").x, rows.x)
    place = trial.column_names.index("spent")
    write(trial.set_column(place, "spent", pa.array(np.full(600, -1.0))), tmp_path / "later.parquet")
    with pytest.raises(DataError, match=r"^spent\[0\] == -1.0: must be >= 0 .*\(`columns\.cost = 'spent'`\)"):
        trial_rows(parse(COLUMNS), policy, tmp_path / "later.parquet")
