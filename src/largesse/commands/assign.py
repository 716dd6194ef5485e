"""`assign`: assigns the units of a file to the arms of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from largesse import frames
from largesse.experiment.design.assign import assign

__all__ = ["assign_users"]


def assign_users(users: Path, unit: str, shares: Mapping[str, float], output: Path, *, salt: str) -> dict[str, int]:
    """Writes the arm of each unit of a file, and returns the number of rows of each arm.

    Args:
        users: Parquet (a file or a folder), CSV or Feather; all rows of a unit get the same arm.
        unit: Column with the id of the randomised unit.
        shares: Share of each arm; they are divided by their sum.
        output: Columns ``unit`` and ``arm``: .parquet, .csv or .feather.
        salt: Name of the experiment.

    Raises:
        DataError: A share is not above 0, the salt is empty, an id is missing, or a file cannot be read or written.
        SchemaError: The column is missing, or holds something that is no id.
        StoreError: The output is the file of the units.
    """
    assign([], shares, salt=salt)  # refuses before anything is read
    frames.writable(output, users)
    table = frames.read(users, [unit], text=[unit])
    ids = frames.ids(table, unit)
    arms = assign(ids.tolist(), shares, salt=salt)
    frames.write(pa.table({"unit": table[unit], "arm": pa.array(arms).dictionary_encode()}), output)
    return {arm: int(np.count_nonzero(arms == arm)) for arm in shares}
