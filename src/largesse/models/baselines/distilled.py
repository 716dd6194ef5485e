"""Baselines that let the trial teach a network of the log: CausE, KD-Label and KD-Feature."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from largesse import _check
from largesse.logs import Logs
from largesse.models.baselines.base import Baseline, Plan, errors, factual, log_rows, mean, needed, table
from largesse.models.nets.response import ResponseNet
from largesse.models.two_stage.mlp import MLP

__all__ = ["CausE", "KDFeature", "KDLabel", "apart"]


@dataclass(kw_only=True, eq=False, repr=False)
class CausE(Baseline):
    """Two networks that must not be far apart: one learns from the trial, one from the log.

        L = L_PL(trial and log, each row by its own data's network) + penalty · ‖θ_trial - θ_log‖²

    The paper embeds users and items twice, once for each kind of data; here the whole network is doubled. Both start alike.
    With penalty 0 neither learns from the other's rows; a very large one makes them one network.

    The other parameters are those of every baseline, see `largesse.models.baselines.base.Baseline`.

    Args:
        penalty: Weight of the squared distance between the parameters; None: one network, what a large weight tends to.
        deployed: Which network predicts: the ``"trial"``'s, which is what the paper is after, or the ``"log"``'s, as in
            public code of the method.

    Reference:
        Bonner and Vasile, RecSys 2018, Causal embeddings for recommendation, the CausE objective; the kind of distance is
        left open there.
    """

    data = "both"

    penalty: float | None = 0.1
    deployed: Literal["trial", "log"] = "trial"

    def _plan(self, rct: Logs, obs: Logs | None) -> Plan:
        _check.choice("deployed", self.deployed, ("trial", "log"))
        pooled = rct | needed(self, obs)
        net, rows = self._started(pooled)
        observed = torch.arange(pooled.n) >= rct.n
        if self.penalty is None:
            return Plan(net, net, lambda i: factual(table(net(rows.features[i])), rows.take(i)), pooled.n)
        penalty, other = _check.number("penalty", self.penalty, low=0), copy.deepcopy(net)

        def loss(i: Tensor) -> Tensor:
            of_log, batch = observed[i], rows.take(i)
            here, there = batch.take(~of_log), batch.take(of_log)
            each = torch.cat([errors(table(net(here.features)), here), errors(table(other(there.features)), there)])
            return mean(torch.cat([here.weight, there.weight]), each) + penalty * apart(net, other)

        both = nn.ModuleDict({"trial": net, "log": other})
        return Plan(net if self.deployed == "trial" else other, both, loss, pooled.n)


def apart(a: nn.Module, b: nn.Module) -> Tensor:
    """Returns the squared distance between the parameters of two networks."""
    return torch.stack([(u - v).square().sum() for u, v in zip(a.parameters(), b.parameters(), strict=True)]).sum()


@dataclass(kw_only=True, eq=False, repr=False)
class KDLabel(Baseline):
    """A network of the log that must agree with a teacher of the trial, whatever treatment was taken.

        L = L_PL(log) + distil · mean_i 1/M Σ_j ‖ŷ_ij - ŷ^teacher_ij‖²

    The "bridge" of the paper: factual loss, and distance between the two models on pairs drawn from all there are. Here the
    pairs are every treatment of the batch's units. The teacher is `MLP.published` on the trial, fitted first and frozen, as
    in the authors' code. (Their other label strategy adds a rescaled teacher's prediction to each label: that moves the
    scale of values and costs, and is no menu.)

    The other parameters are those of every baseline, see `largesse.models.baselines.base.Baseline`.

    Args:
        distil: Weight of the distance to the teacher.

    Reference:
        Liu et al., SIGIR 2020, A general knowledge distillation framework for counterfactual recommendation via uniform
        data, label-based module.
    """

    distil: float = 1.0

    def _plan(self, rct: Logs, obs: Logs | None) -> Plan:
        _check.number("distil", self.distil, low=0)
        logs = log_rows(self, obs)
        net, rows = self._started(logs)
        units = torch.tensor([net.value_scale, net.cost_scale])[:, None]
        answer = _teacher(self, rct).predict_response(logs.x)
        assert answer.cost is not None, "published networks learn the cost"
        told = torch.tensor(np.stack([answer.value, answer.cost], 1)) / units  # (N, 2, M)

        def loss(i: Tensor) -> Tensor:
            batch, found = rows.take(i), table(net(rows.features[i]))
            return factual(found, batch) + self.distil * mean(batch.share, ((found - told[i]) ** 2).sum(1).mean(1))

        return Plan(net, net, loss, logs.n)


class KDFeature(Baseline):
    """A network of the log that also reads what a teacher of the trial has found worth reading.

        ŷ = heads([Φ(x), Φ^teacher(x)]),   L = L_PL(log)

    The feature strategy with concatenated embeddings: the paper's code puts those learned on uniform data beside
    those being learned, and freezes them. Here the embedding is the last hidden layer of `MLP.published` on the trial.

    The other parameters are those of every baseline, see `largesse.models.baselines.base.Baseline`.

    Reference:
        Liu et al., SIGIR 2020, A general knowledge distillation framework for counterfactual recommendation via uniform
        data, feature-based module, as described by the authors' code (FeatE, concatenated).
    """

    def _build(self, scales: tuple[float, float]) -> ResponseNet:
        m = len(self.treatments_)
        return Taught(len(self.features_), m, self.outcome_, tuple(self.hidden), True, scales, self.dropout)

    def _plan(self, rct: Logs, obs: Logs | None) -> Plan:
        logs = log_rows(self, obs)
        net, rows = self._started(logs)
        assert isinstance(net, Taught)
        net.teacher.load_state_dict(_teacher(self, rct).nets_[0].state_dict())
        return Plan(net, net, lambda i: factual(table(net(rows.features[i])), rows.take(i)), logs.n)


class Taught(ResponseNet):
    """A published network whose heads also read the last hidden layer of a frozen teacher."""

    def __init__(self, *how: Any) -> None:
        super().__init__(*how)
        self.teacher = ResponseNet(*how[:-1]).requires_grad_(False)  # without dropout
        width = self.value.in_features
        self.value, self.cost = nn.Linear(2 * width, self.m), nn.Linear(2 * width, self.m)

    def represent(self, x: Tensor) -> Tensor:
        """Returns what the heads read: both last hidden layers, (N, 2 hidden)."""
        return torch.cat([super().represent(x), self.teacher.represent(x)], 1)


def _teacher(model: Baseline, rct: Logs) -> MLP:
    """Returns the papers' network, learned from the trial as the baseline learns from the log."""
    how = {name: getattr(model, name) for name in ("hidden", "schedule", "dropout", "n_threads", "checkpoint")}
    return MLP.published(data="rct", outcome=model.outcome_, seed=model._seed(2), **how).fit(rct)
