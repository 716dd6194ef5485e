"""Reads the files of a configuration into logs that share one encoder of the features."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from largesse import frames
from largesse.commands.left_out import left_out
from largesse.commands.proof_rules import ProofRules
from largesse.config import Columns, Config
from largesse.errors import ConfigError, DataError, LargesseError
from largesse.frames import Encoder
from largesse.frames.columns import Kind, cells, decoded, kind, named
from largesse.frames.order import by_content, order_of
from largesse.logs import Logs
from largesse.models.outcome import Outcome, declared_amounts

OF_TRIAL = {name: f"columns.{name}" for name in Columns.model_fields} | {
    "control_cost": "design.control_cost", "design": "design.stratified",
}  # fmt: skip
OF_PAST = OF_TRIAL | {"propensity": "design.obs_propensity_column"}
OF_OUTCOME = {name: f"outcome.{name}" for name in ("value", "cost", "amounts")}
"""The field of each argument in Python."""
_VALUES = {"True": "true", "'obs'": "true"}
_FEW, _DISTINCT = 50, 0.99  # rows from which a column can look like an id; share of distinct cells

__all__ = ["Rows", "id_like", "in_toml", "load_rows", "naming_fields", "outcome_of", "trial_design"]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The data of a campaign: the trial, the past campaign data, a separate test file, the encoder and the outcome.

    `id_like` names the features whose cells all differ and which look like ids; `left_out` gives the reason for each column of
    the trial that is no feature. `rules` are those that the policy must obey, with the columns that they name, of the rows that
    the proof is made on: of the test file, or of the trial.
    """

    rct: Logs
    obs: Logs | None
    test: Logs | None
    encoder: Encoder
    outcome: Outcome
    id_like: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    rules: ProofRules | None = None


def load_rows(config: Config) -> Rows:
    """Returns the logs of a configuration, encoded alike.

    The encoder is fitted on the features of rct and obs (never on outcomes, never on a separate test file).

    Raises:
        LargesseError: A file, a column or a row breaks a rule; the message names it.
    """
    roles, past = config.roles("rct"), config.roles("obs")
    with _reading("data.rct", config.data.rct):
        table = frames.read(config.data.rct, text=roles.text)
        rct, encoder = frames.logs(table, roles, **trial_design(config))
    obs = None
    if config.data.obs is not None:
        with _reading("data.obs", config.data.obs):
            past = replace(past, features=encoder.features, treatments=rct.treatments, control=None)
            logged = frames.read(config.data.obs, text=past.text)
            both = [frames.tables.pick(t, list(encoder.features)) for t in (table, logged)]
            encoder = Encoder.fit(_one_below_other(both), encoder.features, rct.treatments)
            rct, _ = frames.logs(table, roles, encoder, **trial_design(config))
            obs, _ = frames.logs(logged, past, encoder, design="obs", control_cost=config.design.control_cost)
    test = None
    if config.data.test is not None:
        with _reading("data.test", config.data.test):
            test, _ = frames.logs(config.data.test, roles, encoder, **trial_design(config))
    rules = _rules(config, rct if test is None else test)
    rct, obs, test = (None if part is None else by_content(part) for part in (rct, obs, test))  # type: ignore[assignment]
    with _declaring(config.columns.value):
        outcome = outcome_of(config, rct, obs)
    if config.columns.cost is None:
        rct, obs, test = (None if part is None else outcome.with_cost(part) for part in (rct, obs, test))  # type: ignore[assignment]
    alike = id_like(table, roles.choose_features(table.column_names))
    return Rows(rct, obs, test, encoder, outcome, alike, left_out(table, roles, encoder.features, alike), rules)


def _rules(config: Config, logs: Logs) -> ProofRules | None:
    """Returns the rules that the policy must obey, of the rows of the proof in the order of `by_content`."""
    declared = config.rules
    if declared.file is None:
        return None
    order = order_of(logs)
    source = config.data.test or config.data.rct
    return ProofRules.load(declared.file, declared.units, source, order, logs.take(order))


def id_like(table: pa.Table, names: Sequence[str]) -> tuple[str, ...]:
    """Returns the columns that look like ids: all cells differ, and they are text, rise row by row, or are named like ids."""
    return tuple(name for name in names if _is_id_like(name, decoded(table[name])))


def _is_id_like(name: str, column: pa.ChunkedArray) -> bool:
    text = kind(name, column) is Kind.TEXT
    if len(column) < _FEW or not (text or pa.types.is_integer(column.type)):
        return False
    if pc.count_distinct(column, mode="all").as_py() < _DISTINCT * len(column):
        return False
    if text or re.search(r"(^|[_ .-])(id|uuid|guid|key|nr|number)s?$|[a-z]Id$", name):
        return True
    cells_ = column.to_numpy()
    return bool((np.diff(cells_) > 0).all())


def in_toml(message: str, fields: Mapping[str, str]) -> str:
    """Returns a message whose arguments in Python's words are fields of the configuration.

    Args:
        message: The message of an error.
        fields: The field of each argument.

    >>> in_toml("Name it in `control=`, or set `control_cost=True`. (`cost='spent'`)", OF_TRIAL)
    "Name it in `columns.control`, or set `design.control_cost = true`. (`columns.cost = 'spent'`)"
    """

    def field(argument: re.Match[str]) -> str:
        name, value = argument.groups()
        if name not in fields:
            return argument[0]
        return f"`{fields[name]}{f' = {_VALUES.get(value, value)}' if value else ''}`"

    return re.sub(r"`(\w+)=([^`]*)`", field, message)


@contextmanager
def naming_fields(fields: Mapping[str, str]) -> Iterator[None]:
    """Names the fields of the configuration in an error in place of Python's arguments."""
    try:
        yield
    except LargesseError as error:
        error.args = (in_toml(str(error), fields),)
        raise


@contextmanager
def _reading(field: str, path: object) -> Iterator[None]:
    """Names the fields of the configuration in an error in place of Python's arguments, and the file it is about."""
    try:
        with naming_fields(OF_PAST if field == "data.obs" else OF_TRIAL):
            yield
    except LargesseError as error:
        error.add_note(f"This is about {field}: {path}")
        raise


@contextmanager
def _declaring(value: str) -> Iterator[None]:
    """Names the column of the value, or the field of the declared outcome, in an error about the outcome."""
    try:
        yield
    except DataError as error:
        if error.field == "value" and str(error).startswith("value["):  # a row
            raise error.about(value, f" (`columns.value = {value!r}`)") from None
        words = re.sub(r"^(value|cost|amounts)\b", r"outcome.\1", str(error))
        error.args = (in_toml(words, OF_OUTCOME),)
        raise


def outcome_of(config: Config, rct: Logs, obs: Logs | None) -> Outcome:
    """Returns the outcome as declared; what is not declared is inferred from the rows."""
    declared = config.outcome
    rows = rct if obs is None else rct | obs
    if config.columns.cost is None:
        amounts = declared_amounts(rows.treatments, declared.amounts)
        family = Outcome.infer(rows, value=declared.value, cost="learned").family
        rising = bool((np.diff(amounts) > 0).all()) if declared.ordered == "auto" else bool(declared.ordered)
        rule: Any = declared.cost  # without a column of costs, the configuration asks for a rule
        return Outcome(
            family=family, cost_rule=rule, amounts=amounts, ordered=rising, monotone=declared.ordered is True
        )
    return Outcome.infer(
        rows, value=declared.value, cost=declared.cost, amounts=declared.amounts or None, ordered=declared.ordered
    )


def trial_design(config: Config) -> dict[str, Any]:
    """Returns the design of the trial as arguments of `frames.logs`: shares by arm, or a known propensity per unit."""
    design = "obs" if config.design.stratified else "rct"
    return {"design": design, "propensity": config.design.rct_propensity if design == "rct" else None,
            "control_cost": config.design.control_cost}  # fmt: skip


def _alike(tables: list[pa.Table]) -> list[pa.Table]:
    """Returns the tables with columns of one type where these hold the same: categories and text, booleans and 0/1."""
    first, second = tables
    for k, name in enumerate(first.column_names):
        if first[name].type == second[name].type:
            continue
        kinds = {kind(name, table[name]) for table in tables}
        number = kinds <= {Kind.NUMBER, Kind.NOTHING}
        if not number and kinds != {Kind.TEXT} and not (kinds == {Kind.TEXT, Kind.NUMBER} and _numbered(tables, name)):
            continue
        as_type = pa.float64() if number else pa.large_string()
        first, second = (
            table.set_column(k, name, pa.chunked_array([cells(name, table[name]) if number else named(table[name])], as_type))
            for table in (first, second)
        )  # fmt: skip
    return [first, second]


def _numbered(tables: list[pa.Table], name: str) -> bool:
    """Returns whether a column holds categories that are numbers, in one of the tables."""
    types = [table[name].type for table in tables]
    return any(pa.types.is_dictionary(one) and not pa.types.is_string(one.value_type) for one in types)


def _one_below_other(tables: list[pa.Table]) -> pa.Table:
    try:
        return pa.concat_tables(_alike(tables), promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise ConfigError(
            f"data.obs: a feature column has another type than in data.rct ({error}). Cast it in one of the two files."
        ) from error
