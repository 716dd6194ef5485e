"""Baselines that transfer from a network of the trial to a network of the log: CausE, KD-Label and KD-Feature."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from largesse import _check
from largesse.logs import Logs
from largesse.models.baselines.base import Baseline, Training, factual, mean, past_log, squared_errors, table
from largesse.models.nets.response import ResponseNet
from largesse.models.two_stage.mlp import MLP

__all__ = ["CausE", "KDFeature", "KDLabel", "squared_distance"]


@dataclass(kw_only=True, eq=False, repr=False)
class CausE(Baseline):
    """Two networks, one fitted on the trial and one on the log, with a penalty on the distance of their parameters.

        L = L_PL(trial and log, each row by the network of its data) + penalty · ‖θ_trial - θ_log‖²

    The paper has two embeddings of users and items, one for each kind of data; here the entire network is doubled. Both
    start with the same weights. With penalty 0 they are independent; a very large penalty makes them one network.

    The other parameters are those of every baseline, see `largesse.models.baselines.base.Baseline`.

    Args:
        penalty: Weight of the squared distance between the parameters; None: one network, the limit of a large weight.
        deployed: The network that predicts: the ``"trial"``'s, as in the paper, or the ``"log"``'s, as in public code of
            the method.

    Reference:
        Bonner and Vasile, RecSys 2018, Causal embeddings for recommendation, the CausE objective, which leaves the
        distance open.
    """

    data = "both"

    penalty: float | None = 0.1
    deployed: Literal["trial", "log"] = "trial"

    def _training(self, rct: Logs, obs: Logs | None) -> Training:
        _check.choice("deployed", self.deployed, ("trial", "log"))
        pooled = rct | past_log(self, obs, every_arm=False)
        net, rows = self._started(pooled)
        observed = torch.arange(pooled.n) >= rct.n
        if self.penalty is None:
            return Training(net, net, lambda i: factual(table(net(rows.features[i])), rows.take(i)), pooled.n)
        penalty, of_log = _check.number("penalty", self.penalty, low=0), copy.deepcopy(net)

        def loss(i: Tensor) -> Tensor:
            from_log, batch = observed[i], rows.take(i)
            parts = (net, batch.take(~from_log)), (of_log, batch.take(from_log))
            errors = torch.cat([squared_errors(table(model(part.features)), part) for model, part in parts])
            weight = torch.cat([part.weight for _, part in parts])
            return mean(weight, errors) + penalty * squared_distance(net, of_log)

        both = nn.ModuleDict({"trial": net, "log": of_log})
        return Training(net if self.deployed == "trial" else of_log, both, loss, pooled.n)


def squared_distance(a: nn.Module, b: nn.Module) -> Tensor:
    """Returns the squared distance between the parameters of two networks."""
    return torch.stack([(u - v).square().sum() for u, v in zip(a.parameters(), b.parameters(), strict=True)]).sum()


@dataclass(kw_only=True, eq=False, repr=False)
class KDLabel(Baseline):
    """A network of the log with a penalty on its distance from the predictions of a teacher, for all treatments.

        L = L_PL(log) + distil · mean_i 1/M Σ_j ‖ŷ_ij - ŷ^teacher_ij‖²

    The "bridge" of the paper: factual loss, and distance between the two models on pairs sampled from all user-item pairs.
    Here the pairs are every treatment of the batch's units. The teacher is `MLP.published` on the trial, fitted first and
    frozen, as in the authors' code. (Their other label strategy adds a rescaled teacher's prediction to each label: that
    changes the scale of values and costs, and gives no menu.)

    The other parameters are those of every baseline, see `largesse.models.baselines.base.Baseline`.

    Args:
        distil: Weight of the distance to the teacher.

    Reference:
        Liu et al., SIGIR 2020, A general knowledge distillation framework for counterfactual recommendation via uniform
        data, label-based module.
    """

    distil: float = 1.0

    def _training(self, rct: Logs, obs: Logs | None) -> Training:
        _check.number("distil", self.distil, low=0)
        logs = past_log(self, obs)
        net, rows = self._started(logs)
        units = torch.tensor([net.value_scale, net.cost_scale])[:, None]
        response = _teacher(self, rct).predict_response(logs.x)
        assert response.cost is not None, "published networks have cost heads"
        target = torch.tensor(np.stack([response.value, response.cost], 1)) / units  # (N, 2, M)

        def loss(i: Tensor) -> Tensor:
            batch, predicted = rows.take(i), table(net(rows.features[i]))
            distance = ((predicted - target[i]) ** 2).sum(1).mean(1)
            return factual(predicted, batch) + self.distil * mean(batch.share, distance)

        return Training(net, net, loss, logs.n)


class FeatureDistilledNet(ResponseNet):
    """A published network whose heads also get the last hidden layer of a frozen teacher."""

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        self.teacher = ResponseNet(*settings[:-1]).requires_grad_(False)  # without dropout
        width = self.value.in_features
        self.value, self.cost = nn.Linear(2 * width, self.m), nn.Linear(2 * width, self.m)

    def represent(self, x: Tensor) -> Tensor:
        """Returns both last hidden layers side by side, the input of the heads, (N, 2 hidden)."""
        return torch.cat([super().represent(x), self.teacher.represent(x)], 1)


class KDFeature(Baseline):
    """A network of the log whose heads also get the last hidden layer of a teacher fitted on the trial.

        ŷ = heads([Φ(x), Φ^teacher(x)]),   L = L_PL(log)

    The feature strategy with concatenated embeddings: the paper's code concatenates embeddings learned on uniform data,
    frozen, with those being trained. Here the embedding is the last hidden layer of `MLP.published` on the trial.

    The other parameters are those of every baseline, see `largesse.models.baselines.base.Baseline`.

    Reference:
        Liu et al., SIGIR 2020, A general knowledge distillation framework for counterfactual recommendation via uniform
        data, feature-based module, as described by the authors' code (FeatE, concatenated).
    """

    _network = FeatureDistilledNet

    def _training(self, rct: Logs, obs: Logs | None) -> Training:
        logs = past_log(self, obs)
        net, rows = self._started(logs)
        assert isinstance(net, FeatureDistilledNet)
        net.teacher.load_state_dict(_teacher(self, rct).nets_[0].state_dict())
        return Training(net, net, lambda i: factual(table(net(rows.features[i])), rows.take(i)), logs.n)


def _teacher(model: Baseline, rct: Logs) -> MLP:
    """Returns `MLP.published` fitted on the trial with the baseline's settings."""
    settings = {name: getattr(model, name) for name in ("hidden", "schedule", "dropout", "n_threads", "checkpoint")}
    return MLP.published(data="rct", outcome=model.outcome_, seed=model._seed(2), **settings).fit(rct)
