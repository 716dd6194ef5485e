"""Baselines that weight the rows of a past policy by inverse propensity: IPS and DR-JT."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from largesse.logs import Logs
from largesse.models.base import Data, training_rows
from largesse.models.baselines.base import Baseline, Training, squared_errors, table
from largesse.models.baselines.propensity import Propensity, propensities
from largesse.models.nets.response import ResponseNet
from largesse.models.nets.rows import Rows

__all__ = ["DRJT", "IPS", "doubly_robust", "imputed_errors"]


@dataclass(kw_only=True, eq=False, repr=False)
class _Weighted(Baseline):
    """A baseline with inverse propensity weights; parameters as in `IPS`."""

    data: Data = "obs"
    propensity: Propensity = "fitted"
    clip: float = 0.01

    def _inputs(self, rct: Logs, obs: Logs | None) -> tuple[ResponseNet, Rows, Tensor]:
        """Returns the network, the rows, and the inverse propensity of each, (N,)."""
        logs = training_rows(self.data, rct, obs)
        p = propensities(logs, self.propensity, self.clip, self._seed(3))
        return *self._started(logs), torch.tensor(1 / p, dtype=torch.float32)


class IPS(_Weighted):
    """Squared errors weighted by inverse propensity, so that rows of rarely given treatments represent all units.

        L = mean_i ‖y_i - ŷ_i,t‖² / p(t_i | x_i)

    The recommender's "rating observed" becomes "treatment given": of M potential outcomes of a unit the log shows one. The
    weights are scaled to mean 1 over the log; they replace the arm weights.

    The other parameters are those of every baseline, see `largesse.models.baselines.base.Baseline`.

    Args:
        data: The training rows: ``"obs"`` as published, ``"both"`` or ``"rct"``.
        propensity: ``"fitted"``: a multinomial logit on these rows; ``"known"``: those of the log.
        clip: Smallest propensity.

    Reference:
        Schnabel et al., ICML 2016, Recommendations as treatments, the propensity-scored empirical risk; clipping is common
        practice since.
    """

    def _training(self, rct: Logs, obs: Logs | None) -> Training:
        net, rows, inverse = self._inputs(rct, obs)
        weight = rows.share * inverse
        weight = weight / weight.mean()

        def loss(i: Tensor) -> Tensor:
            return (weight[i] * squared_errors(table(net(rows.features[i])), rows.take(i))).mean()

        return Training(net, net, loss, len(rows))


class DRJT(_Weighted):
    """Doubly robust joint training: errors of treatments not given are imputed, errors of those given correct the bias.

        L_prediction = mean_i 1/M [Σ_j ê_ij + (e_i - ê_i,t) / p_i],    e_i = ‖ŷ_i,t - y_i‖²,    ê_ij = ‖ŷ_ij - (ŷ_ij + g_ij)‖²
        L_imputation = mean_i ‖g_i,t - (y_i - ŷ_i,t)‖² / (M p_i)

    with the prediction ŷ + g inside ê held constant. If p or g is right, L_prediction is unbiased for the error over all
    treatments. Prediction and imputation network are updated together on every batch, each with the other's current output
    held constant. As in public code of the method, the imputation network outputs the residual g, not the outcome.

    The parameters are those of `IPS`.

    Reference:
        Wang et al., ICML 2019, Doubly robust joint learning for recommendation on data missing not at random, the DR
        estimator and its joint learning.
    """

    def _training(self, rct: Logs, obs: Logs | None) -> Training:
        net, rows, inverse = self._inputs(rct, obs)
        imputing = self._imputing(net)
        share = rows.share / rows.share.mean()

        def loss(i: Tensor) -> Tensor:
            batch = rows.take(i)
            predicted, residual = table(net(batch.features)), table(imputing(batch.features))
            prediction = doubly_robust(predicted, residual.detach(), batch, inverse[i])
            imputation = squared_errors(residual + predicted.detach(), batch)
            return (share[i] * (prediction + inverse[i] * imputation / net.m)).mean()

        module = nn.ModuleDict({"prediction": net, "imputation": imputing})
        return Training(net, module, loss, len(rows))


def imputed_errors(predicted: Tensor, residual: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """Returns imputed squared errors (N, M) and, for the treatment given, the actual less the imputed one (N,).

    The imputed outcome is the prediction, held constant, plus the residual; arguments as in `doubly_robust`.
    """
    imputed = ((predicted - (predicted.detach() + residual)) ** 2).sum(1)
    return imputed, squared_errors(predicted, rows) - imputed.gather(1, rows.treatment[:, None]).squeeze(1)


def doubly_robust(predicted: Tensor, residual: Tensor, rows: Rows, inverse: Tensor) -> Tensor:
    """Returns the doubly robust estimate of each unit's mean squared error over the treatments, (N,).

    Args:
        predicted: Predictions, (N, 2, M).
        residual: Imputed outcome less prediction, (N, 2, M).
        rows: The logged outcomes.
        inverse: Inverse propensity of the treatment given, (N,).
    """
    imputed, correction = imputed_errors(predicted, residual, rows)
    return (imputed.sum(1) + inverse * correction) / predicted.shape[2]
