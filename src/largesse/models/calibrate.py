"""Recalibration per arm on trial rows: two numbers an arm, fitted by the outcome's own likelihood.

Observational rows teach which units respond; the trial tells how much. For each treatment j

    link(E value_j) = a_j + b_j * link(model_j),   link = logit (bernoulli), log (poisson, revenue), identity (gaussian)

with a ridge that pulls (a_j, b_j) towards (0, 1).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse.errors import DataError
from largesse.logs import Logs
from largesse.models.base import Model, State
from largesse.models.outcome import Outcome, Response
from largesse.models.turns import cross_fitted

__all__ = ["Calibrated", "link_of"]

_STEPS = 25
_RIDGE = 10.0  # the prior (0, 1) counts like this many rows' worth of information, in each direction
_EDGE = 1e-6


def link_of(family: str, mean: NDArray[Any]) -> NDArray[np.float64]:
    """Returns the family's link of a mean: logit, log or the mean itself."""
    mean = np.asarray(mean, np.float64)
    if family == "bernoulli":
        p = np.clip(mean, _EDGE, 1 - _EDGE)
        return np.log(p) - np.log1p(-p)
    return np.log(np.maximum(mean, _EDGE)) if family != "gaussian" else mean


def mean_of(family: str, link: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the mean of a link: the inverse of `link_of`."""
    if family == "bernoulli":
        return 1 / (1 + np.exp(-link))
    return np.exp(np.minimum(link, 30)) if family != "gaussian" else link


def _curvature(family: str, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the variance that the family gives a mean, the derivative of mean by link."""
    if family == "bernoulli":
        return mean * (1 - mean)
    return np.ones_like(mean) if family == "gaussian" else mean


def fit_line(
    family: str, link: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[float, float]:
    """Returns (a, b) of link(E y) = a + b * link, by penalised Newton steps on the (quasi-)likelihood.

    The link is centred inside, so that slope and level are learned apart; a revenue uses the Poisson quasi-likelihood,
    which keeps the arm's mean.
    """
    centre = float(np.average(link, weights=weight))
    d = np.column_stack([np.ones(len(link)), link - centre])
    beta, prior = np.array([centre, 1.0]), np.array([centre, 1.0])
    spread = max(float(np.average((link - centre) ** 2, weights=weight)), _EDGE)
    start = float(np.average(_curvature(family, mean_of(family, link)), weights=weight))
    ridge = _RIDGE * start * np.array([1.0, spread])
    for _ in range(_STEPS):
        mean = mean_of(family, d @ beta)
        curve = _curvature(family, mean) * weight
        slope = d.T @ (weight * (y - mean)) - ridge * (beta - prior)
        move = np.linalg.solve((d * curve[:, None]).T @ d + np.diag(ridge + 1e-12), slope)
        move = np.clip(move, -2.0, 2.0) if family != "gaussian" else move
        beta = beta + move
        if np.abs(move).max() < 1e-10:
            break
    return float(beta[0] - beta[1] * centre), float(beta[1])


class Calibrated(Model):
    """A model whose value (and learned cost) is recalibrated per arm on the rows of the trial.

    Args:
        base: The model to recalibrate; a clone of it is fitted.
        outcome: Family and cost rule; None: the base's, or inferred from the rows.
        seed: Draws the two halves of the trial that are scored by a base that has not seen them.
    """

    def __init__(self, base: Model, *, outcome: Outcome | None = None, seed: int = 0) -> None:
        self.base = base
        self.outcome = outcome
        self.seed = seed

    def _learn(self, rct: Logs, obs: Logs | None, validation: Logs | None) -> None:
        self.base_ = self.configured(self.base).fit(rct, obs, validation=validation)
        self.outcome_ = self.base_.outcome_
        # The base has seen these rows, so its own scores are too sure of them: lines come from halves it has not seen.
        answer, family = cross_fitted(self.base_, rct, obs, self.seed), self.outcome_.family
        self.lines_, self.scale_ = {}, 1.0
        bought = (rct.value > 0).astype(np.float64)
        if family == "zero_inflated_lognormal":
            self.lines_["redeem"] = self._lines("bernoulli", self._redeem(answer), rct, bought)
            # Who buys is recalibrated per arm; baskets are too heavy-tailed for that and get one factor for all arms.
            taken = self._buyers(answer)[np.arange(rct.n), rct.treatment]
            w = rct.inverse_propensity
            self.scale_ = float(w @ rct.value) / max(float(w @ taken), _EDGE)
        else:
            self.lines_["value"] = self._lines(family, answer.value, rct, rct.value)
            if answer.redeem is not None and family != "bernoulli":
                self.lines_["redeem"] = self._lines("bernoulli", answer.redeem, rct, bought)
        if answer.cost is not None:
            self.lines_["cost"] = self._lines(self._cost_family, answer.cost, rct, rct.cost)

    @property
    def _cost_family(self) -> str:
        return "bernoulli" if self.outcome_.cost_binary else "poisson"

    def _lines(self, family: str, table: NDArray[Any], rct: Logs, y: NDArray[np.float64]) -> NDArray[np.float64]:
        lines, w = np.tile([0.0, 1.0], (rct.n_treatments, 1)), rct.inverse_propensity
        w = w / w.mean()
        for j in range(rct.n_treatments):
            arm = rct.treatment == j
            if y[arm].any():  # an arm of zeros (control's cost) stays as it is
                lines[j] = fit_line(family, link_of(family, table[arm, j]), y[arm], w[arm])
        return lines

    def _respond(self, x: NDArray[np.float32]) -> Response:
        answer, family = self.base_.respond(x), self.outcome_.family
        redeem: NDArray[Any] | None
        if family == "zero_inflated_lognormal":
            value, redeem = self.scale_ * self._buyers(answer), self._apply("bernoulli", self._redeem(answer), "redeem")
        else:
            value = self._apply(family, answer.value, "value")
            redeem = value if family == "bernoulli" else answer.redeem
            if "redeem" in self.lines_ and answer.redeem is not None:
                redeem = self._apply("bernoulli", answer.redeem, "redeem")
        cost = None if answer.cost is None else self._apply(self._cost_family, answer.cost, "cost")
        return Response(value, redeem, cost)

    @staticmethod
    def _redeem(answer: Response) -> NDArray[Any]:
        if answer.redeem is None:
            raise DataError("redeem: the base model does not say P(value > 0). Use Boosting or MLP.", field="base")
        return answer.redeem

    def _buyers(self, answer: Response) -> NDArray[np.float64]:
        """Returns the value with P(value > 0) recalibrated and the basket as it was, (N, M)."""
        before = self._redeem(answer)
        return answer.value * (self._apply("bernoulli", before, "redeem") / np.maximum(before, _EDGE))

    def _apply(self, family: str, table: NDArray[Any], name: str) -> NDArray[np.float64]:
        lines = self.lines_[name]
        out = mean_of(family, lines[:, 0] + lines[:, 1] * link_of(family, table))
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
        return mine, {f"base.{k}": v for k, v in arrays.items()}

    def restore(self, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Takes over a saved state."""
        self.base_ = self.restored_base(settings, arrays)
        self.lines_ = {k: np.array(v) for k, v in settings["lines"].items()}
        self.scale_ = settings["scale"]
