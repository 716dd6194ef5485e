"""Opens a finished run folder: its configuration, its policy, and further rows encoded as in the run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

from largesse import frames
from largesse._files import PathLike
from largesse.commands.load import OF_TRIAL, naming_fields, outcome_of, trial_design
from largesse.config import Config, load
from largesse.errors import StoreError
from largesse.logs import Logs
from largesse.policy.deployed import Policy

__all__ = ["budgets_of_run", "open_run", "safety_of", "trial_rows"]


def open_run(folder: PathLike) -> tuple[Config, Policy]:
    """Returns the configuration and the policy of a run folder.

    Raises:
        StoreError: The folder is not that of a finished run.
    """
    place = Path(folder)
    if not os.path.isfile(place / "config.toml"):
        raise StoreError(
            f"{place}: holds no config.toml, so it is no run folder. Give a folder made by `largesse fit`."
        )
    return load(place / "config.toml"), Policy.load(place / "policy")


Safety = float | Literal["configured"] | None
"""Probability of staying within a budget: a number, the run's own, or None: within it on average."""


def safety_of(config: Config, safety: Safety) -> float | None:
    """Returns the probability of staying within a budget: the given one, or the run's own; None: within it on average."""
    return config.budget.safety if safety == "configured" else safety


def budgets_of_run(folder: PathLike) -> tuple[float, ...]:
    """Returns the budgets per unit at which a run was evaluated."""
    place = Path(folder) / "metrics.json"
    try:
        return tuple(json.loads(place.read_text(encoding="utf-8"))["budgets_per_head"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(f"{place}: the run is incomplete ({error!r}). Fit again, or name the budgets.") from error


def trial_rows(config: Config, policy: Policy, test: PathLike) -> Logs:
    """Returns further rows of a trial in the order of the file, encoded as those of the run."""
    roles = policy.roles or config.roles("rct")
    with naming_fields(OF_TRIAL):
        rows = frames.logs(test, roles, policy.encoder, **trial_design(config))[0]
    return outcome_of(config, rows, None).with_cost(rows) if config.columns.cost is None else rows
