"""Propensities P(t | x) of a past policy, as a multinomial logit."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from largesse import _check
from largesse.logs import Logs
from largesse.models.nets.standardise import Standardised

__all__ = ["Assignment", "Propensity", "propensities"]

Propensity = Literal["fitted", "known"]
_ROWS = 200_000  # sample size of the fit, enough for a linear model
_CHUNK = 65_536


class Assignment(Standardised):
    """P(t | x): a softmax over the arms of linear scores of standardised features.

    Args:
        features: Number of features d.
        arms: Number of treatments M.
    """

    def __init__(self, features: int, arms: int) -> None:
        super().__init__(features)
        self.score = nn.Linear(features, arms)

    @classmethod
    def fitted(cls, logs: Logs, seed: int = 0) -> Assignment:
        """Returns the maximum-likelihood fit with a small L2 penalty, on at most 200,000 rows of a log."""
        rows = np.arange(logs.n)
        if logs.n > _ROWS:
            rows = np.random.default_rng(seed).choice(logs.n, _ROWS, replace=False)
        model = cls(logs.x.shape[1], logs.n_treatments)
        model.fit_scale(torch.tensor(logs.x))
        z = model.standardise(torch.tensor(logs.x[rows])).numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # an approximate optimum is enough
            logit = LogisticRegression(max_iter=200, tol=1e-3).fit(z, logs.treatment[rows], logs.weights[rows])
        slope, intercept = logit.coef_, logit.intercept_
        if len(intercept) == 1:  # for two arms scikit-learn stores only the second one's scores
            slope, intercept = np.vstack([0 * slope, slope]), np.append(0.0, intercept)
        with torch.no_grad():
            model.score.weight.zero_()[logit.classes_] = torch.tensor(slope, dtype=torch.float32)
            model.score.bias.fill_(-30.0)[logit.classes_] = torch.tensor(intercept, dtype=torch.float32)
        return model

    def forward(self, x: Tensor) -> Tensor:
        """Returns P(j | x), (N, M)."""
        return self.score(self.standardise(x)).softmax(1)


def propensities(logs: Logs, kind: Propensity, clip: float, seed: int = 0) -> NDArray[np.float64]:
    """Returns the probability of the treatment given, at least `clip`, (N,).

    Args:
        logs: Rows of a past policy.
        kind: ``"fitted"`` on these rows, or ``"known"``: `logs.propensity`.
        clip: Smallest probability; an inverse weight is at most 1 / clip.
        seed: Seeds the sample of rows for the fit, where there are more than 200,000.
    """
    _check.choice("propensity", kind, ("fitted", "known"))
    _check.number("clip", clip, low=1e-9, high=1, remedy="It is the lower bound of the propensities.")
    if kind == "known":
        if logs.propensity is None:
            raise _check.refuse("propensity", kind, "the log has none", "Give logs.propensity, or set 'fitted'.")
        return np.maximum(logs.propensity, clip)
    model = Assignment.fitted(logs, seed)
    with torch.inference_mode():
        parts = [model(torch.tensor(logs.x[i : i + _CHUNK])).numpy() for i in range(0, logs.n, _CHUNK)]
    return np.maximum(np.concatenate(parts)[np.arange(logs.n), logs.treatment].astype(np.float64), clip)
