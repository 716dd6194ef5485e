"""The edge: any dataframe or file becomes containers here, once, and containers become tables.

`read` and `write` move Arrow tables in and out of files, `like` gives a table back in the caller's own kind of
dataframe, `Encoder` turns feature columns into numbers, `logs` turns a table into `Logs`, `plan_table` turns a `Plan`
into a table.
"""

from __future__ import annotations

from largesse.frames.convert import arms, ids, logs, menu, plan_table, truths, units
from largesse.frames.encoder import Encoder
from largesse.frames.tables import like, read, writable, write
from largesse.roles import Roles, label

__all__ = [
    "Encoder",
    "Roles",
    "arms",
    "ids",
    "label",
    "like",
    "logs",
    "menu",
    "plan_table",
    "read",
    "truths",
    "units",
    "writable",
    "write",
]
