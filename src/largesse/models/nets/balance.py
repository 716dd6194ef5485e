"""Distances between the arms' representations, as differentiable penalties: Wasserstein and maximum mean discrepancy.

Reference:
    Shalit, Johansson and Sontag, ICML 2017, equation 3; Wasserstein gradient: their appendix, after Cuturi and Doucet 2014.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["imbalance", "mmd", "wasserstein"]

_SHARPNESS, _ROUNDS, _FLOOR = (
    10.0,
    10,
    1e-6,
)  # Sinkhorn: mean distance / entropy weight, iterations, smallest kernel value


def imbalance(h: Tensor, t: Tensor, arms: int, distance: str) -> Tensor:
    """Returns the mean distance between each treated arm's representations and control's; an arm without rows counts 0.

    Args:
        h: Representations, (N, k).
        t: Treatment codes, (N,).
        arms: Number of treatments M.
        distance: ``"mmd"`` or ``"wasserstein"``.
    """
    h = h / h.square().sum(1).mean().sqrt().clamp_min(_FLOOR)
    metric = {"mmd": mmd, "wasserstein": wasserstein}[distance]
    control, rows = h[t == 0], torch.bincount(t, minlength=arms)
    if not rows[0]:
        return h.sum() * 0
    distances = [metric(h[t == j], control) for j in range(1, arms) if rows[j]]
    return sum(distances, h.sum() * 0) / (arms - 1)


def mmd(a: Tensor, b: Tensor) -> Tensor:
    """Returns the squared maximum mean discrepancy under the kernel exp(-‖u - v‖²), >= 0.

    The biased estimate: pairs of a row with itself count too, so that identical samples give exactly 0.
    """
    return (-_squared(a, a)).exp().mean() + (-_squared(b, b)).exp().mean() - 2 * (-_squared(a, b)).exp().mean()


def wasserstein(a: Tensor, b: Tensor) -> Tensor:
    """Returns the transport cost Σ T ‖u - v‖ under the entropic plan T (Sinkhorn), which is a constant for the gradient."""
    distance = _squared(a, b).clamp_min(1e-10).sqrt()  # (n, m)
    with torch.no_grad():
        kernel = (-_SHARPNESS * distance / distance.mean()).exp() + _FLOOR
        rows, columns = 1.0 / len(a), 1.0 / len(b)
        u = a.new_full((len(a),), rows)
        for _ in range(_ROUNDS):
            u = rows / (kernel @ (columns / (kernel.T @ u)))
        plan = u[:, None] * kernel * (columns / (kernel.T @ u))
    return (plan * distance).sum()


def _squared(a: Tensor, b: Tensor) -> Tensor:
    """Returns the squared distances of all pairs, (n, m)."""
    return (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp_min(0)
