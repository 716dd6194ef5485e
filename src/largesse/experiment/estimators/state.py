"""The Student-t regression of STATE: maximum likelihood by EM steps and, where they raise the likelihood, Newton steps.

    u = b0 + b1 T + b2 v + e,    e ~ Student-t(ν, σ²),    u and v centred and scaled by `Scaling`

- E step: with r the residual and q = r²/σ², the expected latent precision of a row is η = (ν + 1) / (ν + q).
- M step: least squares of u on 1, T, v with weights η, then σ² = Σηr² / Ση, then ν by a one-dimensional root if it is
  estimated. This σ² is the M step of the expanded model (PX-EM): the same fixed point in fewer passes than Σηr² / n.

One pass over the rows gives the likelihood at the present θ and the sums of both steps. If a Newton step lowers the
likelihood, the EM step from the previous θ replaces it. An EM step never lowers the likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from largesse.experiment.data.sample import Floats, Source
from largesse.experiment.estimators.kernels import StudentSums, TreatedSums, student

__all__ = ["NU_BOUNDS", "Convergence", "Scaling", "StudentFit", "fit_student"]

NU_BOUNDS = (0.3, 500.0)
FLOOR = 1e-4  # lower bound of σ, in pooled standard deviations: if most rows are equal the likelihood is unbounded
_PASSES = 300
_TOLERANCE = 1e-10
_SAMPLE = 200_000  # with twice as many rows or more, the search starts on a systematic sample of about this size
_EM_FIRST = 3  # passes


class Convergence(StrEnum):
    """How a Student-t fit ended."""

    CONVERGED = "converged"
    SCALE_AT_FLOOR = "scale at its floor"
    """Most rows have nearly the same value."""
    STOPPED = "stopped"
    """It did not converge within the allowed passes."""


class Scaling(NamedTuple):
    """u = (value - ratio · denominator) / scale and v = (prediction - centre) / spread; ratio is control's.

    `spread` is infinite if there is no prediction or the prediction is constant.
    """

    ratio: float
    scale: float
    centre: float
    spread: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class StudentFit:
    """The maximum-likelihood fit.

    Attributes:
        theta: b0, b1, b2, σ², ν in the units of u and v (5,).
        information: Minus the second derivatives of the log-likelihood in b0, b1, b2, ln σ², ν (5, 5).
        free: Which of these five were estimated (5,): b2 needs a prediction; ν may be fixed; σ² and ν may be at a bound.
        status: How the fit ended.
        likelihood: Log-likelihood at each accepted θ, non-decreasing.
        passes: Number of passes over all rows.
    """

    theta: Floats
    information: Floats
    free: NDArray[np.bool_]
    status: Convergence
    likelihood: tuple[float, ...]
    passes: int


def fit_student(
    source: Source, other: int, scaling: Scaling, start: Floats, *, nu: float | None = 10.0, rows: int = 0
) -> StudentFit:
    """Returns the Student-t regression of a pair of arms.

    Args:
        source: The rows.
        other: Code of the arm compared with control.
        scaling: Units of u and v.
        start: b0, b1, b2, σ² of least squares (4,); b2 = 0 without a prediction.
        nu: Degrees of freedom; None estimates them within [0.3, 500].
        rows: Number of rows; from 400,000 the search starts on every k-th row.

    Reference:
        Liu & Rubin 1995, "ML estimation of the t distribution using EM and its extensions"; Liu, Rubin & Wu 1998 (PX-EM).
    """
    theta = np.r_[start, 4.0 if nu is None else nu]
    theta[3] = max(theta[3], FLOOR**2)
    free = np.array([True, True, np.isfinite(scaling.spread), True, nu is None])
    thin = rows // _SAMPLE
    if thin > 1:
        theta = _search(source, other, scaling, theta, free, step=thin).theta
    return _search(source, other, scaling, theta, free, near=thin > 1)


def _search(
    source: Source, other: int, scaling: Scaling, theta: Floats, free: NDArray[np.bool_], *,
    step: int = 1, near: bool = False,
) -> StudentFit:  # fmt: skip
    """Searches from θ on every step-th row; Newton steps are tried at once if θ is `near` the maximum, else later."""
    likelihood: list[float] = []  # at each accepted θ
    current = previous = _pass(source, other, scaling, theta, step)
    newton = False
    for passes in range(1, _PASSES + 1):
        if newton and not current.likelihood >= likelihood[-1] - 1e-12 * abs(likelihood[-1]):
            current, newton, after = previous, False, previous.em(free)
        else:
            likelihood.append(current.likelihood)
            after, newton = current.next(free, near or passes > _EM_FIRST)
            if _close(current.theta, after):
                return current.fit(Convergence.CONVERGED, free, likelihood, passes)
        previous, current = current, _pass(source, other, scaling, after, step)
    return current.fit(Convergence.STOPPED, free, likelihood, _PASSES)


def _close(theta: Floats, after: Floats) -> bool:
    """Returns whether a step is negligible: coefficients relative to σ, σ² and ν relative to themselves."""
    moved = np.abs(after - theta)
    return bool((moved[:3] <= _TOLERANCE * np.sqrt(theta[3])).all() and (moved[3:] <= _TOLERANCE * theta[3:]).all())


def _pass(source: Source, other: int, scaling: Scaling, theta: Floats, step: int) -> Sums:
    units = np.array(scaling)
    both, treated = np.zeros(len(StudentSums._fields)), np.zeros(len(TreatedSums._fields))
    for block in source.blocks():
        of_both, of_treated = student(block, other, units, theta, step)
        both += of_both
        treated += of_treated
    return Sums(theta, StudentSums(*both.tolist()), TreatedSums(*treated.tolist()))


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """The sums from one pass over the rows at θ; they determine the log-likelihood, its derivatives and both steps.

    Attributes:
        theta: b0, b1, b2, σ², ν (5,).
        both: Sums over control and the treated arm.
        treated: Sums over the treated arm only.
    """

    theta: Floats
    both: StudentSums
    treated: TreatedSums

    @property
    def likelihood(self) -> float:
        """Log-likelihood at θ."""
        *_, s2, nu = self.theta
        constant = special.gammaln((nu + 1) / 2) - special.gammaln(nu / 2) - 0.5 * np.log(nu * np.pi * s2)
        return float(self.both.weight * constant - 0.5 * (nu + 1) * self.both.log)

    @property
    def _normal(self) -> Floats:
        """Σ η d dᵀ with d = (1, T, v): the matrix of the normal equations of the M step (3, 3)."""
        s, t = self.both, self.treated
        return np.array([[s.eta, t.eta, s.eta_v], [t.eta, t.eta, t.eta_v], [s.eta_v, t.eta_v, s.eta_vv]])

    @property
    def _right(self) -> Floats:
        """Σ η r d: their right-hand side, and σ² times the score of the coefficients (3,)."""
        return np.array([self.both.eta_r, self.treated.eta_r, self.both.eta_rv])

    def em(self, free: NDArray[np.bool_]) -> Floats:
        """Returns θ after an EM step."""
        part, after = free[:3], self.theta.copy()
        normal = self._normal[np.ix_(part, part)]
        step = np.linalg.lstsq(normal, self._right[part], rcond=None)[0]
        after[:3][part] += step
        # σ² = Σ η r² / Σ η, at the new coefficients
        after[3] = max((self.theta[3] * self.both.eta_q - step @ normal @ step) / self.both.eta, FLOOR**2)
        if free[4]:
            nu = self.theta[4]
            # ψ(ν/2) - ln(ν/2) = mean(E ln u) - ln mean(E u), where E u = η
            mean_log = special.digamma((nu + 1) / 2) - np.log(nu / 2) - self.both.log / self.both.weight
            after[4] = _root(float(mean_log - np.log(self.both.eta / self.both.weight)))
        return after

    def next(self, free: NDArray[np.bool_], newton: bool) -> tuple[Floats, bool]:
        """Returns θ after a Newton step if `newton` and the information is positive definite, else an EM step; and which."""
        inside = self._inside(free)
        part = self.information[np.ix_(inside, inside)]
        if not newton or np.linalg.eigvalsh(part)[0] <= 0:
            return self.em(free), False
        step = np.zeros(5)
        step[inside] = np.linalg.solve(part, self.score[inside])
        after = self.theta.copy()
        after[:3] += step[:3]
        after[3] = max(after[3] * np.exp(np.clip(step[3], -2, 2)), FLOOR**2)
        after[4] = np.clip(after[4] * np.exp(np.clip(step[4] / after[4], -1, 1)), *NU_BOUNDS) if free[4] else after[4]
        return after, True

    def _inside(self, free: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Returns which parameters are estimated and not at a bound with the score pointing outwards (5,)."""
        inside, score, (*_, s2, nu) = free.copy(), self.score, self.theta
        inside[3] = not (s2 <= FLOOR**2 and score[3] <= 0)
        inside[4] &= NU_BOUNDS[0] < nu < NU_BOUNDS[1] or (score[4] > 0) == (nu <= NU_BOUNDS[0])
        return inside

    @property
    def score(self) -> Floats:
        """First derivatives of the log-likelihood in b0, b1, b2, ln σ², ν (5,)."""
        *_, s2, nu = self.theta
        s = self.both
        of_nu = s.weight * nu_score(nu) + 0.5 * (s.eta_q / nu - s.log)
        return np.array([*(self._right / s2), 0.5 * (s.eta_q - s.weight), of_nu])

    @property
    def information(self) -> Floats:
        """Minus the second derivatives of the log-likelihood in the same parameters (5, 5)."""
        *_, s2, nu = self.theta
        s, t = self.both, self.treated
        out = np.empty((5, 5))
        out[:3, :3] = np.array([[s.h, t.h, s.h_v], [t.h, t.h, t.h_v], [s.h_v, t.h_v, s.h_vv]]) / s2
        out[:3, 3] = out[3, :3] = np.array([s.m, t.m, s.m_v]) / s2
        out[:3, 4] = out[4, :3] = -np.array([s.k_r, t.k_r, s.k_rv]) / s2
        out[3, 3] = 0.5 * nu * s.eta_qd
        out[3, 4] = out[4, 3] = -0.5 * s.k_q
        of_nu = 0.25 * special.polygamma(1, (nu + 1) / 2) - 0.25 * special.polygamma(1, nu / 2) + 0.5 / nu**2
        rows = (s.eta_q / (nu + 1) * (1 / nu - 1 / nu**2) - s.eta_qd / nu) / 2
        out[4, 4] = -(s.weight * of_nu + rows)
        return out

    def fit(self, status: Convergence, free: NDArray[np.bool_], likelihood: list[float], passes: int) -> StudentFit:
        """Returns the fit with θ as its estimate."""
        inside = self._inside(free)
        at_floor = status is Convergence.CONVERGED and not inside[3]
        return StudentFit(
            theta=self.theta, information=self.information, free=inside, passes=passes, likelihood=tuple(likelihood),
            status=Convergence.SCALE_AT_FLOOR if at_floor else status,
        )  # fmt: skip


def nu_score(nu: float) -> float:
    """Returns the part of the score of ν that is the same in all rows: (ψ((ν+1)/2) - ψ(ν/2) - 1/ν) / 2."""
    return float(0.5 * (special.digamma((nu + 1) / 2) - special.digamma(nu / 2) - 1 / nu))


def _root(level: float) -> float:
    """Returns the ν within its bounds that solves ψ(ν/2) - ln(ν/2) = level."""

    def excess(nu: float) -> float:
        return float(special.digamma(nu / 2) - np.log(nu / 2) - level)

    low, high = NU_BOUNDS
    if excess(low) >= 0:
        return low
    return high if excess(high) <= 0 else float(optimize.brentq(excess, low, high, xtol=1e-12))
