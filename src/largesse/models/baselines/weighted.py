"""Baselines that weigh the rows of a past policy by inverse propensity: IPS and DR-JT."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from largesse.logs import Logs
from largesse.models.base import Data, training_rows
from largesse.models.baselines.base import Baseline, Plan, errors, table
from largesse.models.baselines.propensity import Propensity, propensities
from largesse.models.nets.response import ResponseNet
from largesse.models.nets.rows import Rows

__all__ = ["DRJT", "IPS", "doubly_robust", "imputed"]


@dataclass(kw_only=True, eq=False, repr=False)
class _Weighted(Baseline):
    """What both share: whose rows, and how likely each row's treatment was."""

    data: Data = "obs"
    propensity: Propensity = "fitted"
    clip: float = 0.01

    def _given(self, rct: Logs, obs: Logs | None) -> tuple[ResponseNet, Rows, Tensor]:
        """Returns the network, the rows, and the inverse propensity of each, (N,)."""
        logs = training_rows(self.data, rct, obs)
        p = propensities(logs, self.propensity, self.clip, self._seed(3))
        return *self._started(logs), torch.tensor(1 / p, dtype=torch.float32)


class IPS(_Weighted):
    """Squared errors weighted by inverse propensity: rows that the past policy rarely gave stand for those it never gave.

        L = mean_i ‖y_i - ŷ_i,t‖² / p(t_i | x_i)

    The recommender's "rating observed" is here "treatment taken": of M outcomes of a unit the log shows one. The weights
    are scaled to mean 1 over the log; they take the place of arm weights.

    The other parameters are those of every baseline, see `largesse.models.baselines.base.Baseline`.

    Args:
        data: Which rows to learn from: ``"obs"`` as published, ``"both"`` or ``"rct"``.
        propensity: ``"fitted"``: a multinomial logit on these rows; ``"known"``: what the log says.
        clip: Smallest propensity.

    Reference:
        Schnabel et al., ICML 2016, Recommendations as treatments, the propensity-scored empirical risk; clipping is common
        practice since.
    """

    def _plan(self, rct: Logs, obs: Logs | None) -> Plan:
        net, rows, inverse = self._given(rct, obs)
        weight = rows.share * inverse
        weight = weight / weight.mean()

        def loss(i: Tensor) -> Tensor:
            return (weight[i] * errors(table(net(rows.features[i])), rows.take(i))).mean()

        return Plan(net, net, loss, len(rows.treatment))


class DRJT(_Weighted):
    """Doubly robust joint training: what the log does not show is imputed, what it shows corrects the imputation.

        L_prediction = mean_i 1/M [Σ_j ê_ij + (e_i - ê_i,t) / p_i],    e_i = ‖ŷ_i,t - y_i‖²,    ê_ij = ‖ŷ_ij - (ŷ_ij + g_ij)‖²
        L_imputation = mean_i ‖g_i,t - (y_i - ŷ_i,t)‖² / (M p_i)

    with the prediction ŷ + g inside ê held constant. If p or g is right, L_prediction is unbiased for the error over all
    treatments. Prediction and imputation network take a step on every batch, each with what the other last said. That the
    imputation network gives the residual g (not the outcome) is as in public code of the method.

    The other parameters are those of every baseline, see `largesse.models.baselines.base.Baseline`.

    Args:
        data: Which rows to learn from: ``"obs"`` as published, ``"both"`` or ``"rct"``.
        propensity: ``"fitted"``: a multinomial logit on these rows; ``"known"``: what the log says.
        clip: Smallest propensity.

    Reference:
        Wang et al., ICML 2019, Doubly robust joint learning for recommendation on data missing not at random, the DR
        estimator and its joint learning.
    """

    def _plan(self, rct: Logs, obs: Logs | None) -> Plan:
        net, rows, inverse = self._given(rct, obs)
        other = self._imputing(net)
        share = rows.share / rows.share.mean()

        def loss(i: Tensor) -> Tensor:
            batch, found, residual = rows.take(i), table(net(rows.features[i])), table(other(rows.features[i]))
            prediction = doubly_robust(found, residual.detach(), batch, inverse[i])
            off = errors(residual + found.detach(), batch)
            return (share[i] * (prediction + inverse[i] * off / net.m)).mean()

        return Plan(net, nn.ModuleDict({"prediction": net, "imputation": other}), loss, len(rows.treatment))


def imputed(found: Tensor, residual: Tensor) -> Tensor:
    """Returns the imputed squared errors of every treatment, (N, M): predictions against themselves plus a residual."""
    return ((found - (found.detach() + residual)) ** 2).sum(1)


def doubly_robust(found: Tensor, residual: Tensor, rows: Rows, inverse: Tensor) -> Tensor:
    """Returns the doubly robust estimate of each unit's mean squared error over the treatments, (N,).

    Args:
        found: Predictions, (N, 2, M).
        residual: Imputed outcome less prediction, (N, 2, M).
        rows: What was logged.
        inverse: Inverse propensity of the treatment taken, (N,).
    """
    each = imputed(found, residual)
    correction = errors(found, rows) - each.gather(1, rows.treatment[:, None]).squeeze(1)
    return (each.sum(1) + inverse * correction) / found.shape[2]
