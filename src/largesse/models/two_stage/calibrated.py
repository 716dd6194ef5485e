"""Recalibration per arm on trial rows: two numbers an arm, fitted by the outcome's own likelihood.

Observational rows teach which units predict_response; the trial tells how much. For each treatment j

    link(E value_j) = a_j + b_j * link(model_j),   link = logit (bernoulli), log (poisson, revenue), identity (gaussian)

What arms show is drawn to what they share, and that to (0, 1), the model as it is: as far as their errors ask for.
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

_STEPS, _FAR, _STILL = 50, 2.0, 1e-10  # Newton: at most so many steps, none longer, and when it has arrived
_RIDGE = 10.0  # the prior (0, 1) counts like this many rows' worth of information, in each direction
_POOL = 100.0  # and what all arms show of the residuals like this many rows of each
_EDGE = 1e-6
_FLAT, _TINY = 1e-6, 1e-60
_GRID = 8  # sizes of what arms may be off, beside none: from half the least standard error
_WIDEST = 16.0  # to so many of the greatest, or more

Floats = NDArray[np.float64]


class Line(NamedTuple):
    """One arm's line, link(E y) = level + slope * (link - centre).

    Attributes:
        at: (level, slope), (2,).
        centre: Mean link of the arm's rows.
        covariance: Of `at`, where the family's variance holds, (2, 2).
        dispersion: Mean squared residual, over the family's variance.
        rows: How many rows say so.
    """

    at: Floats
    centre: float
    covariance: Floats
    dispersion: float
    rows: int

    def about(self, centre: float) -> tuple[Floats, Floats]:
        """Returns (level, slope) and their covariance with the level at another centre."""
        moved = np.array([[1.0, centre - self.centre], [0.0, 1.0]])
        return moved @ self.at, moved @ self.covariance @ moved.T


def fit_line(family: Family, link: Floats, y: Floats, weight: Floats, spread: float = 0.0) -> Line:
    """Returns the line of one arm, by penalised Newton steps on the (quasi-)likelihood.

    The link is centred inside, so that slope and level are learned apart; a revenue uses the Poisson quasi-likelihood,
    which keeps the arm's mean. The errors take the weights for sampling weights.

    Args:
        family: Of the outcome.
        link: Of the model's means, (N,).
        y: The outcomes, (N,).
        weight: Of the rows, (N,).
        spread: Variance of the link that counts where the arm's own is next to nothing.
    """
    centre = float(np.average(link, weights=weight))
    d = np.column_stack([np.ones(len(link)), link - centre])
    prior = np.array([centre, 1.0])
    own = float(np.average((link - centre) ** 2, weights=weight))
    start = float(np.average(family.curvature(family.mean(link)), weights=weight))
    ridge = _RIDGE * start * np.array([1.0, max(own, _FLAT * spread) or 1.0])

    def loss(beta: Floats) -> float:
        return float(weight @ family.loss(d @ beta, y) + ridge @ (beta - prior) ** 2 / 2)

    beta, here = prior, loss(prior)
    for _ in range(_STEPS):
        mean = family.mean(d @ beta)
        bent = (d * (weight * family.curvature(mean))[:, None]).T @ d + np.diag(ridge + _TINY)
        move = np.linalg.solve(bent, d.T @ (weight * (y - mean)) - ridge * (beta - prior))
        if not family.linear:
            move *= min(1.0, _FAR / max(float(np.abs(move).max()), _TINY))
        while (there := loss(beta + move)) > here and np.abs(move).max() > _STILL:
            move = move / 2
        if np.abs(move).max() <= _STILL:
            break
        beta, here = beta + move, there
    mean = family.mean(d @ beta)
    curve = weight * family.curvature(mean)
    total = max(float(curve.sum()), _TINY)
    bread = np.linalg.inv((d * curve[:, None]).T @ d + np.diag(ridge + _TINY))
    meat = (d * (weight * curve)[:, None]).T @ d + np.diag(ridge) * float(weight @ curve) / total
    covariance: Floats = bread @ meat @ bread
    dispersion = 1.0 if family is BERNOULLI else float(weight @ (y - mean) ** 2) / total
    return Line(beta, centre, covariance, dispersion, len(y))


def fit_lines(family: Family, table: NDArray[Any], rct: Logs, y: Floats) -> Floats:
    """Returns (a, b) of link(E y) = a + b * link for each arm, (M, 2), from answers of a model that has not seen the rows.

    An arm of zeros that the model foresees (control's cost) keeps (0, 1).

    Args:
        family: Of the outcome.
        table: The model's means, (N, M).
        rct: The rows.
        y: Their outcomes, (N,).
    """
    lines, w = np.tile([0.0, 1.0], (rct.n_treatments, 1)), rct.inverse_propensity
    said, w = table[np.arange(rct.n), rct.treatment], w / w.mean()
    told = y != 0 if family.linear else (y > 0) | (said > _EDGE)
    arms = np.unique(rct.treatment[told])
    if not len(arms):
        return lines
    link, seen = family.link(said), np.isin(rct.treatment, arms)
    centre = float(np.average(link[seen], weights=w[seen]))
    spread = float(np.average((link[seen] - centre) ** 2, weights=w[seen]))
    fitted = [fit_line(family, link[r], y[r], w[r], spread) for r in (rct.treatment == j for j in arms)]
    rows, own = np.array([line.rows for line in fitted]), np.array([line.dispersion for line in fitted])
    noise = (rows * own + _POOL * (rows @ own) / rows.sum()) / (rows + _POOL)  # few rows tell little of their own
    found, error = (np.array(each) for each in zip(*(line.about(centre) for line in fitted), strict=True))
    as_it_is = np.array([centre, 1.0])
    level, slope = (as_it_is + shrunk(found - as_it_is, error * np.maximum(noise, _TINY)[:, None, None])).T
    lines[arms] = np.column_stack([level - slope * centre, slope])
    return lines


def shrunk(found: Floats, covariance: Floats) -> Floats:
    """Returns what groups of two numbers are, from noisy findings, (K, 2): what they share, and how each differs from it.

    found_k ~ N(θ_k, covariance_k), θ_k ~ N(μ, diag(τ²)), μ ~ N(0, diag(ω²)): the mean of θ over a grid of τ and ω, by how
    likely each makes the findings. Zero, the simplest answer, is on the grid; findings far beyond their errors stay.

    Args:
        found: (K, 2).
        covariance: Of each finding, (K, 2, 2).

    Reference:
        Efron and Morris 1975, Data analysis using Stein's estimator; Rubin 1981, Estimation in parallel randomized
        experiments.
    """
    size = np.sqrt(np.einsum("kii->i", covariance) / len(found))  # numbers below are in standard errors
    found, covariance = found / size, covariance / np.outer(size, size)
    error = np.sqrt(np.einsum("kii->ik", covariance))  # (2, K)
    most = np.maximum(_WIDEST * error.max(1), np.abs(found).max(0))
    grids = [np.append(0.0, np.geomspace(e.min() / 2, top, _GRID)) for e, top in zip(error, most, strict=True)]
    spread = np.stack([g.ravel() for g in np.meshgrid(*grids, indexing="ij")], axis=1) ** 2  # (G, 2)
    wide = spread[:, :, None] * np.eye(2)  # (G, 2, 2), the same for τ and ω
    total = covariance + wide[:, None]  # (G, K, 2, 2)
    sharp = np.linalg.inv(total)
    pulled = np.einsum("gkij,kj->gki", sharp, found)
    told, pull = sharp.sum(1), pulled.sum(1)  # (G, 2, 2), (G, 2)
    loose = np.eye(2) + wide[None] @ told[:, None]  # I + Ω A, (τ, ω, 2, 2)
    shared = np.linalg.solve(loose, np.einsum("oij,tj->toi", wide, pull)[..., None])[..., 0]  # μ, (τ, ω, 2)
    fit = np.linalg.slogdet(total)[1].sum(1) + np.einsum("gki,ki->g", pulled, found)
    likely = -(fit[:, None] + np.linalg.slogdet(loose)[1] - np.einsum("ti,toi->to", pull, shared)) / 2
    chance = np.exp(likely - likely.max())
    chance /= chance.sum()
    # E θ_k = Σ chance (μ + diag(τ²) V_k (found_k - μ)), linear in μ: its mean for each τ is enough.
    mean, held = np.einsum("to,toi->ti", chance, shared), chance.sum(1)
    keep = wide[:, None] @ sharp  # (τ, K, 2, 2)
    own = np.einsum("tkij,tkj->ki", keep, held[:, None, None] * found - mean[:, None])
    answer: Floats = (mean.sum(0) + own) * size
    return answer


@dataclass(kw_only=True, eq=False, repr=False)
class Calibrated(Model):
    """A model whose value (and learned cost) is recalibrated per arm on the rows of the trial.

    Args:
        base: The model to recalibrate; a clone of it is fitted.
        outcome: Family and cost rule; None: the base's, or inferred from the rows.
        seed: Draws the two halves of the trial that are scored by a base that has not seen them.
    """

    base: Model = field(kw_only=False)
    outcome: Outcome | None = None
    seed: int = 0

    def _learn(self, rct: Logs, obs: Logs | None, validation: Logs | None) -> None:
        self.base_ = self.configured(self.base).fit(rct, obs, validation=validation)
        self.outcome_ = self.base_.outcome_
        # The base has seen these rows, so its own scores are too sure of them: lines come from halves it has not seen.
        self._draw_lines(rct, cross_fitted(self.base_, rct, obs, self.seed))

    def _draw_lines(self, rct: Logs, answer: Response) -> None:
        family = self.outcome_.likelihood
        self.lines_, self.scale_ = {}, 1.0
        bought = (rct.value > 0).astype(np.float64)
        if family.two_parts:
            self.lines_["conversion"] = fit_lines(BERNOULLI, self._redeem(answer), rct, bought)
            # Who buys is recalibrated per arm; baskets are too heavy-tailed for that and get one factor for all arms.
            taken = self._buyers(answer)[np.arange(rct.n), rct.treatment]
            w = rct.inverse_propensity
            self.scale_ = float(w @ rct.value) / max(float(w @ taken), _EDGE)
        else:
            self.lines_["value"] = fit_lines(family, answer.value, rct, rct.value)
            if answer.conversion is not None and not family.value_is_conversion:
                self.lines_["conversion"] = fit_lines(BERNOULLI, answer.conversion, rct, bought)
        if answer.cost is not None:
            self.lines_["cost"] = fit_lines(self.outcome_.cost_likelihood, answer.cost, rct, rct.cost)

    def _predict_response(self, x: NDArray[np.float32]) -> Response:
        return self._apply_lines(self.base_.predict_response(x))

    def _apply_lines(self, answer: Response) -> Response:
        family = self.outcome_.likelihood
        conversion: NDArray[Any] | None
        if family.two_parts:
            value, conversion = (
                self.scale_ * self._buyers(answer),
                self._apply(BERNOULLI, self._redeem(answer), "conversion"),
            )
        else:
            value = self._apply(family, answer.value, "value")
            conversion = value if family.value_is_conversion else answer.conversion
            if "conversion" in self.lines_ and answer.conversion is not None:
                conversion = self._apply(BERNOULLI, answer.conversion, "conversion")
        cost = None if answer.cost is None else self._apply(self.outcome_.cost_likelihood, answer.cost, "cost")
        return Response(value, conversion, cost)

    @staticmethod
    def _redeem(answer: Response) -> NDArray[Any]:
        if answer.conversion is None:
            raise DataError("conversion: the base model does not say P(value > 0). Use Boosting or MLP.", field="base")
        return answer.conversion

    def _buyers(self, answer: Response) -> NDArray[np.float64]:
        """Returns the value with P(value > 0) recalibrated and the basket as it was, (N, M)."""
        before = self._redeem(answer)
        return answer.value * (self._apply(BERNOULLI, before, "conversion") / np.maximum(before, _EDGE))

    def _apply(self, family: Family, table: NDArray[Any], name: str) -> NDArray[np.float64]:
        lines = self.lines_[name]
        out = family.mean(lines[:, 0] + lines[:, 1] * family.link(table))
        untouched = (lines == (0.0, 1.0)).all(1)
        out[:, untouched] = table[:, untouched]
        return out

    def state(self) -> State:
        """Returns the base's state and the lines."""
        settings, arrays = self.base_.state()
        mine = {
            "base": type(self.base_).__name__,
            "settings": settings,
            "lines": {k: v.tolist() for k, v in self.lines_.items()},
            "scale": self.scale_,
        }
        return mine, nest(base=arrays)

    def restore(self, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Takes over a saved state."""
        self.base_ = self.restored_base(self.base, settings, arrays)
        self.lines_ = {k: np.array(v) for k, v in settings["lines"].items()}
        self.scale_ = settings["scale"]
