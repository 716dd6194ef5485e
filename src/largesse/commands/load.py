"""Files and columns of a configuration into logs, the trial's encoder shared by all."""

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
    """What a configuration names: the trial, the log of a past policy, separate rows for the proof, and the encoder."""

    rct: Logs
    obs: Logs | None
    test: Logs | None
    encoder: Encoder
    outcome: Outcome


def load_rows(config: Config) -> Rows:
    """Returns the logs of a configuration, encoded alike.

    The encoder learns from the features of rct and obs (never from outcomes, never from a separate test file).

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
    """Adds to a refusal which file of the configuration it is about."""
    try:
        yield
    except LargesseError as error:
        error.add_note(f"This is about {field}: {path}")
        raise


def outcome_of(config: Config, rct: Logs, obs: Logs | None) -> Outcome:
    """Returns the outcome that is declared, or that the rows show."""
    said = config.outcome
    rows = rct if obs is None else rct | obs
    if config.columns.cost is None:
        amounts = declared_amounts(rows.treatments, said.amounts)
        family = Outcome.infer(rows, value=said.value, cost="learned").family
        rising = bool((np.diff(amounts) > 0).all()) if said.ordered == "auto" else bool(said.ordered)
        return Outcome(
            family=family,
            cost_rule=said.cost,  # type: ignore[arg-type]  # a rule: the configuration makes sure
            amounts=amounts,
            ordered=rising,
            monotone=said.ordered is True,
        )
    return Outcome.infer(rows, value=said.value, cost=said.cost, amounts=said.amounts or None, ordered=said.ordered)


def trial_design(config: Config) -> dict[str, Any]:
    """Returns how the trial was assigned: by arm, or by unit with known probabilities (then it is read as such a log)."""
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
