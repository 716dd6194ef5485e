"""Can this experiment be trusted? Arm sizes, and whether what should be known before was changed by the arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from largesse import _check
from largesse._random import child
from largesse.checks.randomisation import count_ratio
from largesse.checks.soundness import Finding, Grade, balance
from largesse.experiment.data.columns import Columns, Rows
from largesse.experiment.data.sample import Floats
from largesse.frames import Encoder
from largesse.logs import Logs

__all__ = ["soundness"]

_ROWS = 100_000


def soundness(
    rows: Rows, columns: Columns, *, planned: Mapping[str, float] | None = None, seed: int = 0
) -> tuple[Finding, ...]:
    """Returns what the checks find: arm sizes against planned shares, covariates that differ by arm.

    Args:
        rows: The experiment.
        columns: Which column is what.
        planned: Share of each arm by label; equal shares where none are given.
        seed: Of the rows drawn where there are more than 100,000.

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
        ratio = replace(
            ratio, sentence=f"{ratio.sentence} Equal shares were taken as planned: name others if they were."
        )
    found: list[Finding] = [ratio]
    if columns.known_before:
        found.append(_covariates(rows, columns, seed))
    return tuple(found)


def _units(rows: Rows) -> Floats:
    """Randomised units by arm."""
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


def _covariates(rows: Rows, columns: Columns, seed: int) -> Finding:
    """Compares what was known before across arms; where units are clusters, their means are compared."""
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
    found = balance(Logs(x=x, treatment=arm, value=zero, cost=zero, treatments=rows.arms, features=encoder.names))
    if found.status is Grade.OK:
        return Finding(name="covariates", status=Grade.OK, sentence=found.sentence)
    worst = found.worst[0]
    words = (
        f"The covariate {worst.feature!r} differs by arm: {worst.treatment!r} is {worst.smd:+.2f} standard deviations off "
        f"{rows.arms[0]!r} (p = {found.p_value:.2g}). A covariate that the arm has changed takes its effect out of CUPED, CUPAC, "
        "MLRATE and STATE. Was it recorded after the assignment? Then leave it out; if not, suspect the randomisation."
    )
    return Finding(name="covariates", status=found.status, sentence=words)
