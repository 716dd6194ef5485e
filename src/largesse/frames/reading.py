"""`largesse.read`: a dataframe or a file as rows that models are fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from largesse import _check
from largesse._arguments import checked
from largesse.errors import SchemaError
from largesse.frames.convert import logs
from largesse.frames.encoder import Encoder
from largesse.frames.tables import Source
from largesse.frames.tables import read as read_table
from largesse.logs import Design, Logs, Propensity
from largesse.roles import Roles

__all__ = ["read"]

_RULES = ("uniform", "observed")
_NEEDED = {
    "treatment": "the column of the treatment taken", "value": "the column of the outcome",
    "cost": "the column of the spend (where a rule gives the cost, compute the column first)",
}  # fmt: skip


@checked
def read(
    source: Source,
    *,
    treatment: str | None = None,
    value: str | None = None,
    cost: str | None = None,
    features: Sequence[str] | None = None,
    ignore: Sequence[str] | None = None,
    unit: str | None = None,
    cluster: str | None = None,
    weight: str | None = None,
    propensity: str | Propensity = None,
    timestamp: str | None = None,
    treatments: Sequence[str | float] | None = None,
    control: str | float | None = None,
    control_cost: bool = False,
    design: Design = "rct",
    like: Logs | None = None,
) -> Logs:
    """Returns the rows of a dataframe or a file, with the encoder of their features.

    A model that is fitted on them predicts for tables with the same feature columns: ``model.predict(frame)``. Rows of another
    table, read with ``like=rows``, have the columns, the encoding and the treatments of these rows.

    Args:
        source: A dataframe (pandas, polars, pyarrow, any other that narwhals supports), a dict from name to array, or a path:
            .parquet or a folder of them, .csv, .csv.gz, .feather, .arrow.
        treatment: Column of the treatment taken.
        value: Column of the outcome (orders, revenue).
        cost: Column of the spend, >= 0, in money.
        features: Feature columns, known before the assignment; None for every column without another role.
        ignore: Columns never used as features.
        unit: Column of the unit ids; needed if units have several rows.
        cluster: Column of what was randomised or is alike, where it holds several units (household, shop).
        weight: Column of the row weights, > 0.
        propensity: Column of the probability of the treatment taken; or ``"uniform"``, ``"observed"`` (the default for a
            trial), or the planned share of each treatment by label.
        timestamp: Column of the times.
        treatments: Labels of the treatments, control first; None for those in the table.
        control: Label of the control; may be left out if one label reads like it ("0", "none", "control").
        control_cost: Whether control rows may have costs.
        design: ``"rct"`` for a randomised trial, ``"obs"`` for past campaign data.
        like: Rows that were read before; columns that are not named here are theirs.

    Raises:
        SchemaError: A column is not named, is missing, or is of the wrong kind.
        DataError: The file cannot be read, or a row violates a rule; the message names the column, the first such row, their
            number, and a remedy.

    >>> frame = {"age": [20, 30, 40, 50], "coupon": [0, 5, 0, 5], "orders": [0, 1, 1, 2], "spent": [0, 5, 0, 10]}
    >>> rows = read(frame, treatment="coupon", value="orders", cost="spent")
    >>> rows.treatments, rows.features, rows.cost.tolist()
    (('0', '5'), ('age',), [0.0, 5.0, 0.0, 10.0])
    >>> read({name: cells[2:] for name, cells in frame.items()}, like=rows).x.tolist()
    [[40.0], [50.0]]
    """
    column = propensity if isinstance(propensity, str) and propensity not in _RULES else None
    rule: Any = propensity if column is None else None
    columns: dict[str, Any] = {
        "treatment": treatment, "value": value, "cost": cost, "unit": unit, "cluster": cluster, "weight": weight,
        "propensity": column, "timestamp": timestamp,
    }  # fmt: skip
    fixed: dict[str, Any] = {"features": features, "ignore": ignore, "treatments": treatments, "control": control}
    given, chosen = ({k: v for k, v in part.items() if v is not None} for part in (columns, fixed))
    encoder = None
    if like is not None:
        given, encoder = _parts_of(like, chosen, design) | given, like.encoder
        control_cost = control_cost or like.control_cost
    if rule is not None:
        given.pop("propensity", None)
    for part, meaning in _NEEDED.items():
        if part not in given:
            raise SchemaError(
                f"`{part}=` is missing: name {meaning}. The table has {read_table(source).column_names[:12]}.",
                field=part,
            )
    roles = Roles(**given, **chosen)
    rows, _ = logs(source, roles, encoder, design=design, propensity=rule, control_cost=control_cost)
    return rows


def _parts_of(rows: Logs, chosen: dict[str, Any], design: Design) -> dict[str, str]:
    """Returns the columns of some rows by role; refuses what only the encoder of these rows determines."""
    if not isinstance(rows.encoder, Encoder) or not isinstance(rows.roles, Roles):
        raise SchemaError(
            "like: these rows were made from arrays, so their columns are unknown. Give rows that largesse.read returned.",
            field="like",
        )
    for part, got in chosen.items():
        rule = "the features and treatments are those of the rows in `like=`"
        raise _check.refuse(part, got, rule, f"Leave `{part}=` out.", SchemaError)
    # A trial's column of probabilities is not in a log of another design.
    return {k: v for k, v in rows.roles.parts.items() if k != "propensity" or design == rows.design}
