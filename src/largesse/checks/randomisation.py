"""Checks of randomisation: arm sizes against the planned shares, and balance of features across arms.

Row weights are sampling weights: given the rows and their weights, the assignment is what was random. A sum of weights
varies more than a count of so many rows, and weights that are all alike change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from largesse import _check
from largesse._arguments import checked
from largesse.checks.finding import Finding, Floats, Grade, arm_means, grade, over, randomised, sample
from largesse.logs import Logs

__all__ = ["Balance", "Imbalance", "SampleRatio", "balance", "count_ratio", "sample_ratio"]


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class SampleRatio(Finding):
    """Arm sizes against the planned shares.

    Attributes:
        observed: Rows per arm, float64 (M,), or clusters or units where these were assigned as a whole; with row weights, the
            arms' shares of the weight times the number of rows.
        planned: Rows per arm by the planned shares, float64 (M,), or None where no shares were given.
        chi2: Pearson's statistic, NaN without planned shares; of (Σ weight)² / Σ weight² rows (Kish) if there are weights.
        p_value: Its p-value with M - 1 degrees of freedom, NaN without planned shares.
    """

    observed: Floats
    planned: Floats | None
    chi2: float
    p_value: float


class Imbalance(NamedTuple):
    """One feature in one arm: standardised difference from control, and the feature's p-value over all arms (Holm)."""

    feature: str
    treatment: str
    smd: float
    p_value: float


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Balance(Finding):
    """Features of each arm against control's.

    Attributes:
        smd: Standardised mean difference of arm j + 1 from control, float64 (M - 1, d); infinite where a feature is
            constant in both arms but not the same.
        p_features: p-value of each feature over all arms, adjusted for their number (Holm), float64 (d,); 1 where the
            feature is too rare to be tested.
        p_joint: p-value of all features at once (Pillai's trace).
        p_value: The smaller of the joint and the smallest single p-value, doubled since there are two.
        worst: The five features that differ most, the most telling first.
    """

    smd: Floats
    p_features: Floats
    p_joint: float
    p_value: float
    worst: tuple[Imbalance, ...]


@checked
def sample_ratio(logs: Logs, *, planned: Literal["uniform"] | Mapping[str, float] | None = None) -> SampleRatio:
    """Tests the sizes of the arms against the planned shares: a mismatch means that rows were lost or misassigned.

    Args:
        logs: Rows of a trial.
        planned: ``"uniform"``, or a share for each treatment by name; by default the propensities given with the logs.
            Shares that were read off the rows themselves (the default of `Logs`) leave nothing to test.

    Raises:
        DataError: `planned` does not name every treatment, or its shares do not sum to 1.

    Reference:
        Fabijan et al. 2019, "Diagnosing sample ratio mismatch in online controlled experiments", KDD.

    >>> logs = Logs(x=[[0.0]] * 100, treatment=[0] * 30 + [1] * 70, value=[0] * 100, cost=[0] * 100)
    >>> result = sample_ratio(logs, planned="uniform")
    >>> result.status.value, round(result.chi2, 2)
    ('fail', 16.0)
    """
    if planned is not None:
        logs = replace(logs, propensity=planned)
    logs = randomised(logs) or logs
    w = logs.weights / logs.weights.mean()
    observed = np.bincount(logs.treatment, w, minlength=logs.n_treatments).astype(np.float64)
    if logs.assignment not in ("uniform", "shares") and not (logs.assignment == "rows" and logs.design == "rct"):
        return SampleRatio(
            name="sample ratio", status=Grade.UNTESTED, observed=observed, planned=None, chi2=np.nan, p_value=np.nan,
            sentence="Planned shares were not given, so there is nothing to test. Name them: design.rct_propensity, or planned=.",
        )  # fmt: skip
    shares = np.array([logs.propensity[np.argmax(logs.treatment == j)] for j in range(logs.n_treatments)])
    return count_ratio(observed, shares, logs.treatments, effective=float(logs.n / np.square(w).mean()))


def count_ratio(
    observed: Floats, shares: Floats, names: tuple[str, ...], *, effective: float | None = None
) -> SampleRatio:
    """Tests the sizes of the arms, counted already, against the planned shares.

    Args:
        observed: Units by arm (M,).
        shares: Planned shares (M,), which should sum to 1.
        names: Of the arms (M,).
        effective: The number of units as whose count the sum varies; None: units have no weights.

    >>> count_ratio(np.array([44_700.0, 45_489.0]), np.array([0.5, 0.5]), ("gate 30", "gate 40")).status.value
    'warn'
    """
    expected = shares / shares.sum() * observed.sum()
    fewer = 1.0 if effective is None else effective / observed.sum()
    chi2, p = (float(x) for x in stats.chisquare(observed * fewer, expected * fewer))
    chance = _check.p_value(p, "= ")
    worst = int(np.argmax((observed - expected) ** 2 / expected))
    off = f"p {chance}; {names[worst]!r} has {observed[worst]:,.0f} rows, planned {expected[worst]:,.0f}"
    words = {
        Grade.OK: f"Arm sizes agree with the planned shares (p {chance}). Nothing to do.",
        Grade.WARN: f"Arm sizes are a little off the planned shares ({off}). Check how units were assigned and logged.",
        Grade.FAIL: f"Arm sizes contradict the planned shares ({off}). Before you use this trial, find the rows that were "
        "lost or misassigned: filters after assignment, joins, bots, repeated assignment.",
    }
    status = grade(p)
    if abs(shares.sum() - 1) > 0.01:
        status, words[Grade.FAIL] = (
            Grade.FAIL,
            f"The arms' propensities sum to {shares.sum():.3g}, not 1. Correct the column.",
        )
    return SampleRatio(
        name="sample ratio", status=status, sentence=words[status], observed=observed, planned=expected, chi2=chi2,
        p_value=p,
    )  # fmt: skip


@checked
def balance(logs: Logs, *, rows: int = 100_000, seed: int = 0) -> Balance:
    """Compares the features of every arm with control's, and tests whether chance explains the differences.

    The tests use ranks, so heavy tails do not disturb their level. One tests all features at once, the other each feature
    with Holm's correction; the first detects many small shifts, the second a single large one. A feature is tested if the
    smallest arm is expected to have 5 rows that differ from its most frequent value. Where propensities are given by row
    (a stratified trial, a log of random decisions), the tests and the differences are of means weighted by 1/p.

    Args:
        logs: Rows of a trial. For observational rows without propensities a difference is expected: the status is ``"ok"``.
        rows: Size of the random sample that is used.
        seed: Seed of the sample.

    Reference:
        Pillai 1955 (trace, F approximation); Hansen & Bowers 2008, "Covariate balance in simple, stratified and
        clustered comparative studies".

    Where clusters, or units with several rows, were assigned as a whole, their means are compared.

    >>> x = np.random.default_rng(0).lognormal(size=(1000, 3))
    >>> logs = Logs(x=x, treatment=np.arange(1000) % 2, value=np.zeros(1000), cost=np.zeros(1000))
    >>> balance(logs).status.value
    'ok'
    """
    part = sample(randomised(logs) or logs, rows, seed)
    by_row = part.assignment == "rows" and part.design == "obs"
    smd, (p_features, p_joint) = _smd(part, by_row), _weighted_tests(part) if by_row else _rank_tests(part)
    p = float(min(1.0, 2 * min(p_joint, p_features.min())))
    chance = _check.p_value(p, "= ")
    largest = np.abs(smd).max(axis=0)
    worst = tuple(
        Imbalance(part.features[k], part.treatments[arm + 1], float(smd[arm, k]), float(p_features[k]))
        for k in np.lexsort((-largest, p_features))[:5]
        for arm in [int(np.argmax(np.abs(smd[:, k])))]
    )
    top = worst[0]
    off = (
        f"p {chance}; most in {top.feature!r}: arm {top.treatment!r} is {top.smd:+.2f} standard deviations off control"
    )
    why = "chance and the given propensities explain" if by_row else "chance explains"
    words = {
        Grade.OK: f"Features are balanced across arms (p {chance}). Nothing to do.",
        Grade.WARN: f"Features differ a little more between arms than {why} ({off}). Check the assignment.",
        Grade.FAIL: f"Features differ between arms more than {why} ({off}). Randomisation is suspicious: check "
        "the assignment, and whether these features were recorded after it. If a rule or a person chose who got what, these "
        "rows are no trial: give them as past campaign data (obs), and run a trial. Leaving such features out only hides the "
        "difference.",
    }
    status, sentence = grade(p), words[grade(p)]
    if logs.design == "obs" and not by_row and status != Grade.OK:
        status, sentence = (
            Grade.OK,
            f"Features differ between arms, as expected of a past policy ({off}). See the overlap.",
        )
    return Balance(
        name="balance", status=status, sentence=sentence, smd=smd, p_features=p_features, p_joint=p_joint, p_value=p,
        worst=worst,
    )  # fmt: skip


def _smd(logs: Logs, by_row: bool) -> Floats:
    arms = np.eye(logs.n_treatments)[logs.treatment] * (logs.inverse_propensity if by_row else logs.weights)[:, None]
    x = logs.x.astype(np.float64) - logs.x[0]  # centred on a row, so that a constant feature is exactly 0
    means = arm_means(x, arms)
    variance = arm_means((x - means[logs.treatment]) ** 2, arms)
    # (mean_j - mean_0) / √((var_j + var_0) / 2)
    return over(means[1:] - means[0], np.sqrt((variance[1:] + variance[0]) / 2))


def _rank_tests(logs: Logs) -> tuple[Floats, float]:
    """Returns the Holm-adjusted p-value of each feature, (d,), and the p-value of all features at once."""
    arms, m, n = np.eye(logs.n_treatments)[logs.treatment], logs.n_treatments, float(logs.n)
    size, w = arms.sum(axis=0), logs.weights / logs.weights.mean()
    ranked = [_scaled_ranks(column, w) for column in logs.x.T]
    tested = np.array([off_mode * size.min() / n >= 5 for _, off_mode in ranked])
    p_features = np.ones(len(ranked))
    if not tested.any():
        return p_features, 1.0
    u = np.column_stack([ranks for (ranks, _), keep in zip(ranked, tested, strict=True) if keep])  # mean 0, sd 1
    means = arm_means(u, arms)  # of weight times rank: given the rows, only the arms are random
    # Σ_j n_j ū_j² (n - 1) / n: its covariance under random assignment is known exactly; chi-square, M - 1
    p_features[tested] = _holm(stats.chi2.sf(size @ means**2 * (n - 1) / n, m - 1))
    eigenvalues, vectors = np.linalg.eigh(u.T @ u / n)
    keep = eigenvalues > 1e-8 * eigenvalues.max()
    white = means @ vectors[:, keep] / np.sqrt(eigenvalues[keep])
    return p_features, _pillai(float(size @ (white**2).sum(axis=1) / n), int(keep.sum()), m - 1, n)


def _weighted_tests(logs: Logs) -> tuple[Floats, float]:
    """Returns the p-values of `_rank_tests` for propensities given by row.

    With u a row's scaled rank, u (1[t = j] / p - 1) has mean 0 in every row, whatever its propensities were.
    """
    ranked = [_scaled_ranks(column, logs.weights / logs.weights.mean()) for column in logs.x.T]
    tested = np.array([off_mode * logs.arm_rows.min() / logs.n >= 5 for _, off_mode in ranked])
    p_features = np.ones(len(ranked))
    if not tested.any():
        return p_features, 1.0
    assert logs.propensity is not None
    shown = np.eye(logs.n_treatments)[logs.treatment] / logs.propensity[:, None] - 1
    scores = [ranks[:, None] * shown for (ranks, _), keep in zip(ranked, tested, strict=True) if keep]
    p_features[tested] = _holm(np.array([_mean_zero(score) for score in scores]))
    return p_features, _mean_zero(np.hstack(scores))


def _mean_zero(scores: Floats) -> float:
    """Returns the p-value of Hotelling's test that the columns have mean 0; 1 with too few rows."""
    n, total = len(scores), scores.sum(axis=0)
    eigenvalues, vectors = np.linalg.eigh(scores.T @ scores)
    keep = eigenvalues > 1e-10 * max(float(eigenvalues.max()), 1e-300)
    q = int(keep.sum())
    if n <= 2 * q or q == 0:
        return 1.0
    share = float(((total @ vectors[:, keep]) ** 2 / eigenvalues[keep]).sum() / n)  # in [0, 1]
    return float(stats.f.sf(share / max(1 - share, 1e-300) * (n - q) / q, q, n - q))


def _scaled_ranks(column: NDArray[Any], weight: Floats) -> tuple[Floats, int]:
    """Returns weighted mid-ranks times the weights, mean 0 and variance 1, and the rows without the commonest value.

    A column of one value gives zeros.
    """
    kinds, place, rows = np.unique(column, return_inverse=True, return_counts=True)
    count = np.bincount(place, weight, minlength=len(kinds))
    ranks = (np.cumsum(count) - count / 2)[place]
    ranks = weight * (ranks - weight @ ranks / weight.sum())
    scale = np.sqrt((ranks**2).mean())
    return ranks / (scale if len(kinds) > 1 else 1.0), int(rows.sum() - rows.max())


def _holm(p: Floats) -> Floats:
    order, out = np.argsort(p, kind="stable"), np.empty_like(p)
    out[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return out


def _pillai(trace: float, p: int, q: int, n: float) -> float:
    """Returns the p-value of Pillai's trace of p variables on q contrasts, by its F approximation; 1 with too few rows."""
    s, a, b = min(p, q), abs(p - q), n - q - p - 2  # a = 2m + 1, b = 2n in the usual notation
    if b < 0:
        return 1.0
    if s - trace < 1e-12:
        return 0.0
    return float(stats.f.sf((b + s + 1) / (a + s) * trace / (s - trace), s * (a + s), s * (b + s + 1)))
