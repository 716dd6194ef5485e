"""Compares a finished run with the truth of a simulated world: what was decided, and what could have been."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse.allocate.budget_frontier import frontier
from largesse.evaluate.comparison import BEST_MIX
from largesse.evaluate.returns import PayVerdict
from largesse.evaluate.truth import Room, true_value
from largesse.menu import Menu
from largesse.report.envelope import Envelope, EnvelopeRow, Kind

__all__ = ["Rivals", "envelope"]

_POLICY = "policy"


@dataclass(frozen=True, slots=True, eq=False)
class Rivals:
    """Predicted values and costs of the units of the envelope, (N, M) each.

    Attributes:
        policy: By the policy of the run.
        trial: By a plain two-stage model of the trial alone.
        log: By the same model of the past campaign data alone.
    """

    policy: Menu
    trial: Menu
    log: Menu


def envelope(metrics: Mapping[str, Any], rivals: Rivals, truth: Menu, value_per_unit: float) -> Envelope:
    """Returns the true net value of each way to spend the budget that a finished run leads with, all at that spend.

    Args:
        metrics: Content of metrics.json of the run: its budget and its intervals are read.
        rivals: What the models predict for the units of the truth.
        truth: Exact expected value and cost of these units.
        value_per_unit: What one unit of value brings in money.
    """
    budget = float(metrics["lead"]["budget"])
    base = float(truth.value[:, 0].mean(dtype=np.float64))
    room = Room.of(truth, [budget])

    def net(value: NDArray[np.float64] | float) -> float:
        return value_per_unit * (float(np.ravel(value)[0]) - base) - budget

    def row(kind: Kind, value: Any, printed: str = "", predicted: Menu | None = None) -> EnvelopeRow:
        estimate = _printed(metrics, printed, budget)
        promise = nan if predicted is None else _promise(predicted, budget, value_per_unit)
        return EnvelopeRow(
            kind=kind, net=net(value), estimate=estimate[0], low=estimate[1], high=estimate[2], promise=promise
        )

    return Envelope(
        budget=budget, units=truth.n, advised=_advised(metrics),
        rows=(
            row("policy", true_value(rivals.policy, truth, [budget]), _POLICY),
            row("untargeted", room.arms, BEST_MIX),
            row("trial", true_value(rivals.trial, truth, [budget])),
            row("log", true_value(rivals.log, truth, [budget]), predicted=rivals.log),
            row("oracle", room.oracle),
        ),
    )  # fmt: skip


def _advised(metrics: Mapping[str, Any]) -> Kind:
    return "untargeted" if metrics["lead"]["verdict"] == PayVerdict.UNTARGETED else "policy"


def _printed(metrics: Mapping[str, Any], name: str, budget: float) -> tuple[float, float, float]:
    """Returns the net value of a policy at the budget as the run printed it, with its interval; NaN where it printed none."""
    for row in metrics["returns"]["rows"]:
        if row["name"] == name and row["budget"] == budget:
            net, low, high = (nan if row[key] is None else row[key] for key in ("net", "net_low", "net_high"))
            return net, low, high
    return nan, nan, nan


def _promise(menu: Menu, budget: float, value_per_unit: float) -> float:
    """Returns the net value that a model predicts for its own allocation of the budget."""
    value = float(frontier(menu).value_at([budget * menu.n])[0]) / menu.n
    return value_per_unit * (value - float(menu.value[:, 0].mean(dtype=np.float64))) - budget
