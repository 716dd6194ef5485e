"""Does a feature depend on the arm, in whatever way? One that does may be measured after the treatment."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from largesse._arguments import checked
from largesse.checks.finding import Floats, randomised, sample
from largesse.logs import Logs

__all__ = ["arm_dependence"]

_BINS, _EXPECTED = 8, 5.0


@checked
def arm_dependence(logs: Logs, *, rows: int = 100_000, seed: int = 0) -> Floats:
    """Returns the p-value of each feature's independence of the arm, adjusted for their number (Bonferroni), (d,).

    The chi-square test of arms against eight bins of the feature by rank: it detects what a comparison of means does not, such
    as a feature that is more spread out in one arm. Where propensities are given by row, or too few rows have a value other
    than the most frequent one, nothing is tested and the p-value is 1.

    Args:
        logs: Rows of a trial. Clusters, or units with several rows, that were assigned as a whole count once.
        rows: Size of the random sample that is used.
        seed: Seed of the sample.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> t = np.arange(4000) % 2
        >>> x = np.column_stack([rng.normal(size=4000), rng.normal(size=4000) * (1 + t)])
        >>> logs = Logs(x=x, treatment=t, value=np.zeros(4000), cost=np.zeros(4000))
        >>> (arm_dependence(logs) < 0.001).tolist()
        [False, True]
    """
    if logs.assignment == "rows":
        return np.ones(logs.x.shape[1])
    part = sample(randomised(logs) or logs, rows, seed)
    p = np.array([_p_value(column, part.treatment, part.n_treatments) for column in part.x.T])
    return np.minimum(1.0, p * len(p))


def _p_value(column: NDArray[np.float32], arm: NDArray[np.int32], arms: int) -> float:
    cuts = np.unique(np.quantile(column, np.arange(1, _BINS) / _BINS, method="higher"))
    bins = np.searchsorted(np.unique(np.append(cuts, column.min())), column, side="left")
    counts = np.zeros((int(bins.max()) + 1, arms))
    np.add.at(counts, (bins, arm), 1)
    counts = counts[counts.sum(axis=1) > 0]
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    if len(counts) < 2 or expected.min() < _EXPECTED:
        rare = counts.sum(axis=1) < counts.sum() / _BINS  # rare values together
        counts = np.vstack([counts[~rare], counts[rare].sum(axis=0)]) if rare.any() else counts
        expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    if len(counts) < 2 or expected.min() < _EXPECTED:
        return 1.0
    return float(stats.chi2_contingency(counts, correction=False).pvalue)
