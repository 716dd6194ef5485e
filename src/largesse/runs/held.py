"""Finished runs on further rows: what one policy is worth, two policies side by side."""

from __future__ import annotations

import json
from pathlib import Path

from largesse import frames
from largesse.config import Config, load
from largesse.errors import DataError, StoreError
from largesse.evaluate.compare import Bootstrap, Comparison, compare
from largesse.evaluate.ranking import aucc, mt_aucc, roi_score
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.policy import Policy, Realised
from largesse.runs.load import outcome_of, trial_design
from largesse.store import PathLike

__all__ = ["compare_runs", "evaluate_run", "open_run", "safety_of"]


def open_run(folder: PathLike) -> tuple[Config, Policy]:
    """Returns the configuration and the policy of a run folder.

    Raises:
        StoreError: The folder is not that of a finished run.
    """
    place = Path(folder)
    if not (place / "config.toml").is_file():
        raise StoreError(
            f"{place}: holds no config.toml, so it is no run folder. Give a folder made by `largesse fit`."
        )
    return load(place / "config.toml"), Policy.load(place / "policy")


def safety_of(config: Config, safety: float | None, on_average: bool) -> float | None:
    """Returns the probability of staying within a budget: as asked for, or the run's own; None: within it on average."""
    if on_average:
        return None
    return config.budget.safety if safety is None else safety


def _budgets(folder: PathLike) -> tuple[float, ...]:
    """Returns the budgets per head that a run was proven at."""
    place = Path(folder) / "metrics.json"
    try:
        return tuple(json.loads(place.read_text(encoding="utf-8"))["budgets_per_head"])
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"{place}: the run is incomplete ({error!r}). Fit again, or name the budgets.") from error


def _rows(config: Config, policy: Policy, test: PathLike) -> Logs:
    roles = policy.roles or config.roles("rct")
    rows, _ = frames.logs(test, roles, policy.encoder, **trial_design(config))
    return outcome_of(config, rows, None).with_cost(rows) if config.columns.cost is None else rows


def evaluate_run(
    folder: PathLike, test: PathLike, *, budgets: tuple[float, ...] = (), draws: int | None = None
) -> tuple[Comparison, Realised, dict[str, float]]:
    """Returns what a run's policy is worth on further trial rows: the comparison, planned against realised, rankings.

    Args:
        folder: The run folder.
        test: Rows of a randomised trial with the columns of the run.
        budgets: Money per head; (): as in the run.
        draws: Bootstrap draws; None: as in the run.
    """
    config, policy = open_run(folder)
    rows = _rows(config, policy, test)
    money = budgets or _budgets(folder)
    menu = policy.model.predict(rows.x)
    bootstrap = Bootstrap(draws=draws or config.run.draws, seed=config.run.seed)
    table = compare(rows, {"policy": menu}, money, bootstrap=bootstrap)
    planned = policy.realised(rows, money, draws=bootstrap.draws, seed=config.run.seed)
    return table, planned, _ranking(rows, menu)


def _ranking(rows: Logs, menu: Menu) -> dict[str, float]:
    """Returns the areas under the cost curve, or none where the rows show no positive effect and no cost in total."""
    if rows.design != "rct":
        return {}
    try:
        if rows.n_treatments > 2:
            return {"mt-aucc": mt_aucc(rows, menu)}
        areas = {"aucc": aucc(rows, roi_score(menu))}
        return (
            areas
            if rows.weight is not None
            else areas | {"aucc (published form)": aucc(rows, roi_score(menu), form="published")}
        )
    except DataError:
        return {}


def compare_runs(
    first: PathLike, second: PathLike, test: PathLike, *, budgets: tuple[float, ...] = (), draws: int | None = None
) -> Comparison:
    """Returns two runs' policies on the same rows, with paired differences from the first.

    Raises:
        DataError: The runs know different treatments.
    """
    opened = [open_run(folder) for folder in (first, second)]
    names = [Path(first).name, Path(second).name]
    if names[0] == names[1]:
        names = ["A", "B"]
    config = opened[0][0]
    logs = [_rows(c, policy, test) for c, policy in opened]
    if logs[0].treatments != logs[1].treatments:
        raise DataError(
            f"treatments: {names[0]} knows {logs[0].treatments}, {names[1]} knows {logs[1].treatments}. "
            "Compare runs of the same treatments.",
            field="treatments",
        )
    menus = {n: policy.model.predict(rows.x) for n, (_, policy), rows in zip(names, opened, logs, strict=True)}
    money = budgets or _budgets(first)
    bootstrap = Bootstrap(draws=draws or config.run.draws, seed=config.run.seed)
    return compare(logs[0], menus, money, reference=names[0], bootstrap=bootstrap)
