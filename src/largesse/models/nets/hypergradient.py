"""Hypergradients: the derivative of an upper objective U with respect to parameters φ of a lower problem.

    min_φ U(θ*(φ)),   θ*(φ) = argmin_θ L(θ, φ)

- implicit: dU/dφ = -(∂²L/∂φ∂θ)ᵀ v with (∂²L/∂θ² + δ) v = ∂U/∂θ, solved by conjugate gradients on Hessian-vector products;
- explicit: the derivative of U after a few steps θ ← θ - rate ∂L/∂θ, through the steps.

The Hessian of a network is indefinite: it is damped, and the solver stops at negative curvature. Gauss-Newton products
avoid negative curvature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from largesse import _check
from largesse._arguments import checked

__all__ = ["Lower", "Parameters", "Solution", "Solver", "conjugate_gradients", "descended", "explicit", "implicit"]

Parameters = dict[str, Tensor]
Product = Callable[[Tensor], Tensor]


@checked
@dataclass(frozen=True, slots=True)
class Solver:
    """Settings of the conjugate gradient solver for (H + δ) v = b.

    Attributes:
        iterations: Maximum number of conjugate gradient steps.
        damping: δ, in units of the curvature of the loss.
        tolerance: The solver stops when |b - (H + δ) v| <= tolerance |b|.
        gauss_newton: Replace H by Jᵀ (∂²L/∂outputs²) J, which has no negative curvature for losses convex in the outputs.
        warm: Start from the previous solution.

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
        _check.number("solver.damping", self.damping, low=0, remedy="0 solves with the undamped Hessian.")
        _check.number("solver.tolerance", self.tolerance, low=0, high=1)


class Solution(NamedTuple):
    """Result of the solver.

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
    """The lower problem, L(θ) = loss(outputs(θ)); the loss may depend on φ.

    Attributes:
        outputs: Outputs of the network with these parameters, tensors of any shape.
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
        product: v -> A v, A symmetric, damping included.
        b: The right-hand side, flat.
        solver: Iterations and tolerance.
        start: Starting point; None: 0.

    Reference:
        Hestenes and Stiefel 1952; the stop at negative curvature: Steihaug 1983.
    """
    size = float(b.norm())
    if size == 0:
        return Solution(torch.zeros_like(b), 0.0, 0, False)
    x = torch.zeros_like(b) if start is None else start.clone()
    r = b.clone() if start is None else b - product(x)
    if start is not None and float(r.norm()) >= size:  # the previous solution is worse than 0
        x, r = torch.zeros_like(b), b.clone()
    p, square = r.clone(), float(r @ r)
    for k in range(solver.iterations):
        if square**0.5 <= solver.tolerance * size:
            return Solution(x, square**0.5 / size, k, False)
        image = product(p)
        curvature = float(p @ image)
        if curvature <= 1e-12 * float(p @ p):
            # At x = 0 there is no solution yet: return the gradient, divided by the absolute curvature along it.
            x = x if bool(x.any()) else b * (size**2 / max(abs(curvature), 1e-12 * size**2))
            return Solution(x, square**0.5 / size, k, True)
        step = square / curvature
        x, r = x + step * p, r - step * image
        square, previous = float(r @ r), square
        p = r + (square / previous) * p
    return Solution(x, square**0.5 / size, solver.iterations, False)


def implicit(
    lower: Lower,
    upper: Callable[[Parameters], Tensor],
    theta: Parameters,
    phi: Sequence[Tensor],
    solver: Solver,
    start: Tensor | None = None,
) -> tuple[list[Tensor], Solution]:
    """Returns dU/dφ at a θ near θ*(φ) by the implicit function theorem, and the solution of the linear system.

    Args:
        lower: L, whose loss depends on φ.
        upper: U(θ).
        theta: Leaves that require gradients.
        phi: Leaves that require gradients.
        solver: How the linear system is solved.
        start: The previous solution.
    """
    leaves = list(theta.values())
    b = _flat(_grad(upper(theta), leaves))
    outputs = lower.outputs(theta)
    slope = _flat(_grad(lower.loss(outputs), leaves, create_graph=True))  # ∂L/∂θ
    hessian = _gauss_newton(lower, outputs, leaves) if solver.gauss_newton else _hessian(slope, leaves)
    solution = conjugate_gradients(lambda v: hessian(v) + solver.damping * v, b, solver, start if solver.warm else None)
    return list(_grad(slope, phi, -solution.x)), solution


def explicit(
    lower: Callable[[Parameters], Tensor],
    upper: Callable[[Parameters], Tensor],
    theta: Parameters,
    phi: Sequence[Tensor],
    rate: float,
    steps: int = 1,
) -> list[Tensor]:
    """Returns dU/dφ after some gradient steps on the lower problem, differentiated through the steps.

    Args:
        lower: L(θ), which depends on φ.
        upper: U(θ).
        theta: Starting point of the steps.
        phi: Leaves that require gradients.
        rate: Learning rate of the steps.
        steps: Number of steps.
    """
    return list(_grad(upper(descended(lower, theta, rate, steps, through=True)), phi))


def descended(
    lower: Callable[[Parameters], Tensor], theta: Parameters, rate: float, steps: int, *, through: bool = False
) -> Parameters:
    """Returns θ after some gradient steps on the lower problem: with the graph of the steps, or as new leaves."""
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
    # Jᵀ u is linear in u, so its derivative along v is J v: two reverse sweeps give one forward product.
    probes = tuple(torch.zeros_like(z).requires_grad_() for z in outputs)
    backward = _flat(_grad(outputs, leaves, probes, create_graph=True))  # Jᵀ u
    ends = tuple(z.detach().requires_grad_() for z in outputs)
    slopes = _grad(lower.loss(ends), ends, create_graph=True)

    def product(v: Tensor) -> Tensor:
        forward = _grad(backward, probes, v, retain_graph=True)  # J v
        curved = _grad(slopes, ends, forward, retain_graph=True)  # C J v
        return _flat(_grad(outputs, leaves, curved, retain_graph=True))

    return product


def _grad(of: Any, at: Sequence[Tensor], along: Any = None, **options: bool) -> tuple[Tensor, ...]:
    """Returns the gradient at some leaves, zero for leaves outside the graph."""
    return torch.autograd.grad(of, list(at), along, allow_unused=True, materialize_grads=True, **options)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.reshape(-1) for t in tensors])
