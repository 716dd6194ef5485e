"""Hypergradients against brute force, and the solver behind them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.func import functional_call

from largesse.errors import DataError
from largesse.models.nets.hypergradient import Lower, Solver, conjugate_gradients, explicit, implicit

EXACT = Solver(iterations=200, damping=0.0, tolerance=1e-12)


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def matrix(eigenvalues: list[float], seed: int = 0) -> Tensor:
    q, _ = torch.linalg.qr(
        torch.randn(len(eigenvalues), len(eigenvalues), generator=torch.Generator().manual_seed(seed))
    )
    return q @ torch.diag(torch.tensor(eigenvalues)) @ q.T


class Toy:
    """A logistic lower problem with a ridge, its labels pulled towards a teacher by gates; an upper one that is not convex."""

    def __init__(self, seed: int = 0) -> None:
        g = torch.Generator().manual_seed(seed)
        self.x, self.teacher = torch.randn(60, 4, generator=g), torch.rand(60, generator=g)
        self.y = (torch.rand(60, generator=g) < 0.4).double()
        self.other, self.goal = torch.randn(30, 4, generator=g), torch.randn(30, generator=g)
        self.phi = torch.randn(3, generator=g).requires_grad_()

    def lower(self, phi: Tensor) -> Lower:
        gate = torch.sigmoid(self.x[:, :3] @ phi)

        def loss(outputs: tuple[Tensor, ...]) -> Tensor:
            logit, theta = outputs
            bce = nn.functional.binary_cross_entropy_with_logits
            each = bce(logit, self.y, reduction="none") + gate**2 * bce(logit, self.teacher, reduction="none")
            return each.mean() + 0.05 * (theta**2).sum()

        return Lower(lambda p: (self.x @ p["theta"], p["theta"]), loss)

    def upper(self, p: dict[str, Tensor]) -> Tensor:
        return ((self.other @ p["theta"] - self.goal) ** 2).mean() + torch.sin(3 * p["theta"]).sum()

    def solved(self, phi: Tensor) -> Tensor:
        """Returns θ*(φ), by another optimiser."""
        lower = self.lower(phi.detach())

        def at(theta: np.ndarray) -> tuple[float, np.ndarray]:
            p = torch.tensor(theta, requires_grad=True)
            value = lower({"theta": p})
            return float(value.detach()), torch.autograd.grad(value, p)[0].numpy()

        return torch.tensor(minimize(at, np.zeros(4), jac=True, options={"gtol": 1e-10}).x)

    def brute_force(self, step: float = 1e-4) -> Tensor:
        """Returns dU/dφ by solving the lower problem anew on both sides of φ."""
        slopes = []
        for k in range(len(self.phi)):
            sides = []
            for sign in (1, -1):
                phi = self.phi.detach().clone()
                phi[k] += sign * step
                sides.append(float(self.upper({"theta": self.solved(phi)})))
            slopes.append((sides[0] - sides[1]) / (2 * step))
        return torch.tensor(slopes)


class TestSolver:
    def test_a_system_is_solved_in_as_many_steps_as_it_has_eigenvalues(self):
        a, b = matrix([1.0, 1.0, 4.0, 4.0, 9.0, 9.0]), torch.ones(6)
        solution = conjugate_gradients(lambda v: a @ v, b, Solver(iterations=50, tolerance=1e-10))
        torch.testing.assert_close(solution.x, torch.linalg.solve(a, b))
        assert solution.iterations <= 4
        assert not solution.concave
        assert solution.residual == pytest.approx(float((b - a @ solution.x).norm() / b.norm()), abs=1e-9)

    def test_it_stops_at_the_tolerance_or_when_the_steps_are_used_up(self):
        a, b = matrix(list(np.geomspace(0.01, 10, 30))), torch.randn(30, generator=torch.Generator().manual_seed(1))
        loose, tight = (
            conjugate_gradients(lambda v: a @ v, b, Solver(iterations=500, tolerance=t)) for t in (0.1, 1e-6)
        )
        assert loose.iterations < tight.iterations
        assert loose.residual <= 0.1
        few = conjugate_gradients(lambda v: a @ v, b, Solver(iterations=3, tolerance=1e-6))
        assert (few.iterations, few.residual > 1e-6) == (3, True)

    def test_negative_curvature_stops_it_at_a_direction_that_can_be_trusted(self):
        a, b = matrix([-1.0, 2.0, 3.0, 4.0]), torch.ones(4)
        solution = conjugate_gradients(lambda v: a @ v, b, Solver(iterations=50))
        assert solution.concave
        assert float(solution.x @ b) > 0
        at_once = conjugate_gradients(lambda v: -2.0 * v, b, Solver(iterations=50))
        assert at_once.concave
        torch.testing.assert_close(at_once.x, b / 2)  # scaled by the size of the curvature

    def test_a_warm_start_saves_steps_and_a_bad_one_does_no_harm(self):
        a, b = matrix(list(np.geomspace(0.1, 10, 30))), torch.ones(30)
        solver = Solver(iterations=500, tolerance=1e-6)
        cold = conjugate_gradients(lambda v: a @ v, b, solver)
        near = conjugate_gradients(lambda v: a @ v, 1.01 * b, solver, cold.x)
        assert near.iterations < cold.iterations
        torch.testing.assert_close(near.x, 1.01 * torch.linalg.solve(a, b), rtol=1e-3, atol=1e-3)
        bad = conjugate_gradients(lambda v: a @ v, b, solver, -50 * cold.x)
        torch.testing.assert_close(bad.x, cold.x)

    def test_nothing_to_solve(self):
        solution = conjugate_gradients(lambda v: v, torch.zeros(3), Solver())
        assert (solution.residual, solution.iterations, float(solution.x.abs().sum())) == (0.0, 0, 0.0)

    @pytest.mark.parametrize("change", [{"iterations": 0}, {"damping": -1.0}, {"tolerance": 2.0}])
    def test_settings_out_of_range_are_refused(self, change: dict[str, float]):
        with pytest.raises(DataError, match=next(iter(change))):
            Solver(**change)  # type: ignore[arg-type]


class TestImplicit:
    @pytest.mark.parametrize("gauss_newton", [False, True])
    @pytest.mark.parametrize("seed", range(5))
    def test_it_equals_solving_the_lower_problem_anew(self, seed: int, gauss_newton: bool):
        toy = Toy(seed)
        theta = {"theta": toy.solved(toy.phi).requires_grad_()}
        solver = Solver(iterations=200, damping=0.0, tolerance=1e-12, gauss_newton=gauss_newton)
        (gradient,), solution = implicit(toy.lower(toy.phi), toy.upper, theta, [toy.phi], solver)
        expected = toy.brute_force()
        assert float((gradient - expected).norm() / expected.norm()) < 0.01
        assert solution.residual < 1e-9

    def test_damping_bends_it_towards_the_gradient(self):
        toy = Toy()
        theta = {"theta": toy.solved(toy.phi).requires_grad_()}
        (free,), _ = implicit(toy.lower(toy.phi), toy.upper, theta, [toy.phi], EXACT)
        heavy = Solver(iterations=200, damping=1e4, tolerance=1e-12)
        (damped,), _ = implicit(toy.lower(toy.phi), toy.upper, theta, [toy.phi], heavy)
        slope = torch.autograd.grad(toy.lower(toy.phi)(theta), theta["theta"], create_graph=True)[0]
        along = torch.autograd.grad(toy.upper(theta), theta["theta"])[0]
        expected = -torch.autograd.grad(slope, toy.phi, along)[0] / 1e4
        torch.testing.assert_close(damped, expected, rtol=1e-3, atol=1e-12)
        assert float(damped.norm()) < float(free.norm())

    def test_a_warm_start_begins_at_the_last_solution_if_asked(self):
        toy = Toy()
        theta = {"theta": toy.solved(toy.phi).requires_grad_()}
        exact = implicit(toy.lower(toy.phi), toy.upper, theta, [toy.phi], EXACT)[1].x
        steps = []
        for warm in (True, False):
            solver = Solver(iterations=200, damping=0.0, tolerance=1e-6, warm=warm)
            steps.append(implicit(toy.lower(toy.phi), toy.upper, theta, [toy.phi], solver, exact)[1].iterations)
        assert steps[0] == 0
        assert steps[1] > 0

    def test_parameters_that_play_no_part_get_no_gradient(self):
        toy, idle = Toy(), torch.ones(2, requires_grad=True)
        theta = {"theta": toy.solved(toy.phi).requires_grad_()}
        gradient, _ = implicit(toy.lower(toy.phi), toy.upper, theta, [toy.phi, idle], EXACT)
        assert not gradient[1].any()

    def test_gauss_newton_products_never_bend_down_where_those_of_the_hessian_do(self):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1))
        x, y, phi = torch.randn(40, 3), 3 * torch.randn(40), torch.zeros(1, requires_grad=True)
        lower = Lower(
            lambda p: (functional_call(net, p, (x,)).squeeze(1),),
            lambda z: ((z[0] - y) ** 2).mean() * torch.exp(phi[0]),
        )
        theta = {k: p.detach().clone().requires_grad_() for k, p in net.named_parameters()}
        upper = lambda p: functional_call(net, p, (x,)).sin().mean()  # noqa: E731
        ends = [
            implicit(lower, upper, theta, [phi], Solver(iterations=60, damping=0.0, tolerance=1e-9, gauss_newton=g))[1]
            for g in (False, True)
        ]
        assert [end.concave for end in ends] == [True, False]


class TestExplicit:
    @pytest.mark.parametrize("steps", [1, 3])
    def test_it_equals_finite_differences_through_the_steps(self, steps: int):
        toy, rate, start = Toy(), 0.3, torch.full((4,), 0.2)

        def after(phi: Tensor) -> float:
            theta, lower = start.clone(), toy.lower(phi)
            for _ in range(steps):
                p = theta.clone().requires_grad_()
                theta = theta - rate * torch.autograd.grad(lower({"theta": p}), p)[0]
            return float(toy.upper({"theta": theta}))

        theta = {"theta": start.clone().requires_grad_()}
        (gradient,) = explicit(toy.lower(toy.phi), toy.upper, theta, [toy.phi], rate, steps)
        expected = _differences(after, toy.phi.detach())
        torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-9)

    def test_one_step_equals_autograd_unrolled_by_hand(self):
        toy, rate = Toy(2), 0.3
        theta = torch.full((4,), 0.2, requires_grad=True)
        (slope,) = torch.autograd.grad(toy.lower(toy.phi)({"theta": theta}), theta, create_graph=True)
        (expected,) = torch.autograd.grad(toy.upper({"theta": theta - rate * slope}), toy.phi)
        (gradient,) = explicit(toy.lower(toy.phi), toy.upper, {"theta": theta}, [toy.phi], rate)
        torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=0)


def _differences(function: Callable[[Tensor], float], at: Tensor, step: float = 1e-5) -> Tensor:
    gradient = torch.zeros_like(at)
    for k in range(len(at)):
        move = torch.zeros_like(at)
        move[k] = step
        gradient[k] = (function((at + move).requires_grad_()) - function((at - move).requires_grad_())) / (2 * step)
    return gradient
