"""Opens a finished run folder: its configuration, its policy, and further rows encoded as in the run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from largesse import frames
from largesse._extras import installed
from largesse._files import PathLike
from largesse.commands.load import OF_TRIAL, naming_fields, outcome_of, trial_design
from largesse.commands.proof_rules import ProofRules
from largesse.config import Config, load
from largesse.errors import StoreError
from largesse.frames.tables import pick
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.policy.curve import same_treatments
from largesse.policy.deployed import Policy
from largesse.policy.unread import Unread
from largesse.serving.policy import ABOUT
from largesse.serving.stand_in import stand_in

__all__ = [
    "RULES", "budgets_of_run", "config_of", "id_column", "open_run", "open_unread", "read_units", "rules_of_run", "rules_to_obey",
    "safety_of", "scorer", "trial_rows",
]  # fmt: skip

RULES = "rules.toml"
"""The rules that a run was proven under, in its folder."""


def open_run(folder: PathLike) -> tuple[Config, Policy]:
    """Returns the configuration and the policy of a run folder.

    Where torch or LightGBM is not installed and the model needs it, the model is the run's ONNX form, if it has one.

    Raises:
        StoreError: The folder is not that of a finished run.
        MissingDependency: The model needs a package that is not installed, and so does its ONNX form.
    """
    place = Path(folder)
    config = config_of(place)
    try:
        return config, Policy.load(place / "policy")
    except ImportError:
        if not os.path.isfile(place / ABOUT) or not installed("onnxruntime"):
            raise
    return config, Policy.load(place / "policy", model=stand_in(place))


def open_unread(folder: PathLike) -> tuple[Config, Unread]:
    """Returns the configuration and the policy of a run folder without its model: neither torch nor LightGBM is loaded.

    Raises:
        StoreError: The folder is not that of a finished run.
    """
    place = Path(folder)
    return config_of(place), Unread.load(place / "policy")


def config_of(folder: PathLike) -> Config:
    """Returns the configuration of a run folder.

    Raises:
        StoreError: The folder is not that of a finished run.
    """
    place = Path(folder)
    if not os.path.isfile(place / "config.toml"):
        raise StoreError(
            f"{place}: holds no config.toml, so it is no run folder. Give a folder made by `largesse fit`."
        )
    return load(place / "config.toml")


def rules_of_run(folder: PathLike) -> Path | None:
    """Returns the rules that a run was proven under; None: there are none."""
    place = Path(folder) / RULES
    return place if place.is_file() else None


def rules_to_obey(
    folder: PathLike, given: Path | None, units: int | None, test: PathLike, order: NDArray[np.int64], logs: Logs
) -> ProofRules | None:
    """Returns the given rules, or those that a run was proven under, for further rows; None: there are none.

    Args:
        folder: The run folder.
        given: Rules in place of those of the run; None: those of the run.
        units: Number of units that limits in totals are for; None: with the rules of the run, as in the run.
        test: The file of the rows.
        order: Which row of the file each row is, (N,).
        logs: The rows.

    Raises:
        LargesseError: As for `ProofRules.load`.
    """
    path = given or rules_of_run(folder)
    if path is None:
        return None
    if given is None and units is None:
        units = load(Path(folder) / "config.toml").rules.units
    return ProofRules.load(path, units, test, order, logs)


def id_column(policy: Policy | Unread, given: str | None) -> str | None:
    """Returns the column of ids: the given one, or the run's own; None: there is none."""
    return given if given is not None or policy.roles is None else policy.roles.unit


def read_units(users: Path, policy: Policy, copied: Sequence[str], *more: str) -> pa.Table:
    """Returns units in memory; in a CSV file, cells of columns that are copied and not predicted from stay as they are.

    Args:
        users: The units.
        policy: The policy.
        copied: Columns that the output has too.
        more: Further columns whose cells stay as they are.

    Raises:
        LargesseError: The file cannot be read, or a column to copy is missing.
    """
    known = () if policy.roles is None else policy.roles.text
    features = () if policy.encoder is None else policy.encoder.features
    plain = (*known, *(name for name in copied if name not in features), *more)
    table = frames.read(users, text=tuple(dict.fromkeys(plain)))
    pick(table, copied, f"{users}: ")
    return table


def scorer(policy: Policy) -> tuple[tuple[str, ...], Callable[[pa.Table], Menu]]:
    """Returns the columns that a policy's model needs, and the function that predicts the menu of a table."""
    encoder, curve, model = policy.encoder, policy.curve, policy.model
    assert encoder is not None

    def menu(table: pa.Table) -> Menu:
        predicted = model.predict(encoder.transform(table))
        same_treatments(curve, predicted.treatments)
        return predicted

    return encoder.features, menu


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
