"""How far apart the arms are in a representation: Wasserstein distance and maximum mean discrepancy, to be descended.

Reference:
    Shalit, Johansson and Sontag, ICML 2017, equation 3; Wasserstein gradient: their appendix, after Cuturi and Doucet 2014.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["imbalance", "mmd", "wasserstein"]

_SHARP, _ROUNDS, _FLOOR = 10.0, 10, 1e-6  # Sinkhorn: 1 / (entropy's weight) in mean distances, rounds, least kernel


def imbalance(h: Tensor, t: Tensor, arms: int, distance: str) -> Tensor:
    """Returns the mean distance of the treated arms' representations (N, k) from control's; an arm without rows counts 0."""
    h = h / h.square().sum(1).mean().sqrt().clamp_min(_FLOOR)
    between = {"mmd": mmd, "wasserstein": wasserstein}[distance]
    control, present = h[t == 0], torch.bincount(t, minlength=arms)
    if not present[0]:
        return h.sum() * 0
    parts = [between(h[t == j], control) for j in range(1, arms) if present[j]]
    return sum(parts, h.sum() * 0) / (arms - 1)


def mmd(a: Tensor, b: Tensor) -> Tensor:
    """Returns the squared maximum mean discrepancy under the kernel exp(-‖u - v‖²), which is never negative.

    All pairs count, a row with itself too: so it is 0 exactly for the same rows.
    """
    return (-_squared(a, a)).exp().mean() + (-_squared(b, b)).exp().mean() - 2 * (-_squared(a, b)).exp().mean()


def wasserstein(a: Tensor, b: Tensor) -> Tensor:
    """Returns the cost Σ T ‖u - v‖ of moving a onto b by an entropic plan T, which the gradient takes as constant."""
    distance = _squared(a, b).clamp_min(1e-10).sqrt()  # (n, m)
    with torch.no_grad():
        kernel = (-_SHARP * distance / distance.mean()).exp() + _FLOOR
        rows, columns = 1.0 / len(a), 1.0 / len(b)
        u = a.new_full((len(a),), rows)
        for _ in range(_ROUNDS):
            u = rows / (kernel @ (columns / (kernel.T @ u)))
        plan = u[:, None] * kernel * (columns / (kernel.T @ u))
    return (plan * distance).sum()


def _squared(a: Tensor, b: Tensor) -> Tensor:
    """Returns the squared distances of all pairs, (n, m)."""
    return (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp_min(0)
