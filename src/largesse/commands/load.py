"""Reads the files of a configuration into logs that share one encoder of the features."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from largesse import frames
from largesse.config import Config
from largesse.errors import ConfigError, LargesseError
from largesse.frames import Encoder
from largesse.logs import Logs
from largesse.models.outcome import Outcome, declared_amounts

__all__ = ["Rows", "load_rows", "outcome_of", "trial_design"]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The data of a campaign: the trial, the past campaign data, a separate test file, the encoder and the outcome."""

    rct: Logs
    obs: Logs | None
    test: Logs | None
    encoder: Encoder
    outcome: Outcome


def load_rows(config: Config) -> Rows:
    """Returns the logs of a configuration, encoded alike.

    The encoder is fitted on the features of rct and obs (never on outcomes, never on a separate test file).

    Raises:
        LargesseError: A file, a column or a row breaks a rule; the message names it.
    """
    roles, past = config.roles("rct"), config.roles("obs")
    with _reading("data.rct", config.data.rct):
        table = frames.read(config.data.rct)
        rct, encoder = frames.logs(table, roles, **trial_design(config))
    obs = None
    if config.data.obs is not None:
        with _reading("data.obs", config.data.obs):
            past = replace(past, features=encoder.features, treatments=rct.treatments, control=None)
            logged = frames.read(config.data.obs)
            both = [frames.tables.pick(t, list(encoder.features)) for t in (table, logged)]
            encoder = Encoder.fit(_one_below_other(both), encoder.features, rct.treatments)
            rct, _ = frames.logs(table, roles, encoder, **trial_design(config))
            obs, _ = frames.logs(logged, past, encoder, design="obs", control_cost=config.design.control_cost)
    test = None
    if config.data.test is not None:
        with _reading("data.test", config.data.test):
            test, _ = frames.logs(config.data.test, roles, encoder, **trial_design(config))
    outcome = outcome_of(config, rct, obs)
    if config.columns.cost is None:
        rct, obs, test = (None if part is None else outcome.with_cost(part) for part in (rct, obs, test))  # type: ignore[assignment]
    return Rows(rct, obs, test, encoder, outcome)


@contextmanager
def _reading(field: str, path: object) -> Iterator[None]:
    """Adds a note to an error: which file of the configuration it is about."""
    try:
        yield
    except LargesseError as error:
        error.add_note(f"This is about {field}: {path}")
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


def _one_below_other(tables: list[pa.Table]) -> pa.Table:
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise ConfigError(
            f"data.obs: a feature column has another type than in data.rct ({error}). Cast it in one of the two files."
        ) from error
