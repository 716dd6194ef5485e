"""Why a column of the trial is no feature: a role, the configuration, or cells that tell nothing."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa

from largesse.frames.columns import Kind, cells, coded, decoded, kind
from largesse.roles import Roles

__all__ = ["left_out"]


def left_out(
    table: pa.Table, roles: Roles, used: Collection[str], id_like: Collection[str]
) -> tuple[tuple[str, str], ...]:
    """Returns each column that is no feature with the reason, in the order of the file.

    Args:
        table: The rows of the trial.
        roles: The role of each column.
        used: Columns that are features.
        id_like: Columns that look like ids.
    """
    part_of = {column: part for part, column in roles.parts.items()}
    out = []
    for name in table.column_names:
        if name in part_of:
            out.append((name, f"is the {part_of[name]}"))
        elif name in roles.ignore:
            out.append((name, "declared in columns.ignore"))
        elif roles.features is not None and name not in roles.features:
            out.append((name, "not named in columns.features"))
        elif name not in used:
            out.append(
                (name, "looks like an id: every row has its own" if name in id_like else _useless(name, table[name]))
            )
    return tuple(out)


def _useless(name: str, column: pa.ChunkedArray) -> str:
    column = decoded(column)
    if column.null_count == len(column):
        return "every cell is missing"
    if kind(name, column) is Kind.TEXT:
        codes, values = coded(column)
        several = len(np.unique(codes)) > 1 and len(values) > 1
        return "text in which no two labels are frequent enough" if several else "the same in every row"
    values_ = cells(name, column)
    if not np.isfinite(values_).any():
        return "every cell is missing"
    return "the same in every row"
