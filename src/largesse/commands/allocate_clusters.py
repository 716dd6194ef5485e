"""`allocate --by-cluster`: one treatment for each cluster of a run, chosen by an integer programme."""

from __future__ import annotations

from pathlib import Path

from largesse import _check, frames
from largesse.allocate.risk import Chance, Risk
from largesse.commands.run_folder import Safety, open_run, safety_of
from largesse.config import Config
from largesse.engines.cluster_stream import Clustered, Grouped, allocate_clusters, cluster_table
from largesse.engines.parquet import streams
from largesse.errors import DataError
from largesse.frames.batches import Batches
from largesse.models.base import Model
from largesse.models.clusters.hrc import HRC
from largesse.policy.deployed import Policy
from largesse.progress import Say, silent

__all__ = ["allocate_by_cluster", "open_clusters", "risk_of"]


def allocate_by_cluster(
    folder: Path,
    users: Path,
    budget: float | None,
    output: Path,
    *,
    budget_per_unit: float | None = None,
    safety: Safety = "configured",
    eligible: str | None = None,
    say: Say = silent,
) -> Grouped:
    """Gives every unit the treatment of its cluster and writes the allocation, whole or not at all.

    From Parquet to Parquet the units are never in memory all at once, and the same call resumes an interrupted one.

    Args:
        folder: A run folder whose model is an `HRC`.
        users: The units, with the features of the run: a file, or a folder of Parquet files.
        budget: Total budget of these units.
        output: The allocation: .parquet, .csv or .feather.
        budget_per_unit: Instead of a total: money for each unit.
        safety: Probability of staying within the budget; ``"configured"``: that of the run; None: within it on average.
        eligible: Names of boolean columns, ``"may_{}"`` with the treatment for {}: may the unit get it? None: all may.
        say: Called with each stage and the share of the work that is done.

    Raises:
        DataError: The run's model has no clusters, a number is out of its range, or the units break a rule.
        InfeasibleBudget: Even the cheapest allocation exceeds the budget.
        LargesseError: The run or the units cannot be read, or the output cannot be written.
    """
    if (budget is None) == (budget_per_unit is None):
        rule = "is missing: --by-cluster needs it" if budget is None else "cannot be used with --budget-per-unit"
        raise _check.refuse("--budget", budget, rule, "Give the total budget, or --budget-per-unit.")
    config, policy = open_clusters(folder, HRC)
    model, encoder = policy.model, policy.encoder
    assert isinstance(model, HRC)
    assert encoder is not None
    risk = risk_of(safety_of(config, safety))
    limit = _amount("budget", budget) if budget is not None else _amount("--budget-per-unit", budget_per_unit)
    frames.writable(output, users)
    unit = None if policy.roles is None else policy.roles.unit
    units = Clustered(path=users, model=model, encoder=encoder, unit=unit, eligible=eligible)
    if streams(users, output):
        limit *= 1 if budget is not None else Batches(users).n
        return allocate_clusters(units, output, limit, risk=risk, say=say)
    table = frames.read(users, text=[unit] if unit else [])
    limit *= 1 if budget is not None else table.num_rows
    done, table = cluster_table(units, table, limit, risk=risk)
    frames.write(table, output)
    return done


def _amount(field: str, budget: object) -> float:
    return _check.number(field, budget, low=0, remedy="Give the total budget of these units, or --budget-per-unit.")


def open_clusters(folder: Path, *kinds: type[Model]) -> tuple[Config, Policy]:
    """Returns the configuration and the policy of a run whose model has clusters.

    Args:
        folder: The run folder.
        kinds: The classes of model that are accepted.
    """
    config, policy = open_run(folder)
    if not isinstance(policy.model, kinds) or policy.encoder is None:
        raise DataError(
            f"run {folder}: its model is {type(policy.model).__name__}, which has no clusters. "
            'Set model.candidates = ["hrc"] and fit again.', field="run",
        )  # fmt: skip
    return config, policy


def risk_of(safety: float | None) -> Risk | None:
    """Returns the constraint that keeps the budget with a probability; None: on average."""
    return None if safety is None else Chance(1 - _check.number("safety", safety, low=0.5, high=1 - 1e-9))
