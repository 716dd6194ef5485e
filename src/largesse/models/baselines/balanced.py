"""Baselines with a term on the representation: balance between the arms (CFR), or the propensity (DragonNet)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from largesse import _check
from largesse.logs import Logs
from largesse.models.base import Data, training_rows
from largesse.models.baselines.base import Baseline, Training, factual, mean, table, taken
from largesse.models.nets.balance import imbalance
from largesse.models.nets.minibatch import weights_from
from largesse.models.nets.response import ResponseNet
from largesse.models.nets.rows import Rows

__all__ = ["CFR", "DragonNet", "targeted"]

_SMOOTHING = 0.01  # a propensity g is replaced by (g + .01) / (1 + .01 M)


@dataclass(kw_only=True, eq=False, repr=False)
class CFR(Baseline):
    """Counterfactual regression: penalises the distance between treated arms and control in the last hidden layer Φ.

        L = L_PL + balance · 1/(M-1) Σ_{j>0} IPM({Φ_i: t_i = j}, {Φ_i: t_i = 0})

    The arm weights of L_PL are, for one treatment, the paper's w_i. With several, each is compared with control. Distances
    are divided by the batch's root mean square norm of Φ, since shrinking Φ would reduce them (the authors' code has
    normalisation of Φ as an option). Heads are linear in Φ, as in all baselines here.

    The other parameters are those of every baseline, see `largesse.models.baselines.base.Baseline`.

    Args:
        data: The training rows: ``"obs"`` as published, ``"both"`` or ``"rct"``.
        distance: ``"wasserstein"`` (CFR-WASS, entropic, 10 Sinkhorn iterations) or ``"mmd"`` (CFR-MMD, Gaussian kernel).
        balance: Weight of the distance, α in the paper.

    Reference:
        Shalit, Johansson and Sontag, ICML 2017, Estimating individual treatment effect: generalization bounds and
        algorithms, equation 3 and Algorithm 1; Wasserstein gradient: their appendix, after Cuturi and Doucet 2014.
    """

    data: Data = "obs"
    distance: Literal["wasserstein", "mmd"] = "wasserstein"
    balance: float = 0.1

    def _training(self, rct: Logs, obs: Logs | None) -> Training:
        _check.choice("distance", self.distance, ("wasserstein", "mmd"))
        _check.number("balance", self.balance, low=0)
        logs = training_rows(self.data, rct, obs)
        net, rows = self._started(logs)

        def loss(i: Tensor) -> Tensor:
            batch = rows.take(i)
            h = net.represent(batch.features)
            prediction = factual(table(net.heads(h)), batch)
            return prediction + self.balance * imbalance(h, batch.treatment, net.m, self.distance)

        return Training(net, net, loss, logs.n)


@dataclass(kw_only=True, eq=False, repr=False)
class DragonNet(Baseline):
    """Adds a propensity head on the representation, and a targeted regularisation with outcome and propensity.

        L = L_PL + propensity · CE(g(Φ_i), t_i) + targeted · mean_i ‖y_i - Q̃_i‖²
        Q̃_i = Q(x_i, t_i) + Σ_{j>0} ε_j (1[t_i = j] / g_j(x_i) - 1[t_i = 0] / g_0(x_i))

    For one treatment this is the paper's loss; with several, g is a softmax and every treated arm has an ε of its own, for
    value and for cost. The targeted term has no arm weights, as they would change the average effect that it targets. The
    menu is Q, as in public packages: ε only corrects average effects.

    The other parameters are those of every baseline, see `largesse.models.baselines.base.Baseline`.

    Args:
        data: The training rows: ``"obs"`` as published, ``"both"`` or ``"rct"``.
        propensity: Weight of the cross-entropy, α in the paper.
        targeted: Weight of the targeted term, β in the paper.

    Reference:
        Shi, Blei and Veitch, NeurIPS 2019, Adapting neural networks for the estimation of treatment effects, sections 2
        and 3; g is kept away from 0 as in the authors' code.
    """

    data: Data = "obs"
    propensity: float = 1.0
    targeted: float = 1.0

    def _training(self, rct: Logs, obs: Logs | None) -> Training:
        for name in ("propensity", "targeted"):
            _check.number(name, getattr(self, name), low=0)
        logs = training_rows(self.data, rct, obs)
        net, rows = self._started(logs)
        with weights_from(self._seed(1)):
            dragon = Dragon(net)

        def loss(i: Tensor) -> Tensor:
            batch = rows.take(i)
            h = net.represent(batch.features)
            predicted, score = table(net.heads(h)), dragon.score(h)
            entropy = mean(batch.share, F.cross_entropy(score, batch.treatment, reduction="none"))
            perturbed = mean(batch.share, targeted(predicted, score.softmax(1), dragon.epsilon, batch))
            return factual(predicted, batch) + self.propensity * entropy + self.targeted * perturbed

        return Training(net, dragon, loss, logs.n)


class Dragon(nn.Module):
    """A response network with a propensity head, and ε of every treated arm for value and cost, (2, M - 1)."""

    def __init__(self, net: ResponseNet) -> None:
        super().__init__()
        self.net = net
        self.score = nn.Linear(net.value.in_features, net.m)
        self.epsilon = nn.Parameter(torch.zeros(2, net.m - 1))


def targeted(predicted: Tensor, propensity: Tensor, epsilon: Tensor, rows: Rows) -> Tensor:
    """Returns the squared error of the perturbed predictions Q̃, (N,).

    Args:
        predicted: Predictions Q, (N, 2, M).
        propensity: g(x), (N, M).
        epsilon: ε of every treated arm, (2, M - 1).
        rows: The logged outcomes.
    """
    m = predicted.shape[2]
    g = ((propensity + _SMOOTHING) / (1 + _SMOOTHING * m)).gather(
        1, rows.treatment[:, None]
    )  # (N, 1), of the treatment given
    perturbation = torch.cat([-epsilon.sum(1, keepdim=True), epsilon], 1).T[rows.treatment] / g  # (N, 2)
    return ((rows.outcomes - (taken(predicted, rows.treatment) + perturbation)) ** 2).sum(1)
