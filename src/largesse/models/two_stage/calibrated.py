"""Recalibration of each arm on trial rows: a level and a slope per arm, fitted by the likelihood of the outcome.

Past campaign data show which units respond; the trial shows by how much. For each treatment j

    link(E value_j) = a_j + b_j * link(model_j),   link = logit (bernoulli), log (poisson, revenue), identity (gaussian)

The lines (a_j, b_j) are shrunk towards a common line, and the common line towards (0, 1), the uncalibrated model, by empirical
Bayes: the less, the smaller their standard errors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse.errors import DataError
from largesse.logs import Logs
from largesse.models.base import Model, State
from largesse.models.crossfit import cross_fitted
from largesse.models.families import BERNOULLI, Family
from largesse.models.outcome import Outcome, Response
from largesse.store import nest

__all__ = ["Calibrated"]

_STEPS, _LONGEST, _TOLERANCE = 50, 2.0, 1e-10  # Newton: most steps, longest step, and length at which it has converged
_RIDGE = 10.0  # weight of the prior (0, 1), in rows, in each direction
_POOL = 100.0  # weight of the pooled dispersion, in rows of each arm
_EDGE = 1e-6  # predictions below it count as 0
_FLAT, _TINY = 1e-6, 1e-60  # least variance of a link in units of `spread`; guard against division by 0
_GRID = 8  # number of prior standard deviations beside 0; the smallest is half the smallest standard error
_WIDEST = 16.0  # the largest is at least so many of the largest standard error

Floats = NDArray[np.float64]


class Line(NamedTuple):
    """The line of one arm, link(E y) = level + slope * (link - centre).

    Attributes:
        estimate: (level, slope), (2,).
        centre: Mean link of the rows of the arm.
        covariance: Of the estimate, with the variance of the family, (2, 2).
        dispersion: Mean squared residual over the variance of the family.
        rows: Number of rows.
    """

    estimate: Floats
    centre: float
    covariance: Floats
    dispersion: float
    rows: int

    def about(self, centre: float) -> tuple[Floats, Floats]:
        """Returns (level, slope) and their covariance for another centre."""
        shift = np.array([[1.0, centre - self.centre], [0.0, 1.0]])
        return shift @ self.estimate, shift @ self.covariance @ shift.T


def fit_line(family: Family, link: Floats, y: Floats, weight: Floats, spread: float = 0.0) -> Line:
    """Returns the line of one arm, by penalised Newton steps on the (quasi-)likelihood.

    The link is centred, so that level and slope are nearly independent; a revenue uses the Poisson quasi-likelihood, which
    keeps the mean of the arm. The covariance treats the weights as sampling weights.

    Args:
        family: Of the outcome.
        link: Link of the predicted means, (N,).
        y: Outcomes, (N,).
        weight: Row weights, (N,).
        spread: Variance of the link over all arms, used where the variance within the arm is next to 0.
    """
    centre = float(np.average(link, weights=weight))
    d = np.column_stack([np.ones(len(link)), link - centre])
    prior = np.array([centre, 1.0])
    own = float(np.average((link - centre) ** 2, weights=weight))
    start = float(np.average(family.curvature(family.mean(link)), weights=weight))
    ridge = _RIDGE * start * np.array([1.0, max(own, _FLAT * spread) or 1.0])

    def loss(beta: Floats) -> float:
        return float(weight @ family.loss(d @ beta, y) + ridge @ (beta - prior) ** 2 / 2)

    beta, current = prior, loss(prior)
    for _ in range(_STEPS):
        mean = family.mean(d @ beta)
        hessian = (d * (weight * family.curvature(mean))[:, None]).T @ d + np.diag(ridge + _TINY)
        move = np.linalg.solve(hessian, d.T @ (weight * (y - mean)) - ridge * (beta - prior))
        if not family.linear:
            move *= min(1.0, _LONGEST / max(float(np.abs(move).max()), _TINY))
        while (lower := loss(beta + move)) > current and np.abs(move).max() > _TOLERANCE:
            move = move / 2
        if np.abs(move).max() <= _TOLERANCE:
            break
        beta, current = beta + move, lower
    mean = family.mean(d @ beta)
    curve = weight * family.curvature(mean)
    total = max(float(curve.sum()), _TINY)
    bread = np.linalg.inv((d * curve[:, None]).T @ d + np.diag(ridge + _TINY))
    meat = (d * (weight * curve)[:, None]).T @ d + np.diag(ridge) * float(weight @ curve) / total
    covariance: Floats = bread @ meat @ bread
    dispersion = 1.0 if family is BERNOULLI else float(weight @ (y - mean) ** 2) / total
    return Line(beta, centre, covariance, dispersion, len(y))


def fit_lines(family: Family, table: NDArray[Any], rct: Logs, y: Floats) -> Floats:
    """Returns (a, b) of link(E y) = a + b * link for each arm, (M, 2), from out-of-fold predictions.

    An arm whose outcomes and predictions are all 0 (the cost of control) keeps (0, 1).

    Args:
        family: Of the outcome.
        table: Out-of-fold predicted means, (N, M).
        rct: The rows.
        y: Their outcomes, (N,).
    """
    lines, w = np.tile([0.0, 1.0], (rct.n_treatments, 1)), rct.inverse_propensity
    predicted, w = table[np.arange(rct.n), rct.treatment], w / w.mean()
    informative = y != 0 if family.linear else (y > 0) | (predicted > _EDGE)
    arms = np.unique(rct.treatment[informative])
    if not len(arms):
        return lines
    link, used = family.link(predicted), np.isin(rct.treatment, arms)
    centre = float(np.average(link[used], weights=w[used]))
    spread = float(np.average((link[used] - centre) ** 2, weights=w[used]))
    fitted = [fit_line(family, link[r], y[r], w[r], spread) for r in (rct.treatment == j for j in arms)]
    rows, own = np.array([line.rows for line in fitted]), np.array([line.dispersion for line in fitted])
    dispersion = (rows * own + _POOL * (rows @ own) / rows.sum()) / (rows + _POOL)  # shrunk towards the pooled one
    estimate, covariance = (np.array(each) for each in zip(*(line.about(centre) for line in fitted), strict=True))
    covariance *= np.maximum(dispersion, _TINY)[:, None, None]
    identity = np.array([centre, 1.0])  # the uncalibrated model
    level, slope = (identity + shrunk(estimate - identity, covariance)).T
    lines[arms] = np.column_stack([level - slope * centre, slope])
    return lines


def shrunk(estimate: Floats, covariance: Floats) -> Floats:
    """Returns the posterior means of K pairs of numbers, shrunk towards a common pair and that towards 0, (K, 2).

    estimate_k ~ N(θ_k, covariance_k), θ_k ~ N(μ, diag(τ²)), μ ~ N(0, diag(ω²)): E θ_k, averaged over a grid of τ and ω by
    their marginal likelihood. τ = 0 and ω = 0 are on the grid; estimates far beyond their standard errors are hardly changed.

    Args:
        estimate: (K, 2).
        covariance: Of each estimate, (K, 2, 2).

    Reference:
        Efron and Morris 1975, Data analysis using Stein's estimator; Rubin 1981, Estimation in parallel randomized
        experiments.
    """
    unit = np.sqrt(np.einsum("kii->i", covariance) / len(estimate))  # the numbers below are in these units
    estimate, covariance = estimate / unit, covariance / np.outer(unit, unit)
    standard_error = np.sqrt(np.einsum("kii->ik", covariance))  # (2, K)
    widest = np.maximum(_WIDEST * standard_error.max(1), np.abs(estimate).max(0))
    grids = [
        np.append(0.0, np.geomspace(e.min() / 2, top, _GRID)) for e, top in zip(standard_error, widest, strict=True)
    ]
    variance = np.stack([g.ravel() for g in np.meshgrid(*grids, indexing="ij")], axis=1) ** 2  # (G, 2)
    prior = variance[:, :, None] * np.eye(2)  # diag(τ²) or diag(ω²), (G, 2, 2)
    total = covariance + prior[:, None]  # covariance of the estimate around μ, (G, K, 2, 2)
    precision = np.linalg.inv(total)
    weighted = np.einsum("gkij,kj->gki", precision, estimate)
    information, score = precision.sum(1), weighted.sum(1)  # A (G, 2, 2), (G, 2)
    scale = np.eye(2) + prior[None] @ information[:, None]  # I + Ω A, (τ, ω, 2, 2)
    common = np.linalg.solve(scale, np.einsum("oij,tj->toi", prior, score)[..., None])[..., 0]  # E μ, (τ, ω, 2)
    fit = np.linalg.slogdet(total)[1].sum(1) + np.einsum("gki,ki->g", weighted, estimate)
    likelihood = -(fit[:, None] + np.linalg.slogdet(scale)[1] - np.einsum("ti,toi->to", score, common)) / 2
    posterior = np.exp(likelihood - likelihood.max())
    posterior /= posterior.sum()
    # E θ_k = Σ posterior (μ + diag(τ²) V_k (estimate_k - μ)), V_k the precision: linear in μ, so its mean for each τ is enough.
    mean, probability = np.einsum("to,toi->ti", posterior, common), posterior.sum(1)
    kept = prior[:, None] @ precision  # (τ, K, 2, 2)
    own = np.einsum("tkij,tkj->ki", kept, probability[:, None, None] * estimate - mean[:, None])
    shrunken: Floats = (mean.sum(0) + own) * unit
    return shrunken


@dataclass(kw_only=True, eq=False, repr=False)
class Calibrated(Model):
    """A model whose value (and learned cost) is recalibrated per arm on the rows of the trial.

    Args:
        base: The model to recalibrate; a clone of it is fitted.
        outcome: Family and cost rule; None: those of the base, or inferred from the rows.
        seed: Of the split of the trial into two folds for the out-of-fold predictions.
    """

    base: Model = field(kw_only=False)
    outcome: Outcome | None = None
    seed: int = 0

    def _learn(self, rct: Logs, obs: Logs | None, validation: Logs | None) -> None:
        self.base_ = self.configured(self.base).fit(rct, obs, validation=validation)
        self.outcome_ = self.base_.outcome_
        # On its training rows the base is over-confident: lines are fitted on out-of-fold predictions.
        self._fit_lines(rct, cross_fitted(self.base_, rct, obs, self.seed))

    def _fit_lines(self, rct: Logs, response: Response) -> None:
        family = self.outcome_.likelihood
        self.lines_, self.scale_ = {}, 1.0
        bought = (rct.value > 0).astype(np.float64)
        if family.two_parts:
            self.lines_["conversion"] = fit_lines(BERNOULLI, self._conversion(response), rct, bought)
            # P(value > 0) gets a line per arm; amounts are too heavy-tailed for that and get one factor for all arms.
            taken = self._recalibrated_value(response)[np.arange(rct.n), rct.treatment]
            w = rct.inverse_propensity
            self.scale_ = float(w @ rct.value) / max(float(w @ taken), _EDGE)
        else:
            self.lines_["value"] = fit_lines(family, response.value, rct, rct.value)
            if response.conversion is not None and not family.value_is_conversion:
                self.lines_["conversion"] = fit_lines(BERNOULLI, response.conversion, rct, bought)
        if response.cost is not None:
            self.lines_["cost"] = fit_lines(self.outcome_.cost_likelihood, response.cost, rct, rct.cost)

    def _predict_response(self, x: NDArray[np.float32]) -> Response:
        response, family = self.base_.predict_response(x), self.outcome_.likelihood
        conversion: NDArray[Any] | None
        if family.two_parts:
            value = self.scale_ * self._recalibrated_value(response)
            conversion = self._apply(BERNOULLI, self._conversion(response), "conversion")
        else:
            value = self._apply(family, response.value, "value")
            conversion = value if family.value_is_conversion else response.conversion
            if "conversion" in self.lines_ and response.conversion is not None:
                conversion = self._apply(BERNOULLI, response.conversion, "conversion")
        cost = None if response.cost is None else self._apply(self.outcome_.cost_likelihood, response.cost, "cost")
        return Response(value, conversion, cost)

    @staticmethod
    def _conversion(response: Response) -> NDArray[Any]:
        if response.conversion is None:
            raise DataError(
                "conversion: the base model does not predict P(value > 0). Use Boosting or MLP.", field="base"
            )
        return response.conversion

    def _recalibrated_value(self, response: Response) -> NDArray[np.float64]:
        """Returns the value with P(value > 0) recalibrated and E(value | value > 0) unchanged, (N, M)."""
        conversion = self._conversion(response)
        return response.value * (self._apply(BERNOULLI, conversion, "conversion") / np.maximum(conversion, _EDGE))

    def _apply(self, family: Family, table: NDArray[Any], name: str) -> NDArray[np.float64]:
        lines = self.lines_[name]
        out = family.mean(lines[:, 0] + lines[:, 1] * family.link(table))
        untouched = (lines == (0.0, 1.0)).all(1)
        out[:, untouched] = table[:, untouched]
        return out

    def _state(self) -> State:
        """Returns the state of the base and the lines."""
        settings, arrays = self.base_.state()
        lines = {name: line.tolist() for name, line in self.lines_.items()}
        settings = {"base": type(self.base_).__name__, "settings": settings, "lines": lines, "scale": self.scale_}
        return settings, nest(base=arrays)

    def _restore(self, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Sets a saved state."""
        self.base_ = self.restored_base(self.base, settings, arrays)
        self.lines_ = {k: np.array(v) for k, v in settings["lines"].items()}
        self.scale_ = settings["scale"]
