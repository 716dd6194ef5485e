"""Conversion of dataframes and files to `Logs`, `Menu` and features, and of plans to tables.

`read` and `write` read and write Arrow tables, `Encoder` turns feature columns into numbers, `logs` turns a table into `Logs`,
`plan_table` turns a `Plan` into a table.

Stable: the names in `__all__` (docs/stability.md); modules whose name starts with an underscore are private.
"""

from __future__ import annotations

from largesse.frames.convert import arms, ids, logs, menu, truths, units
from largesse.frames.encoder import Encoder
from largesse.frames.plans import plan_table
from largesse.frames.tables import read, writable, write
from largesse.roles import Roles

__all__ = [
    "Encoder", "Roles", "arms", "ids", "logs", "menu", "plan_table", "read", "truths", "units", "writable", "write",
]  # fmt: skip
