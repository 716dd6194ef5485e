"""Baselines that use the trial to debias a loss on the log: LTD-IPS, LTD-DR and AutoDebias.

Both are bi-level. Lower level: θ' = θ - step · ∇_θ L(θ, φ), a virtual step on the log from the current θ. Upper level: φ
descends ∇_φ L_PL(θ'(φ); trial rows), differentiated through that step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from largesse import _check
from largesse.logs import Logs
from largesse.models.baselines.base import Baseline, Training, factual, in_units, mean, past_log, squared_errors, table
from largesse.models.baselines.propensity import Assignment
from largesse.models.baselines.weighted import imputed_errors
from largesse.models.nets.adam import Adam
from largesse.models.nets.checkpoint import Arrays
from largesse.models.nets.hypergradient import Parameters, explicit
from largesse.models.nets.minibatch import packed, unpack
from largesse.models.nets.response import ResponseNet
from largesse.models.nets.rows import Rows

__all__ = ["LTD", "AutoDebias", "Debias", "UpperLevel"]

_SCORE_SCALE = 5.0  # weights are exp(score / 5), as in the authors' code


def predicted_at(net: ResponseNet, theta: Parameters, rows: Rows) -> Tensor:
    """Returns the predictions of the network with parameters θ, (N, 2, M)."""
    return table(functional_call(net, theta, (rows.features,)))


class UpperLevel:
    """φ with its optimiser, and batches of trial rows for the upper-level loss.

    Args:
        net: The network of the lower level.
        phi: The module with parameters φ.
        trial: Trial rows.
        rate: Learning rate of φ (Adam).
        step: Size of the virtual step of θ. Adam is invariant to the scale of the gradient of φ, so this only sets the
            point θ' at which the upper level is evaluated.
        seed: Seeds the sampling of trial batches, with replacement.
    """

    def __init__(self, net: ResponseNet, phi: nn.Module, trial: Rows, rate: float, step: float, seed: int) -> None:
        self.net, self.phi, self.trial, self.step = net, phi, trial, step
        self.optimiser = Adam(phi.parameters(), lr=rate)
        self.generator = torch.Generator().manual_seed(seed)

    def update(self, lower: Callable[[Parameters], Tensor], rows: int) -> None:
        """Takes one step on φ, given the lower-level loss of θ and the number of trial rows to sample."""
        batch = self.trial.take(torch.randint(len(self.trial), (rows,), generator=self.generator))

        def upper(theta: Parameters) -> Tensor:
            return factual(predicted_at(self.net, theta, batch), batch)

        phi = list(self.phi.parameters())
        theta = {name: p.detach().requires_grad_() for name, p in self.net.named_parameters()}
        for p, slope in zip(phi, explicit(lower, upper, theta, phi, self.step), strict=True):
            p.grad = slope
        self.optimiser.step()

    def state(self) -> Arrays:
        """Returns everything needed to resume."""
        return packed(self.phi, self.optimiser) | {"draw": self.generator.get_state().numpy().copy()}

    def restore(self, arrays: Arrays) -> None:
        """Sets φ, its optimiser and the sampling to a state returned by `state`."""
        self.generator.set_state(torch.from_numpy(arrays["draw"]))
        unpack(arrays, self.phi, self.optimiser)


@dataclass(kw_only=True, eq=False, repr=False)
class _TwoLevels(Baseline):
    """A baseline with an upper level, fitted on the trial."""

    upper_rate: float = 1e-4
    step: float = 0.01

    def _upper(self, net: ResponseNet, phi: nn.Module, trial: Rows) -> UpperLevel:
        rate = _check.number("upper_rate", self.upper_rate, low=1e-12, high=1e3)
        step = _check.number("step", self.step, low=1e-12)
        return UpperLevel(net, phi, trial, rate, step, self._seed(4))


@dataclass(kw_only=True, eq=False, repr=False)
class LTD(_TwoLevels):
    """Learning to debias: fits the propensities of the log so that a step on the log lowers the loss on the trial.

        lower  L(θ, φ) = Σ_i w_i ‖y_i - ŷ_i,t‖² / Σ_i w_i,    w_i = 1 / p_φ(t_i | x_i)                               ("ips")
               L(θ, φ) = mean_i 1/M Σ_j ê_ij + Σ_i w_i (e_i - ê_i,t) / Σ_i w_i                                     ("dr")
        upper  min_φ L_PL(θ*(φ); trial), through one virtual step of θ

    ê and the imputation network as in `DRJT`. p_φ is a multinomial logit of x, initialised at the maximum-likelihood fit.
    Weights are divided by their mean: otherwise larger weights would lower the upper loss as a longer step does.

    The other parameters are those of every baseline, see `largesse.models.baselines.base.Baseline`.

    Args:
        loss: ``"dr"`` (LTD-DR) or ``"ips"`` (LTD-IPS).
        clip: Smallest propensity.
        upper_rate: Learning rate of φ.
        step: Size of the virtual step.

    Reference:
        Wang et al., WSDM 2021, Combating selection biases in recommender systems with a few unbiased ratings, as described
        by its abstract and by later papers (Li et al., WWW 2023): the form of p_φ, the single virtual step, an imputation
        trained as in `DRJT` and the lack of a penalty on the variance of the propensities are this library's.
    """

    loss: Literal["ips", "dr"] = "dr"
    clip: float = 0.01

    def _training(self, rct: Logs, obs: Logs | None) -> Training:
        _check.choice("loss", self.loss, ("ips", "dr"))
        _check.number("clip", self.clip, low=1e-9, high=1)
        logs = past_log(self, obs)
        net, rows = self._started(logs)
        imputing = self._imputing(net) if self.loss == "dr" else None
        phi = Assignment.fitted(logs, self._seed(3))
        upper = self._upper(net, phi, in_units(net, rct))

        def weigh(batch: Rows) -> Tensor:
            return batch.share / phi(batch.features).gather(1, batch.treatment[:, None]).squeeze(1).clamp_min(self.clip)

        def loss(i: Tensor) -> Tensor:
            batch = rows.take(i)
            residual = None if imputing is None else table(imputing(batch.features))
            fixed = None if residual is None else residual.detach()
            upper.update(lambda theta: debiased(predicted_at(net, theta, batch), fixed, batch, weigh(batch)), len(i))
            predicted, weight = table(net(batch.features)), weigh(batch).detach()
            total = debiased(predicted, fixed, batch, weight)
            if residual is None:
                return total
            return total + mean(weight, squared_errors(residual + predicted.detach(), batch))

        module = net if imputing is None else nn.ModuleDict({"prediction": net, "imputation": imputing})
        return Training(net, module, loss, logs.n, upper)


def debiased(predicted: Tensor, residual: Tensor | None, rows: Rows, weight: Tensor) -> Tensor:
    """Returns the lower-level loss of LTD: weighted, or doubly robust where there is an imputation.

    Args:
        predicted: Predictions, (N, 2, M).
        residual: Imputed outcome less prediction, (N, 2, M), or None.
        rows: The logged outcomes.
        weight: Row weights times inverse propensity, (N,).
    """
    if residual is None:
        return mean(weight, squared_errors(predicted, rows))
    imputed, correction = imputed_errors(predicted, residual, rows)
    return mean(rows.share, imputed.mean(1)) + mean(weight, correction)


@dataclass(kw_only=True, eq=False, repr=False)
class AutoDebias(_TwoLevels):
    """Row weights, pseudo-labels of all treatments and weights of the pseudo-labels, all fitted on the trial.

        lower  L(θ, φ) = Σ_i a_i w_i ‖y_i - ŷ_i,t‖² / Σ_i a_i w_i + imputation · mean_ij v_ij ‖m_ij - ŷ_ij‖²
        upper  min_φ L_PL(θ*(φ); trial), through one virtual step of θ

    with log w linear in (x, t, y), log v linear in (x, j, whether j was given), and m a constant per treatment where it was
    not given, a shifted and scaled outcome where it was: the paper's three linear meta-models, one-hot users and items
    replaced by features and treatments. a are the arm weights; w is divided by its mean, because larger weights would lower
    the upper loss as a longer step does. Training starts at w = v = 1, m at the trial's arm means and the logged outcome.

    The other parameters are those of every baseline, see `largesse.models.baselines.base.Baseline`.

    Args:
        imputation: Weight of the pseudo-labels, λ in the authors' code.
        upper_rate: Learning rate of φ.
        step: Size of the virtual step.

    Reference:
        Chen et al., SIGIR 2021, AutoDebias: learning to debias for recommendation, the meta-model and its bi-level
        training; the division of scores by 5, and labels that depend on the outcome only, are as in the authors' code.
    """

    imputation: float = 0.05

    def _training(self, rct: Logs, obs: Logs | None) -> Training:
        _check.number("imputation", self.imputation, low=0)
        logs = past_log(self, obs)
        net, rows = self._started(logs)
        trial = in_units(net, rct)
        phi = Debias(net, trial)
        upper = self._upper(net, phi, trial)

        def lower(predicted: Tensor, batch: Rows, corrections: tuple[Tensor, ...]) -> Tensor:
            weight, label_weight, label = corrections
            pseudo = (label_weight * ((predicted - label) ** 2).sum(1)).mean(1)
            errors = squared_errors(predicted, batch)
            return mean(batch.weight * weight, errors) + self.imputation * mean(batch.share, pseudo)

        def loss(i: Tensor) -> Tensor:
            batch = rows.take(i)
            z = net.standardise(batch.features)
            before = phi(z, batch)
            upper.update(lambda theta: lower(predicted_at(net, theta, batch), batch, before), len(i))
            with torch.no_grad():
                after = phi(z, batch)
            return lower(table(net(batch.features)), batch, after)

        return Training(net, net, loss, logs.n, upper)


class Debias(nn.Module):
    """The meta-models of AutoDebias, with parameters φ."""

    def __init__(self, net: ResponseNet, trial: Rows) -> None:
        super().__init__()
        d = len(net.centre)
        self.row = nn.Linear(d + net.m + 2, 1)
        self.unit = nn.Linear(d, 1, bias=False)
        self.arm, self.taken = nn.Parameter(torch.zeros(net.m)), nn.Parameter(torch.zeros(()))
        for p in (self.row.weight, self.row.bias, self.unit.weight):
            nn.init.zeros_(p)
        weighted = trial.weight[:, None] * trial.outcomes
        means = torch.stack([weighted[trial.treatment == j].sum(0) for j in range(net.m)], 1)
        counts = torch.stack([trial.weight[trial.treatment == j].sum() for j in range(net.m)])
        self.unseen = nn.Parameter(means / counts)  # labels of treatments not given, (2, M)
        self.shift, self.slope = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.ones(2))

    def forward(self, z: Tensor, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
        """Returns w (N,), v (N, M) and m (N, 2, M) of rows with standardised features z (N, d)."""
        given = nn.functional.one_hot(rows.treatment, len(self.arm)).to(z.dtype)  # (N, M)
        row = self.row(torch.cat([z, given, rows.outcomes.clamp(-6, 6)], 1)).squeeze(1)
        pair = self.unit(z) + self.arm + self.taken * given
        label = torch.where(given[:, None] > 0, (self.shift + self.slope * rows.outcomes)[:, :, None], self.unseen)
        return (row / _SCORE_SCALE).exp(), (pair / _SCORE_SCALE).exp(), label
