"""Who gets what, and what that brings: by the columns along which decisions differ most, and by a tree."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse import _check, report
from largesse._check import written
from largesse.commands.held_out import Proof
from largesse.evaluate.segments import leaves, segments
from largesse.frames.columns import Kind
from largesse.frames.encoder import Encoder, Levels, Number
from largesse.report.numbers import count
from largesse.report.segments import Segments
from largesse.roles import nearest

__all__ = ["Grouped", "by_column", "by_tree", "grouped", "mix_of", "refuse_unknown"]

_GROUPS, _COLUMNS, _LEVELS = 4, 4, 8
_MISSING, _OTHERS = "missing", "all others"


class Grouped(NamedTuple):
    """The rows by one column: its name, the group of each row (N,), and the groups' names."""

    column: str
    code: NDArray[np.int64]
    names: tuple[str, ...]


def grouped(encoder: Encoder, x: NDArray[np.float32]) -> list[Grouped]:
    """Returns the rows by each column of the campaign, from their encoded features x (N, d)."""
    out, start = [], 0
    for column in encoder.columns:
        block = x[:, start : start + len(column.names)]
        start += len(column.names)
        code, names = _levels(column, block) if isinstance(column, Levels) else _numbers(column, block)
        kinds, code = np.unique(code, return_inverse=True)  # groups without a row are left out
        out.append(Grouped(column.name, code.astype(np.int64), tuple(names[k] for k in kinds)))
    return out


def by_column(
    proof: Proof,
    counts: NDArray[np.float64],
    k: int,
    groups: list[Grouped],
    wanted: tuple[str, ...],
    unit_value: float | None,
) -> list[Segments]:
    """Returns the segments of the columns that are wanted, and of those along which the decisions differ most.

    Args:
        proof: The held-out rows with the decisions.
        counts: How far each row counts at the budget, (N,).
        k: Position of the budget.
        groups: The rows by column.
        wanted: Names of columns.
        unit_value: What one unit of value brings in money; None: not known.
    """
    logs, decided, ranked = proof.logs, proof.decided[k], []
    arms = np.eye(logs.n_treatments)[decided] * logs.weights[:, None]
    for position, group in enumerate(groups):
        if len(group.names) < 2:
            continue
        size = np.bincount(group.code, logs.weights)
        shares = np.stack([np.bincount(group.code, arms[:, j]) / size for j in range(logs.n_treatments)], 1)
        distance = float(np.abs(shares - arms.sum(0) / logs.total_weight).sum(1) @ size / logs.total_weight)
        if group.column in wanted or distance > 0:
            ranked.append((group.column not in wanted, -distance, position, group))
    ranked.sort(key=lambda entry: entry[:3])
    return [
        Segments(title=group.column, treatments=logs.treatments, known=unit_value is not None,
                 rows=segments(logs, counts, decided, group.code, group.names, value_per_unit=unit_value))
        for _, _, _, group in ranked[: max(_COLUMNS, len(wanted))]
    ]  # fmt: skip


def by_tree(
    proof: Proof, counts: NDArray[np.float64], k: int, unit_value: float | None, encoder: Encoder, *, at: str, seed: int
) -> Segments | None:
    """Returns the segments that a tree proposes on one half of the rows, valued on the other half; None if there are none."""
    dates = [column.name for column in encoder.columns if column.kind is Kind.DATE]
    tree = leaves(proof.logs, counts, value_per_unit=unit_value, seed=seed, dates=dates)
    if tree is None:
        return None
    logs, code = proof.logs, np.where(tree.judged, tree.code, -1)
    made = segments(logs, counts, proof.decided[k], code, tree.names, value_per_unit=unit_value)
    made = tuple(sorted(made, key=lambda row: -(row.value if unit_value is None else row.net)))
    note = (
        f"{at[:1].upper()}{at[1:]}, against giving nobody anything. A tree proposed these segments on one half of the rows; the "
        f"numbers are from the {count(tree.judged.sum())} rows of the other half, so they do not flatter the choice. Each "
        "interval is for its own segment: two that overlap are not shown to differ."
    )
    return Segments(
        title="Segment", rows=made, treatments=logs.treatments, known=unit_value is not None, note=note
    )  # fmt: skip


def refuse_unknown(wanted: tuple[str, ...], encoder: Encoder) -> None:
    """Raises SchemaError where a column of `report.segments` is no feature, or does not vary."""
    for name in wanted:
        if name not in encoder.features:
            why = (
                "it has one value in all rows"
                if name in encoder.dropped
                else "no feature of the campaign has that name"
            )
            raise _check.refuse(
                "report.segments", name, why,
                f"{nearest(name, encoder.features)}Name feature columns: {', '.join(map(repr, encoder.features[:8]))}"
                f"{', ...' if len(encoder.features) > 8 else ''}.",
            )  # fmt: skip


def mix_of(made: Segments, at: str) -> report.MixTable:
    """Returns who gets what in these segments."""
    return report.MixTable(
        title=made.title, labels=tuple(row.name for row in made.rows), treatments=made.treatments,
        shares=tuple(row.given for row in made.rows), caption=f"At {at}.",
    )  # fmt: skip


def _levels(column: Levels, block: NDArray[np.float32]) -> tuple[NDArray[np.int64], list[str]]:
    """Returns the level of each row; the rarest of many share a group."""
    names = [*column.levels, *([_OTHERS] * column.other), *([_MISSING] * column.missing)]
    none = len(names)
    code = np.where(block.any(axis=1), block.argmax(axis=1), none)
    names = [*names, _OTHERS]
    size = np.bincount(code, minlength=len(names))
    kept = set(np.argsort(-size, kind="stable")[:_LEVELS].tolist())
    merged = [k if k in kept and k != none else none for k in range(len(names))]
    if column.other:
        merged[len(column.levels)] = none
    return np.array(merged)[code], names


def _numbers(column: Number, block: NDArray[np.float32]) -> tuple[NDArray[np.int64], list[str]]:
    """Returns the values themselves if they are few, else quarters of the rows; rows without a value are a group."""
    missing = block[:, -1] > 0 if column.missing else np.zeros(len(block), bool)
    if not column.varies:
        return missing.astype(np.int64), ["known", _MISSING]
    values, known = block[:, 0], block[~missing, 0]
    kinds = np.unique(known)
    if len(kinds) <= _GROUPS:
        names = ["no", "yes"] if kinds.tolist() == [0.0, 1.0] else [_value(column, float(k)) for k in kinds]
        code = np.clip(np.searchsorted(kinds, values), 0, len(kinds) - 1)
    else:
        cuts = np.unique(np.quantile(known, np.linspace(0, 1, _GROUPS + 1)))
        code = np.clip(np.searchsorted(cuts, values, side="right") - 1, 0, len(cuts) - 2)
        names = [f"{_value(column, float(a))} to {_value(column, float(b))}" for a, b in pairwise(cuts)]
    return np.where(missing, len(names), code), [*names, _MISSING]


def _value(column: Number, x: float) -> str:
    return str(np.datetime64(int(x), "D")) if column.kind is Kind.DATE else written(x, 4)
