"""A test of the propensities given by row: over the rows of any arm, Σ 1/p estimates the number of all rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from largesse._arguments import checked
from largesse.checks.finding import Finding, Floats, Grade, grade
from largesse.logs import Logs

__all__ = ["Propensities", "propensities"]


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Propensities(Finding):
    """The given propensities against the rows.

    Attributes:
        share: Σ weight / p over the rows of each arm, as a share of Σ weight over all rows, float64 (M,); about 1.
        z: Its distance from 1 in standard errors, float64 (M,).
        p_value: Of the largest distance, for the number of arms (Bonferroni).
    """

    share: Floats
    z: Floats
    p_value: float


@checked
def propensities(logs: Logs) -> Propensities | None:
    """Returns the test of the propensities; None unless they were given by row and differ within an arm.

    Args:
        logs: Rows with the probability of the treatment that each row got.

    >>> rng = np.random.default_rng(0)
    >>> treated = rng.uniform(0.1, 0.5, 4000)
    >>> t = (rng.random(4000) < treated).astype(int)
    >>> rows = {"x": np.zeros((4000, 1)), "treatment": t, "value": t, "cost": t, "design": "obs"}
    >>> right, wrong = np.where(t == 1, treated, 1 - treated), treated
    >>> [propensities(Logs(**rows, propensity=p)).status.value for p in (right, wrong)]
    ['ok', 'fail']
    """
    if logs.assignment != "rows" or logs.design == "rct":
        return None
    z = logs.propensity_excess
    share = np.bincount(logs.treatment, logs.inverse_propensity, minlength=logs.n_treatments) / logs.total_weight
    p = float(min(1.0, logs.n_treatments * 2 * stats.norm.sf(np.abs(z).max())))
    arm = int(np.argmax(np.abs(z)))
    far = f" ({z[arm]:+.1f} standard errors)" if np.isfinite(z[arm]) else ""
    off = f"over the rows of {logs.treatments[arm]!r}, Σ 1/p is {share[arm]:.3g} times the number of all rows{far}"
    words = {
        Grade.OK: "The given propensities agree with the rows. Nothing to do.",
        Grade.WARN: f"The given propensities are a little off: {off}. Check them.",
        Grade.FAIL: f"The given propensities are wrong: {off}. Each row needs the probability "
        "of the treatment that it got, not of being treated, and every unit a chance of every treatment.",
    }
    return Propensities(
        name="propensities", status=grade(p), sentence=words[grade(p)], share=share, z=z, p_value=p
    )  # fmt: skip
