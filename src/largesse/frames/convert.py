"""Conversion of tables to `Logs` and `Menu`, and of plans to tables. Errors name the columns of the table."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse.errors import DataError, SchemaError
from largesse.frames.columns import Kind, cells, coded, decoded, exact, kind, refuse_mixed_zones, texts
from largesse.frames.encoder import Encoder
from largesse.frames.tables import Source, pick, read
from largesse.logs import Design, Logs, Propensity
from largesse.menu import Menu
from largesse.roles import Roles, label

__all__ = ["arms", "ids", "logs", "menu", "truths", "units"]

MAX_TREATMENTS = 256
_log = logging.getLogger(__name__)
_CONTROLS = ("control", "none", "false", "no", "baseline", "untreated", "holdout", "nothing", "nobody", "placebo")
_GIFTS = "e-?mail|mail|coupon|offer|treatment|message|contact|incentive|discount|voucher|bonus|sms|push|call"
_NOTHING = re.compile(rf"(no|without)[ _-]({_GIFTS})s?|[^\w.,-]{{0,3}} ?0+([.,]0+)?( ?[^\W\d]{{1,4}}| ?%)?")
"""No e-mail; 0, 0 %, €0, 0 EUR."""
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)")


@checked
def logs(
    table: Source,
    roles: Roles,
    encoder: Encoder | None = None,
    *,
    design: Design = "rct",
    propensity: Propensity = None,
    control_cost: bool = False,
) -> tuple[Logs, Encoder]:
    """Returns the rows of a table as logs, and the encoder of its features: the given one, or one fitted to these rows.

    The encoder also keeps the treatments: pass it for every later table, so that codes mean the same arms.

    Args:
        table: Anything `read` takes.
        roles: The role of each column. Without a cost column, every cost is 0.
        encoder: The encoder of the training rows; None to fit one.
        design: ``"rct"`` or ``"obs"``.
        propensity: As for `Logs`: ``"uniform"``, ``"observed"``, or a share for each label. A propensity column has priority.
        control_cost: Whether control rows may have costs.

    Raises:
        SchemaError: A column is missing or of the wrong kind.
        DataError: A row violates a rule; the message names the column, the first such row, their number, and a remedy.

    >>> table = read({"age": [20, 30, 40, 50], "coupon": [0, 5, 0, 5], "orders": [0, 1, 1, 2], "spent": [0, 5, 0, 10]})
    >>> rows, encoder = logs(table, Roles(treatment="coupon", value="orders", cost="spent"))
    >>> rows.treatments, rows.treatment.tolist(), rows.features
    (('0', '5'), [0, 1, 0, 1], ('age',))
    """
    rows = read(table, text=roles.text)
    with _naming_roles(roles):
        return _logs(rows, roles, encoder, design, propensity, control_cost)


def _logs(
    rows: pa.Table, roles: Roles, encoder: Encoder | None, design: Design, propensity: Propensity, control_cost: bool
) -> tuple[Logs, Encoder]:
    pick(rows, list(roles.parts.values()))
    codes, treatments = _treatments(rows, roles, encoder)
    amounts = {part: _amounts(rows, roles.parts[part]) for part in ("value", "cost", "weight") if part in roles.parts}
    if roles.propensity is not None:
        propensity = cells(roles.propensity, rows[roles.propensity])
    elif isinstance(propensity, Mapping):
        propensity = {label(name): share for name, share in propensity.items()}
    if encoder is None:
        encoder = Encoder.fit(rows, _features(rows, roles), treatments)
    try:
        out = Logs(
            x=encoder.transform(rows), treatment=codes, value=amounts["value"],
            cost=amounts.get("cost", np.zeros(len(codes))), treatments=treatments, features=encoder.names,
            design=design, propensity=propensity, unit=units(rows, roles), weight=amounts.get("weight"),
            cluster=None if roles.cluster is None else _ids(rows[roles.cluster], roles.cluster, "cluster"),
            timestamp=_times(rows, roles), control_cost=control_cost, encoder=encoder, roles=roles,
        )  # fmt: skip
    except DataError as error:  # name the column in place of the array
        if (column := roles.parts.get(error.field)) is None:
            raise
        raise error.about(column) from error
    return out, encoder


@contextmanager
def _naming_roles(roles: Roles) -> Iterator[None]:
    """Adds to an error about a column which argument named the column."""
    part_of = {column: part for part, column in roles.parts.items()}
    try:
        yield
    except DataError as error:
        if (part := part_of.get(error.field)) is None:
            raise
        raise error.about(error.field, f" (`{part}={error.field!r}`)") from None


@checked
def units(table: Source, roles: Roles) -> NDArray[Any] | None:
    """Returns the unit ids of a table, integers or text (N,), or None if `roles` has no such column.

    Raises:
        SchemaError: The column is missing, or its type cannot be an id.
        DataError: An id is missing.
    """
    return None if roles.unit is None else ids(table, roles.unit)


@checked
def ids(table: Source, name: str) -> NDArray[Any]:
    """Returns the unit ids in a column of a table, integers or text (N,); errors as for `units`."""
    return _ids(pick(read(table, text=[name]), [name])[name], name, "unit id")


@checked
def menu(table: pa.Table, value: Sequence[str], cost: Sequence[str], treatments: tuple[str, ...]) -> Menu:
    """Returns the menu in the columns of a table, in single precision if all of them are.

    Args:
        table: A table with these columns.
        value: Names of the columns of values, one per treatment.
        cost: Names of the columns of costs, one per treatment.
        treatments: Names of the treatments, control first.

    Raises:
        SchemaError: A column is not numeric.
        DataError: A cell is missing, too large for an amount, or violates a rule of `Menu`.
    """
    single = all(pa.types.is_float32(table.schema.field(name).type) for name in (*value, *cost))
    amounts = np.empty((len(value) + len(cost), table.num_rows), np.float32 if single else np.float64)
    for k, name in enumerate((*value, *cost)):
        values = _amounts(table, name)
        _check.finite(name, values, "Fill the cells or drop the rows.")
        if k >= len(value):
            _check.nonnegative(name, values)
        amounts[k] = values
    return Menu(value=amounts[: len(value)].T, cost=amounts[len(value) :].T, treatments=treatments)


@checked
def truths(table: pa.Table, names: Sequence[str]) -> NDArray[np.bool_]:
    """Returns K columns of booleans (true and false, or 1 and 0), (N, K).

    Raises:
        DataError: A cell is missing, or has another value.
        SchemaError: A column holds neither booleans nor numbers.
    """
    out = np.empty((table.num_rows, len(names)), np.bool_)
    for k, name in enumerate(names):
        values = cells(name, table[name])
        bad = (values != 0) & (values != 1)  # NaN too
        if bad.any():
            raise _check.refuse_cells(name, values, bad, "must be true or false", "Fill the empty cells.")
        out[:, k] = values == 1
    return out


def _features(table: pa.Table, roles: Roles) -> tuple[str, ...]:
    features = roles.choose_features(table.column_names)
    if not features:
        raise SchemaError(
            f"features == None: no column is left for features, the table has {table.column_names[:8]}. "
            "Add columns that describe the units.",
            field="features",
        )
    return features


def _treatments(table: pa.Table, roles: Roles, encoder: Encoder | None) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Returns the code of each row (N,) and the labels by code."""
    treatments = roles.treatments or ((encoder.treatments or None) if encoder else None)
    if encoder and encoder.treatments and treatments != encoder.treatments:
        rule = f"the encoder was fitted with {encoder.treatments}"
        raise _check.refuse("treatments", treatments, rule, "Leave `treatments=` out.", SchemaError)
    return arms(table, roles.treatment, named=treatments, control=roles.control)


@checked
def arms(
    table: pa.Table, name: str, *, named: tuple[str, ...] | None = None, control: str | None = None
) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Returns the arm of each row as a code (N,), 0 for control, and the labels of the arms.

    Args:
        table: The rows.
        name: Column of the arms.
        named: Labels of the arms, control first; None for those in the column, control first.
        control: Label of control; None if exactly one label reads like a control.

    Raises:
        DataError: A cell is missing or has another label, there is only one arm, or the control is ambiguous.

    >>> arms(pa.table({"group": ["b", "control", "b"]}), "group")
    (array([1, 0, 1], dtype=int32), ('control', 'b'))
    """
    codes, values = coded(exact(name, pick(table, [name])[name]))
    labels = texts(values)
    blank = np.array([not text for text in labels] + [True])
    _refuse_missing(name, blank[codes], "treatment")
    _note_blanks(name, values)
    if named is None and len(values) > MAX_TREATMENTS:
        rule = f"at most {MAX_TREATMENTS} treatments are allowed"
        remedy = "Is this an id or an amount? Name the treatments in `treatments=`, control first."
        raise _check.refuse(name, f"{len(values)} distinct labels", rule, remedy, SchemaError)
    treatments = named or _control_first(name, sorted(set(labels), key=_natural), control)
    code_of = {text: code for code, text in enumerate(treatments)}
    arm = np.array([code_of.get(text, -1) for text in labels], np.int32)[codes]
    if (arm < 0).any():
        row, known = int(np.argmax(arm < 0)), ", ".join(map(repr, treatments))
        raise DataError(
            f"{name}[{row}] == {labels[codes[row]]!r}: must be one of the treatments {known} "
            f"({_rows(arm < 0)}). Add the label to `treatments=`, or drop the rows.",
            field=name,
        )
    return arm, treatments


def _note_blanks(name: str, values: pa.ChunkedArray) -> None:
    padded = [value for value in values.to_pylist() if isinstance(value, str) and value != value.strip()]
    if padded:
        many = f"{len(padded)} such label{'s' if len(padded) > 1 else ''}"
        _log.warning("%s == %r: blanks around a label do not count (%s).", name, padded[0], many)


def _control_first(name: str, labels: Sequence[str], control: str | None) -> tuple[str, ...]:
    some = ", ".join(map(repr, labels[:12])) + (", ..." if len(labels) > 12 else "")
    if len(labels) < 2:
        raise DataError(
            f"{name} == {some}: every row has the same treatment, at least two are needed (control and one more). "
            "Add the rows of the other arm.",
            field=name,
        )
    if control is None:
        likely = [text for text in labels if _reads_like_control(text)]
        if [text.casefold() for text in labels] == ["a", "b"]:
            likely = [labels[0]]  # an A/B test
        if len(likely) != 1:
            raise DataError(
                f"{name}: which label is the control? {len(likely) or 'None'} of {some} reads like one. "
                "Name it in `control=`.",
                field=name,
            )
        control = likely[0]
    if control not in labels:
        rule = f"is not a label of {name!r}, which has {some}"
        raise _check.refuse("control", control, rule, "Name one of these.", SchemaError)
    return (control, *(text for text in labels if text != control))


def _reads_like_control(text: str) -> bool:
    plain = text.strip().casefold()
    return plain in _CONTROLS or _NOTHING.fullmatch(plain) is not None


def _natural(text: str) -> tuple[bool, float, list[str | float], str]:
    """Returns the sort key of a label: numbers first, and the numbers in a text as numbers, so that '5 %' is before '20 %'."""
    try:
        return (False, float(text), [], text)
    except ValueError:
        parts: list[str | float] = [float(part) if k % 2 else part for k, part in enumerate(_NUMBER.split(text))]
        return (True, 0.0, parts, text)


def _amounts(table: pa.Table, name: str) -> NDArray[np.float64]:
    column = table[name]
    if pa.types.is_dictionary(column.type):
        column = decoded(column)
    if kind(name, column) in (Kind.DATE, Kind.DURATION):
        message = f"column {name!r}: holds {column.type}, it must hold numbers. Name another column."
        raise SchemaError(message, field=name)
    values = cells(name, column)
    bad = np.isfinite(values) & (np.abs(values) > _check.LARGEST)
    if bad.any():
        rule = f"must be between -{_check.LARGEST:g} and {_check.LARGEST:g}"
        raise _check.refuse_cells(name, values, bad, rule, "Is it an id? Name another column.")
    return values


def _times(table: pa.Table, roles: Roles) -> NDArray[Any] | None:
    if roles.timestamp is None:
        return None
    column, name = decoded(table[roles.timestamp]), roles.timestamp
    if kind(name, column) is Kind.TEXT:
        refuse_mixed_zones(name, column)
        message = f"column {name!r}: holds text, it must hold dates, times or numbers. Parse it first."
        raise SchemaError(message, field=name)
    return _ids(column, name, "timestamp")


def _ids(column: pa.ChunkedArray, name: str, part: str) -> NDArray[Any]:
    column = exact(name, column)
    integral = pa.types.is_integer(column.type)  # no dictionary of many million ids
    missing = column.is_null().to_numpy() if integral else coded(column)[0] < 0
    _refuse_missing(name, missing, part)
    out: NDArray[Any] = column.to_numpy()
    return out


def _refuse_missing(name: str, missing: NDArray[np.bool_], part: str) -> None:
    if missing.any():
        raise DataError(
            f"{name}[{np.argmax(missing)}] is missing: every row needs a {part} ({_rows(missing)}). "
            "Fill the cells or drop the rows.",
            field=name,
        )


def _rows(bad: NDArray[np.bool_]) -> str:
    count = int(np.count_nonzero(bad))
    return f"{count} such row{'s' if count > 1 else ''} of {bad.size}"
