"""Scores whose mean is the value of a policy: inverse-propensity weighted or doubly robust, with known propensities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse.evaluate.sequences.sums import Rows

__all__ = ["policy_scores", "policy_weights"]

Floats = NDArray[np.float64]


@checked
def policy_weights(policy: Rows, treatment: Rows, propensity: Rows) -> Floats:
    """Returns the importance weight π(t | x) / P(t | x) of each row's treatment, (N,).

    Args:
        policy: Treatment that the policy gives each row, (N,), or its probabilities of the treatments, (N, M).
        treatment: Treatment given, (N,), from 0.
        propensity: Probability with which it was given, (N,), or those of all treatments, (N, M); in (0, 1].

    Raises:
        DataError: A length differs, or a propensity is not in (0, 1].

    >>> policy_weights([1, 0], [1, 1], [0.25, 0.5]).tolist()
    [4.0, 0.0]
    """
    given = _check.array("treatment", treatment, ndim=1)
    p = _propensities(propensity)
    _check.lengths(treatment=given, policy=np.asarray(policy), propensity=p)
    m = _count(given, p, np.asarray(policy))
    rule, remedy = f"must be a whole number from 0 to {m - 1}", "Number the treatments from 0."
    given = _check.integers("treatment", given, low=0, high=m, rule=rule, remedy=remedy)
    own = p[np.arange(len(p)), given] if p.ndim == 2 else p
    return np.asarray(_probabilities(policy, m)[np.arange(len(given)), given] / own)


@checked
def policy_scores(
    policy: Rows, treatment: Rows, propensity: Rows, value: Rows, *, predicted: Rows | None = None,
    floor: float | None = None,
) -> Floats:  # fmt: skip
    """Returns a score for each row whose expectation is the value of the policy, (N,), however policy and propensities change.

    With w = π(t | x) / P(t | x): w y, and with predictions v̂_j the doubly robust score Σ_j π_j v̂_j + w (y - v̂_t). Predictions
    must not come from a row's own outcome: from earlier rows, or out of fold. With a floor k, no score is below -k, however large
    a weight: v̂_j is replaced by min(v̂_j, k P_j / π_j), which keeps the expectation. Values must be >= 0 then, and the scores
    have a lower bound by betting (`BettingSequence` with bounds (-k, ...) and ``side="lower"``).

    Args:
        policy: Treatment that the policy gives each row, (N,), or its probabilities of the treatments, (N, M).
        treatment: Treatment given, (N,), from 0.
        propensity: Probability with which it was given, (N,), or those of all treatments, (N, M); in (0, 1]. A floor needs all.
        value: Outcome, (N,).
        predicted: Predicted value of each treatment, (N, M).
        floor: k, > 0.

    Raises:
        DataError: A length differs, a propensity is not in (0, 1], a floor without predictions or with negative values.

    Reference:
        Waudby-Smith, Wu, Ramdas, Karampatziakis & Mineiro 2022, arXiv 2210.10768 (pseudo-outcomes bounded below).

    >>> policy_scores([1, 0], [1, 1], [0.25, 0.5], [3.0, 1.0], predicted=[[0.0, 2.0], [0.5, 1.0]]).tolist()
    [6.0, 0.5]
    """
    w = policy_weights(policy, treatment, propensity)
    y = np.asarray(_check.array("value", value, ndim=1), np.float64)
    _check.amounts("value", y, "Leave out rows without an outcome.")
    _check.lengths(treatment=w, value=y)
    if predicted is None:
        if floor is not None:
            raise _check.refuse("floor", floor, "needs predictions", "Leave it out: without them, no score is below 0.")
        return np.asarray(w * y)
    v = np.asarray(_check.array("predicted", predicted, ndim=2), np.float64)
    _check.amounts("predicted", v, "Predict every treatment of every row.")
    _check.lengths(treatment=w, predicted=v)
    given = np.asarray(treatment).astype(np.intp)
    if given.max() >= v.shape[1]:
        raise _check.refuse("predicted.shape", v.shape, "must have a column for every treatment", "Predict them all.")
    pi = _probabilities(policy, v.shape[1])
    if floor is not None:
        k = _check.number("floor", floor, low=1e-12, high=_check.LARGEST)
        _check.nonnegative("value", y, "Leave the floor out.")
        p = _propensities(propensity)
        if p.shape != v.shape:
            raise _check.refuse(
                "propensity.shape", p.shape, f"must be {v.shape} with a floor", "Give those of all treatments."
            )
        v = np.minimum(v, np.divide(k * p, pi, out=np.full_like(p, np.inf), where=pi > 0))
    return np.asarray((pi * v).sum(axis=1) + w * (y - v[np.arange(len(v)), given]))


def _propensities(got: Rows) -> Floats:
    p = np.asarray(_check.array("propensity", got, ndim=2 if np.ndim(got) == 2 else 1), np.float64)
    wrong = ~((p > 0) & (p <= 1))
    if wrong.any():
        raise _check.refuse_cells(
            "propensity", p, wrong, "must be in (0, 1]", "Leave out rows that were not drawn at random."
        )
    return p


def _count(given: NDArray[np.generic], propensity: Floats, policy: NDArray[np.generic]) -> int:
    """Returns the number of treatments: of the probabilities, or the highest that appears."""
    widths = {int(table.shape[1]) for table in (policy, propensity) if table.ndim == 2}
    if len(widths) == 2:
        rule = f"must have {propensity.shape[1]} columns, as the propensities"
        raise _check.refuse("policy.shape", policy.shape, rule, "Give one for each treatment.")
    if widths:
        return widths.pop()
    return 1 + int(max(np.max(given), np.max(policy)))


def _probabilities(policy: Rows, m: int) -> Floats:
    """Returns the policy's probabilities of m treatments, (N, M)."""
    if np.ndim(policy) == 2:
        out = np.asarray(_check.array("policy", policy, ndim=2), np.float64)
        wrong = ~((out >= 0) & (out <= 1))
        if wrong.any():
            raise _check.refuse_cells("policy", out, wrong, "must be in [0, 1]", "Give probabilities.")
        if out.shape[1] != m:
            raise _check.refuse("policy.shape", out.shape, f"must have {m} columns", "Give one for each treatment.")
        return out
    rule, remedy = f"must be a whole number from 0 to {m - 1}", "Number the treatments from 0."
    code = _check.integers("policy", policy, low=0, high=m, rule=rule, remedy=remedy)
    return np.asarray(np.eye(m)[code])
