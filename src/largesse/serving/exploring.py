"""How units that explore are drawn: from a mix, at the policy's cost, or as the members of an ensemble vote.

Every way gives each unit a distribution over its treatments, computed before anything is drawn: so propensities stay exact.

- ``"mix"``: the weights of the campaign, the same for all units.
- ``"cost-neutral"``: weights in proportion to mix · exp(-θ cost), with one θ for all units at which exploration costs what the
  policy costs. Of all distributions with that cost, it is the nearest to the mix (relative entropy).
- ``"thompson"``: the share of the members of the policy's ensemble by which a treatment is best at the price, as Thompson
  sampling draws with the members as its sample of the posterior. The members are few, so the shares are exact, not simulated.

With the last two, a part of the exploration (`mix_share`) is drawn from the mix all the same: it bounds the propensities
below, so that intervals for any policy stay finite.

Reference:
    Thompson 1933, On the likelihood that one unknown probability exceeds another. Csiszár 1975, I-divergence geometry (the
    exponential tilt).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from largesse.serving.increments import best_treatments

__all__ = ["WAYS", "cost_of", "tilt_at_cost", "tilted", "votes"]

Floats = NDArray[np.float64]
WAYS = ("mix", "cost-neutral", "thompson")
"""The ways of exploring."""
_STEEPEST = 60.0  # |θ| times the largest mean cost of a treatment
_HALVINGS = 60


def tilted(mix: Floats, cost: Floats, tilt: float) -> Floats:
    """Returns weights in proportion to mix · exp(-tilt · cost), (n, M), each row with sum 1.

    Args:
        mix: Weights, (M,), > 0.
        cost: Predicted cost, (n, M); infinite where a treatment is not allowed, but never everywhere.
        tilt: θ; 0 leaves the mix.

    >>> tilted(np.array([1.0, 1.0]), np.array([[0.0, 2.0]]), 0.5).round(3)
    array([[0.731, 0.269]])
    """
    open_ = np.isfinite(cost)
    exponent = np.where(open_, -tilt * np.where(open_, cost, 0.0), -np.inf)
    weights = mix * np.exp(exponent - exponent.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def cost_of(weights: Floats, cost: Floats) -> float:
    """Returns the mean cost of drawing from weights, (n, M), for units with these costs, (n, M)."""
    return float((weights * np.where(weights > 0, cost, 0.0)).sum(axis=1).mean())


def tilt_at_cost(mix: Floats, cost: Floats, target: float, mix_share: float) -> float:
    """Returns θ at which exploration has a mean cost: the nearest one where none has it.

    Args:
        mix: Weights, (M,).
        cost: Predicted cost of recent units, (n, M); infinite where a treatment is not allowed.
        target: The mean cost, e.g. that of the policy.
        mix_share: Part of the exploration that is drawn from the mix whatever θ is.

    >>> cost = np.array([[0.0, 1.0], [0.0, 3.0]])
    >>> theta = tilt_at_cost(np.array([1.0, 1.0]), cost, 0.5, 0.2)
    >>> round(0.2 * 1.0 + 0.8 * cost_of(tilted(np.array([1.0, 1.0]), cost, theta), cost), 6)
    0.5
    """
    fixed = mix_share * cost_of(tilted(mix, cost, 0.0), cost)
    largest = float(np.where(np.isfinite(cost), cost, 0.0).mean(axis=0).max())
    if largest <= 0 or mix_share >= 1:
        return 0.0
    low, high = -_STEEPEST / largest, _STEEPEST / largest  # the cost falls with θ
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if fixed + (1 - mix_share) * cost_of(tilted(mix, cost, middle), cost) > target:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def votes(value: Floats, cost: Floats, weights: Floats, price: float) -> Floats:
    """Returns the share of an ensemble by which each treatment is best at a price, (n, M), each row with sum 1.

    Args:
        value: Predicted value by each of B members, (B, n, M).
        cost: Predicted cost, (B, n, M); infinite where a treatment is not allowed.
        weights: Weight of each member, (B,), sum 1.
        price: Shadow price λ.

    >>> members = np.array([[[0.0, 2.0]], [[0.0, 0.5]]])
    >>> votes(members, np.ones((2, 1, 2)) * [0.0, 1.0], np.array([0.75, 0.25]), 1.0)
    array([[0.25, 0.75]])
    """
    out = np.zeros(value.shape[1:])
    rows = np.arange(value.shape[1])
    for v, c, weight in zip(value, cost, weights.tolist(), strict=True):
        out[rows, best_treatments(v, c, price)] += weight
    return np.asarray(out / out.sum(axis=1, keepdims=True))
