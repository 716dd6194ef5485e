"""Hypergradients: how the parameters φ of an upper problem move it through what the lower problem ends in.

    min_φ U(θ*(φ)),   θ*(φ) = argmin_θ L(θ, φ)

- implicit: dU/dφ = -(∂²L/∂φ∂θ)ᵀ v with (∂²L/∂θ² + δ) v = ∂U/∂θ, solved by conjugate gradients on products only;
- explicit: the derivative of U after a few steps θ ← θ - rate ∂L/∂θ, taken through the steps.

The Hessian of a network is indefinite: it is damped, and the solver stops where it meets negative curvature, or works
with Gauss-Newton products, which never do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from largesse import _check

__all__ = ["Lower", "Parameters", "Solution", "Solver", "conjugate_gradients", "descended", "explicit", "implicit"]

Parameters = dict[str, Tensor]
Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Solver:
    """How (H + δ) v = b is solved.

    Attributes:
        iterations: The most conjugate gradient steps.
        damping: δ, in units of the loss's curvature.
        tolerance: Stop when |b - (H + δ) v| <= tolerance |b|.
        gauss_newton: Replace H by Jᵀ (∂²L/∂outputs²) J: never negative for convex losses of the outputs.
        warm: Begin from the last solution.

    Raises:
        DataError: A setting is out of its range.
    """

    iterations: int = 10
    damping: float = 0.1
    tolerance: float = 1e-3
    gauss_newton: bool = False
    warm: bool = True

    def __post_init__(self) -> None:
        _check.integers("solver.iterations", [self.iterations], low=1, high=10**6, rule="must be >= 1", remedy="")
        _check.number("solver.damping", self.damping, low=0, remedy="0 solves with the Hessian as it is.")
        _check.number("solver.tolerance", self.tolerance, low=0, high=1)


class Solution(NamedTuple):
    """What the solver ended in.

    Attributes:
        x: v, flat.
        residual: |b - A v| / |b|.
        iterations: Steps taken.
        concave: Whether it stopped at negative curvature.
    """

    x: Tensor
    residual: float
    iterations: int
    concave: bool


@dataclass(frozen=True, slots=True)
class Lower:
    """The lower problem, L(θ) = loss(outputs(θ)); the loss may hold φ.

    Attributes:
        outputs: Outputs of the network with these parameters, one flat or shaped tensor each.
        loss: Mean loss of the outputs.
    """

    outputs: Callable[[Parameters], tuple[Tensor, ...]]
    loss: Callable[[tuple[Tensor, ...]], Tensor]

    def __call__(self, theta: Parameters) -> Tensor:
        """Returns L(θ)."""
        return self.loss(self.outputs(theta))


def conjugate_gradients(product: Product, b: Tensor, solver: Solver, start: Tensor | None = None) -> Solution:
    """Returns v with A v = b, up to the tolerance, the iterations or the first direction of negative curvature.

    Args:
        product: v -> A v, A symmetric; damping is the caller's.
        b: The right side, flat.
        solver: Iterations and tolerance.
        start: Where to begin; None: 0.

    Reference:
        Hestenes and Stiefel 1952; the stop at negative curvature: Steihaug 1983.
    """
    size = float(b.norm())
    if size == 0:
        return Solution(torch.zeros_like(b), 0.0, 0, False)
    x = torch.zeros_like(b) if start is None else start.clone()
    r = b.clone() if start is None else b - product(x)
    if start is not None and float(r.norm()) >= size:  # the old solution is worse than none
        x, r = torch.zeros_like(b), b.clone()
    p, square = r.clone(), float(r @ r)
    for k in range(solver.iterations):
        if square**0.5 <= solver.tolerance * size:
            return Solution(x, square**0.5 / size, k, False)
        along = product(p)
        bend = float(p @ along)
        if bend <= 1e-12 * float(p @ p):
            # Nothing solved yet: the gradient itself, scaled by the curvature's size, is a direction that can be trusted.
            x = x if bool(x.any()) else b * (size**2 / max(abs(bend), 1e-12 * size**2))
            return Solution(x, square**0.5 / size, k, True)
        step = square / bend
        x, r = x + step * p, r - step * along
        square, before = float(r @ r), square
        p = r + (square / before) * p
    return Solution(x, square**0.5 / size, solver.iterations, False)


def implicit(
    lower: Lower,
    upper: Callable[[Parameters], Tensor],
    theta: Parameters,
    phi: Sequence[Tensor],
    solver: Solver,
    start: Tensor | None = None,
) -> tuple[list[Tensor], Solution]:
    """Returns dU/dφ at a θ near θ*(φ) by the implicit function theorem, and how the solve ended.

    Args:
        lower: L, whose loss depends on φ.
        upper: U(θ).
        theta: Leaves that require gradients.
        phi: Leaves that require gradients.
        solver: How the linear system is solved.
        start: The last solution.
    """
    leaves = list(theta.values())
    b = _flat(_grad(upper(theta), leaves))
    outputs = lower.outputs(theta)
    slope = _flat(_grad(lower.loss(outputs), leaves, create_graph=True))  # ∂L/∂θ
    curved = _gauss_newton(lower, outputs, leaves) if solver.gauss_newton else _hessian(slope, leaves)
    found = conjugate_gradients(lambda v: curved(v) + solver.damping * v, b, solver, start if solver.warm else None)
    return list(_grad(slope, phi, -found.x)), found


def explicit(
    lower: Callable[[Parameters], Tensor],
    upper: Callable[[Parameters], Tensor],
    theta: Parameters,
    phi: Sequence[Tensor],
    rate: float,
    steps: int = 1,
) -> list[Tensor]:
    """Returns dU/dφ after so many gradient steps on the lower problem, taken through the steps.

    Args:
        lower: L(θ), which depends on φ.
        upper: U(θ).
        theta: Where the steps begin.
        phi: Leaves that require gradients.
        rate: Learning rate of the steps.
        steps: Their number.
    """
    return list(_grad(upper(descended(lower, theta, rate, steps, through=True)), phi))


def descended(
    lower: Callable[[Parameters], Tensor], theta: Parameters, rate: float, steps: int, *, through: bool = False
) -> Parameters:
    """Returns the parameters after some gradient steps on the lower problem: with their graph, or as new leaves."""
    for _ in range(steps):
        slopes = _grad(lower(theta), list(theta.values()), create_graph=through)
        theta = {name: p - rate * g for (name, p), g in zip(theta.items(), slopes, strict=True)}
        if not through:
            theta = {name: p.detach().requires_grad_() for name, p in theta.items()}
    return theta


def _hessian(slope: Tensor, leaves: list[Tensor]) -> Product:
    return lambda v: _flat(_grad(slope, leaves, v, retain_graph=True))


def _gauss_newton(lower: Lower, outputs: tuple[Tensor, ...], leaves: list[Tensor]) -> Product:
    """Returns v -> Jᵀ C J v with J = ∂outputs/∂θ and C = ∂²loss/∂outputs²."""
    # Jᵀ u is linear in u, so that its derivative along v is J v: two sweeps back make one forward.
    probes = tuple(torch.zeros_like(z).requires_grad_() for z in outputs)
    back = _flat(_grad(outputs, leaves, probes, create_graph=True))
    ends = tuple(z.detach().requires_grad_() for z in outputs)
    bend = _grad(lower.loss(ends), ends, create_graph=True)

    def product(v: Tensor) -> Tensor:
        forward = _grad(back, probes, v, retain_graph=True)  # J v
        turned = _grad(bend, ends, forward, retain_graph=True)  # C J v
        return _flat(_grad(outputs, leaves, turned, retain_graph=True))

    return product


def _grad(of: Any, at: Sequence[Tensor], along: Any = None, **how: bool) -> tuple[Tensor, ...]:
    """Returns the gradient at some leaves, zero where they play no part."""
    return torch.autograd.grad(of, list(at), along, allow_unused=True, materialize_grads=True, **how)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.reshape(-1) for t in tensors])
