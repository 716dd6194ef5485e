"""Checks of an experiment: the sample ratio, and the balance of pre-experiment columns across arms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from largesse import _check
from largesse._arguments import checked
from largesse._random import child
from largesse.checks.randomisation import count_ratio
from largesse.checks.soundness import Finding, Grade, balance
from largesse.experiment.data.columns import Columns, Rows
from largesse.experiment.data.sample import Floats
from largesse.frames import Encoder
from largesse.logs import Logs

__all__ = ["soundness"]

_ROWS = 100_000


@checked
def soundness(
    rows: Rows, columns: Columns, *, planned: Mapping[str, float] | None = None, seed: int = 0
) -> tuple[Finding, ...]:
    """Returns the findings: arm sizes against planned shares, and pre-experiment columns that differ by arm.

    Args:
        rows: The rows of the experiment.
        columns: The role of each column.
        planned: Share of each arm by label, divided by their sum; None for equal shares.
        seed: Seed of the 100,000 rows on which covariates are compared, where there are more.

    Raises:
        DataError: `planned` does not name every arm.

    >>> from largesse.experiment.data.columns import Metric, rows_of
    >>> columns = Columns(arm="group", metrics=(Metric("y"),), control="A")
    >>> rows = rows_of({"group": ["A"] * 30 + ["B"] * 70, "y": np.arange(100)}, columns)
    >>> [(f.name, f.status.value) for f in soundness(rows, columns)]
    [('sample ratio', 'fail')]
    """
    ratio = count_ratio(_units(rows), _shares(rows.arms, planned), rows.arms)
    if planned is None and ratio.status is not Grade.OK:
        note = "Equal shares were assumed; if other shares were planned, name them."
        ratio = replace(ratio, sentence=f"{ratio.sentence} {note}")
    return (ratio, _covariate_balance(rows, columns, seed)) if columns.known_before else (ratio,)


def _units(rows: Rows) -> Floats:
    """Returns the number of randomised units per arm (M,)."""
    arm = rows.arm
    if rows.cluster is not None:
        arm = arm[np.unique(rows.cluster, return_index=True)[1]]
    return np.bincount(arm, minlength=len(rows.arms)).astype(np.float64)


def _shares(arms: tuple[str, ...], planned: Mapping[str, float] | None) -> Floats:
    if planned is None:
        return np.full(len(arms), 1 / len(arms))
    if set(planned) != set(arms):
        raise _check.refuse("planned", sorted(planned), f"must name the arms {arms}", "Give one share for each.")
    shares = np.array([_check.number(f"planned[{name!r}]", planned[name], low=1e-9, high=1e9) for name in arms])
    return np.asarray(shares / shares.sum())


def _covariate_balance(rows: Rows, columns: Columns, seed: int) -> Finding:
    """Compares pre-experiment columns across arms; where clusters were randomised, cluster means are compared."""
    n = len(rows.arm)
    drawn = np.arange(n) if n <= _ROWS or rows.cluster is not None else np.sort(child(seed, 3).choice(n, _ROWS, False))
    part = rows.table.select(list(columns.known_before)).take(pa.array(drawn))
    encoder = Encoder.fit(part, columns.known_before)
    x, arm = encoder.transform(part), rows.arm[drawn]
    if rows.cluster is not None:
        _, first, code = np.unique(rows.cluster, return_index=True, return_inverse=True)
        size = np.bincount(code)
        x = np.column_stack([np.bincount(code, column) / size for column in x.T]).astype(np.float32)
        arm = rows.arm[first]
    zero = np.zeros(len(arm))
    result = balance(Logs(x=x, treatment=arm, value=zero, cost=zero, treatments=rows.arms, features=encoder.names))
    sentence = result.sentence
    if result.status is not Grade.OK:
        worst = result.worst[0]
        sentence = (
            f"The covariate {worst.feature!r} differs by arm: {worst.treatment!r} is {worst.smd:+.2f} standard deviations off "
            f"{rows.arms[0]!r} (p {_check.p_value(result.p_value, '= ')}). If the arm changed a covariate, CUPED, CUPAC, MLRATE "
            "and STATE remove part of the effect. If it was recorded after the assignment, leave it out; otherwise check the "
            "randomisation."
        )
    return Finding(name="covariates", status=result.status, sentence=sentence)
