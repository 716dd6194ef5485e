"""Describes for the report how far the past campaign data can be trusted, treatment by treatment."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse.checks.finding import sample
from largesse.checks.soundness import OutcomeBias, Overlap, Soundness, menu_bias
from largesse.logs import Logs
from largesse.models.base import Model
from largesse.policy.safety import normal_quantile
from largesse.report.content import TrustRow

__all__ = ["trust"]

_ROWS = 200_000  # a sample of so many is precise enough
_Z = normal_quantile(0.975)
Table = NDArray[np.float64]


def trust(rct: Logs, obs: Logs | None, sound: Soundness, models: dict[str, Model]) -> tuple[TrustRow, ...]:
    """Returns one row per treatment; () without past campaign data.

    Args:
        rct: The rows of the trial.
        obs: The rows of the past policy.
        sound: The checks of both.
        models: The fitted candidates; the bias left is that of a model of the log alone, the gate that of a bi-level model.
    """
    if obs is None:
        return ()
    bias, overlap = sound["outcome bias"], sound["overlap"]
    assert isinstance(bias, OutcomeBias)
    some = sample(rct, _ROWS, seed=0)
    raw = _with_interval(bias.value, bias.value_standard_error)
    raw[(rct.arm_rows == 0) | (obs.arm_rows == 0)] = np.nan
    residual, gates = _residual_bias(some, models), _gates(some, models)
    counts = overlap.ess_share * obs.arm_rows if isinstance(overlap, Overlap) else np.full(obs.n_treatments, np.nan)
    return tuple(
        TrustRow(
            treatment=name, rows=int(obs.arm_rows[j]), effective_rows=float(counts[j]), raw_bias=raw[j, 0],
            raw_bias_low=raw[j, 1], raw_bias_high=raw[j, 2], residual_bias=residual[j, 0], residual_bias_low=residual[j, 1],
            residual_bias_high=residual[j, 2], gate=gates[j, 0], gate_low=gates[j, 1], gate_high=gates[j, 2],
        )
        for j, name in enumerate(rct.treatments)
    )  # fmt: skip


def _with_interval(mean: Table, standard_error: Table) -> Table:
    return np.column_stack([mean, mean - _Z * standard_error, mean + _Z * standard_error])


def _residual_bias(rct: Logs, models: dict[str, Model]) -> Table:
    """Returns mean predicted less mean observed value of a model of the log alone, with its interval, (M, 3)."""
    corrected: Any = models.get("logs-then-correction")
    if corrected is None:
        return np.full((rct.n_treatments, 3), np.nan)
    bias = menu_bias(rct, corrected.base_.predict(rct.x))
    return _with_interval(bias.value, bias.value_standard_error)


def _gates(rct: Logs, models: dict[str, Model]) -> Table:
    """Returns the mean gate of the value and its 5th and 95th percentile over units, (M, 3), of the first bi-level model."""
    bilevel: Any = next((m for m in models.values() if hasattr(m, "gates_of")), None)
    if bilevel is None:
        return np.full((rct.n_treatments, 3), np.nan)
    gates = bilevel.gates_of(rct.x).value.astype(np.float64)
    return np.column_stack([gates.mean(0), *np.quantile(gates, [0.05, 0.95], axis=0)])
