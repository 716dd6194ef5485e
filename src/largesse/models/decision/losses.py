"""Decision losses: minus the net value of the policy of a menu, estimated without bias on rows of a trial.

At a price λ the policy of a menu is z_ij = softmax_j((value_ij - λ cost_ij) / τ), or its hard argmax. With w_i the inverse
propensity of row i and y_i its net outcome,

    L = -1/N Σ_i w_i y_i z_{i,t_i}

is unbiased for minus the net value of the policy (with less variance: `largesse.models.decision.trial`). The losses differ in
the shadow price λ and in y:

| loss | price | y | policy |
|---|---|---|---|
| `DPL` | given, or the price of the base menu at each budget | r - λ c | soft |
| `DIFD` | the same | r - λ c | hard, by finite differences |
| `PPL` | the price at which the policy spends the budget on the batch | r - μ c | soft |
| `PIFD` | the same | r - μ c | hard, by finite differences |

μ is the marginal value of budget, the value lost elsewhere when a decision costs one more. The published primal losses set
μ = 0: they ignore the cost of the extra spend. The gradients are computed in `Objective._soft` (PPL, DPL) and in `flips`
(PIFD, DIFD).

Reference:
    DPL, DIFD: Zhou et al., KDD 2024 (DFCL). PPL, PIFD: Bi-DFCL, NeurIPS 2025.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from largesse import _check
from largesse._arguments import checked
from largesse.models.decision.trial import (
    Trial,
    Variance,
    marginal_value,
    net_value_terms,
    net_value_weights,
    soft_policy,
    spend_price,
)  # fmt: skip

__all__ = ["DIFD", "DPL", "LOSSES", "PIFD", "PPL", "DecisionLoss", "Objective", "flips"]

NetOf = Literal["batch", "price", "nothing"]
Clip = Literal["fix", "max"]
_FLOOR = 1e-6  # smallest typical gap, in units of the scale of the value
_GAP_ROWS = 1024  # rows of a batch from which the typical gap is estimated
_BOUND = 3.0  # upper bound of μ, in units of the price
_CHOICES: dict[str, tuple[str, ...]] = {
    "net_of": ("batch", "price", "nothing"), "variance": ("plain", "baseline", "dr"), "clip": ("fix", "max"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionLoss:
    """The common settings of the four decision losses `PPL`, `PIFD`, `DPL`, `DIFD`; use one of these.

    Attributes:
        kind: Its name in configurations.
        primal: Whether the price is set by a budget on every batch.
        soft: Whether the policy is a softmax.
        budgets: Target budgets per unit; (): a tenth, a quarter, a half and three quarters of the way from the mean cost of the
            cheapest arm to that of the dearest.
        variance: ``"plain"``; ``"baseline"`` subtracts the mean predicted outcome of a frozen menu over the arms; ``"dr"`` is
            doubly robust (soft policies only).

    Raises:
        DataError: A setting is out of its range.
    """

    kind: ClassVar[str]
    primal: ClassVar[bool]
    soft: ClassVar[bool]
    budgets: tuple[float, ...] = ()
    variance: Variance = "baseline"

    def __post_init__(self) -> None:
        for field in fields(self):
            name, got = f"decision.{field.name}", getattr(self, field.name)
            if field.name in _CHOICES:
                allowed = _CHOICES[field.name]
                _check.choice(name, got, allowed if self.soft or field.name != "variance" else allowed[:2])
            elif field.name in ("temperature", "reach"):
                _check.number(name, got, low=1e-12, remedy="It must be positive.")
            else:
                object.__setattr__(self, field.name, tuple(got))
                if len(got):
                    numbers = _check.array(name, got, ndim=1, dtype=np.float64)
                    _check.finite(name, numbers, "Give budgets per unit, or prices.")
                    _check.nonnegative(name, numbers, "Give budgets per unit, or prices.")

    def as_kind(self, kind: str) -> DecisionLoss:
        """Returns the loss of another kind with the settings that both kinds have."""
        own = {field.name for field in fields(self)}
        return LOSSES[kind](**{f.name: getattr(self, f.name) for f in fields(LOSSES[kind]) if f.name in own})

    @classmethod
    def published(cls) -> DecisionLoss:
        """Returns the loss of the papers: no variance reduction, μ = 0 in the primal losses."""
        changes: dict[str, Any] = {"net_of": "nothing"} if cls.primal else {}
        return cls(variance="plain", **changes)


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class PPL(DecisionLoss):
    """Primal policy learning: value of the soft policy at the price at which it spends the budget on the batch.

    Attributes:
        temperature: τ as a share of the typical gap between a unit's two best scores.
        net_of: The value μ of a unit of spend: ``"batch"`` (∂R/∂λ over ∂C/∂λ of the soft policy on the batches), ``"price"``
            (μ = λ), ``"nothing"`` (μ = 0, as published).
    """

    kind, primal, soft = "ppl", True, True
    temperature: float = 0.5
    net_of: NetOf = "batch"


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class PIFD(DecisionLoss):
    """Primal improved finite differences: value of the hard policy at the price at which it spends the budget on the batch.

    Attributes:
        reach: Largest distance of a row to a flip of its decision, in typical gaps between a unit's two best scores.
        clip: ``"fix"`` drops rows beyond the reach and sets the distance of the others to the reach; ``"max"`` sets all
            distances to the largest of them.
        temperature: As for `PPL`, of the soft policy that gives μ.
        net_of: As for `PPL`.
    """

    kind, primal, soft = "pifd", True, False
    reach: float = 1.0
    clip: Clip = "fix"
    temperature: float = 0.5
    net_of: NetOf = "batch"


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class DPL(DecisionLoss):
    """Dual policy learning: net value of the soft policy at fixed prices.

    Attributes:
        prices: Prices λ, value per unit of spend; (): the prices of the base menu at the budgets.
        temperature: As for `PPL`.
    """

    kind, primal, soft = "dpl", False, True
    prices: tuple[float, ...] = ()
    temperature: float = 0.5


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class DIFD(DecisionLoss):
    """Dual improved finite differences: net value of the hard policy at fixed prices.

    Attributes:
        prices: Prices λ, value per unit of spend; (): the prices of the base menu at the budgets.
        reach: As for `PIFD`.
        clip: As for `PIFD`.
    """

    kind, primal, soft = "difd", False, False
    prices: tuple[float, ...] = ()
    reach: float = 1.0
    clip: Clip = "fix"


LOSSES: dict[str, type[DecisionLoss]] = {loss.kind: loss for loss in (PPL, PIFD, DPL, DIFD)}
"""The losses by their names in configurations."""


def flips(
    score: Tensor, trial: Trial, mu: float, reach: Tensor | float, clip: Clip, variance: Variance = "plain"
) -> tuple[Tensor, Tensor]:
    """Returns the improved finite differences: the gradient g of each row (N,) and the rival l of its treatment (N,).

    With k = t_i and l the argmax if that is not k, else the runner-up, h = |a_l - a_k| is the smallest change of a score that
    flips whether the policy gives the row its treatment. The flip changes the net value by w_i y_i / N:
    ∂V/∂a_k = g_i = w_i y_i / (N h), ∂V/∂a_l = -g_i.

    Args:
        score: a_ij = value_ij - price cost_ij, (N, M), detached.
        trial: The rows.
        mu: Value of a unit of spend in y = r - mu c.
        reach: Largest distance h, for the clip ``"fix"``.
        clip: How distances are bounded, see `PIFD`.
        variance: Unless ``"plain"``, y less the mean predicted outcome of the frozen menu over the arms.
    """
    best = score.topk(2, dim=1)
    k = trial.rows.treatment
    rival = torch.where(best.indices[:, 0] == k, best.indices[:, 1], best.indices[:, 0])  # (N,)
    own, other = (score.gather(1, j[:, None]).squeeze(1) for j in (k, rival))
    h = (other - own).abs()
    outcome = trial.net_outcome(mu)
    if variance != "plain" and trial.menu is not None:
        outcome = outcome - trial.baseline(mu)
    g = trial.inverse * outcome / len(score)
    if clip == "max":
        return g / h.max().clamp_min(torch.finfo(h.dtype).tiny), rival
    return torch.where(h <= reach, g / reach, torch.zeros_like(g)), rival


class _WithGradients(torch.autograd.Function):
    """A loss of values and costs with precomputed gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, cost: Tensor, loss: Tensor, by_value: Tensor, by_cost: Tensor) -> Tensor:
        ctx.save_for_backward(by_value, by_cost)
        return loss.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        by_value, by_cost = ctx.saved_tensors
        return above * by_value, above * by_cost, None, None, None


class Objective:
    """A decision loss of batches, with moving averages of prices, slopes and typical gaps over the batches.

    Args:
        decision: The loss.
        trial: All training rows.
        budgets: Target budgets per unit, (B,); a dual loss with prices ignores them.
        value_scale: Typical size of a value, the unit of the loss.
    """

    smooth: ClassVar[float] = 0.9
    """Weight of the past in the moving averages."""

    def __init__(self, decision: DecisionLoss, trial: Trial, budgets: tuple[float, ...], value_scale: float) -> None:
        self.decision, self.value_scale = decision, value_scale
        # Not every loss has all of these settings.
        self.temperature = float(getattr(decision, "temperature", 1.0))
        self.variance = decision.variance
        self.net_of: NetOf = getattr(decision, "net_of", "price")
        self.trial = Trial(trial.rows.without_features(), trial.menu)
        if self.variance == "baseline" and trial.menu is not None:
            # A baseline uses only the mean of the menu over the arms.
            value, cost = (table.mean(1, keepdim=True) for table in trial.menu)
            self.trial = replace(self.trial, menu=(value, cost))
        self.budgets = _check.numbers("budgets", budgets)
        self.fixed: tuple[float, ...] = getattr(decision, "prices", ())
        self.price = np.asarray(self.fixed or np.zeros(len(budgets)), np.float64)
        self.gap = np.zeros(len(self.price))
        self.slopes = np.zeros((len(self.price), 2))  # -∂R/∂price, -∂C/∂price
        self.primed = False

    def prime(self, value: Tensor, cost: Tensor) -> None:
        """Sets prices, gaps and slopes from the menu of all rows, (N, M)."""
        value, cost = value.detach(), cost.detach()
        self._update(value, cost, self.trial, 0.0)
        for k in range(len(self.price)):
            self._update_slopes(self._policy(value, cost, k), cost, self.trial, k, 0.0)
        self.primed = True

    @property
    def marginal(self) -> NDArray[np.float64]:
        """The marginal value of budget μ at each target budget, (B,)."""
        if not self.decision.primal or self.net_of == "price":
            return self.price
        if self.net_of == "nothing":
            return np.zeros_like(self.price)
        gain, spend = self.slopes.T
        mu = np.divide(gain, spend, out=self.price.copy(), where=spend > 0)
        return np.clip(mu, 0.0, _BOUND * self.price)

    def __call__(self, value: Tensor, cost: Tensor, rows: Tensor) -> Tensor:
        """Returns the loss of the rows with these numbers (n,), whose menu is value and cost, each (n, M)."""
        trial = self.trial.take(rows)
        keep = self.smooth if self.primed else 0.0
        self._update(value.detach(), cost.detach(), trial, keep)
        if self.decision.soft:
            loss = self._soft(value, cost, trial, keep)
        else:
            loss = torch.stack([self._hard(value, cost, trial, k, keep) for k in range(len(self.price))]).mean()
        self.primed = True
        return loss / self.value_scale

    def _policy(self, value: Tensor, cost: Tensor, k: int) -> Tensor:
        return soft_policy(value, cost, float(self.price[k]), self._unit(k) * self.temperature)

    def _soft(self, value: Tensor, cost: Tensor, trial: Trial, keep: float) -> Tensor:
        """Returns the mean loss over the budgets, with its gradient in closed form.

        With -1/N Σ_ij a_ij z_ij the loss, ∂/∂score_ij = -z_ij (a_ij - Σ_k a_ik z_ik) / (N temperature).
        """
        # Column-major: `soft_policy` is fastest with one treatment of all rows side by side in memory.
        v, c = value.detach().T.contiguous().T, cost.detach().T.contiguous().T
        by_value, by_cost, losses = torch.zeros_like(v), torch.zeros_like(c), []
        for k, price in enumerate(self.price.tolist()):
            z = self._policy(v, c, k)
            self._update_slopes(z, c, trial, k, keep)
            own, every = net_value_weights(trial, float(self.marginal[k]), self.variance)
            taken, each = net_value_terms(z, trial, own, every)
            losses.append(-each.mean())
            slope = z * each[:, None]
            slope.scatter_add_(1, trial.rows.treatment[:, None], -taken[:, None])
            if every is not None:
                slope -= every * z
            slope *= 1 / (self._unit(k) * self.temperature * len(z) * len(self.price))
            by_value += slope
            by_cost.add_(slope, alpha=-price)
        loss: Tensor = _WithGradients.apply(value, cost, torch.stack(losses).mean(), by_value, by_cost)  # type: ignore[no-untyped-call]
        return loss

    def _hard(self, value: Tensor, cost: Tensor, trial: Trial, k: int, keep: float) -> Tensor:
        decision, score = self.decision, value - float(self.price[k]) * cost
        assert isinstance(decision, PIFD | DIFD)
        if self._needs_slopes:
            self._update_slopes(self._policy(value.detach(), cost.detach(), k), cost.detach(), trial, k, keep)
        reach = self._unit(k) * decision.reach
        g, rival = flips(score.detach(), trial, float(self.marginal[k]), reach, decision.clip, self.variance)
        return -(g * (trial.taken(score) - score.gather(1, rival[:, None]).squeeze(1))).sum()

    def _unit(self, k: int) -> float:
        """Returns the typical gap between a unit's two best scores, the unit of temperature and reach."""
        return max(float(self.gap[k]), _FLOOR * self.value_scale)

    @property
    def _needs_slopes(self) -> bool:
        return self.decision.primal and self.net_of == "batch"

    def _update_slopes(self, z: Tensor, cost: Tensor, trial: Trial, k: int, keep: float) -> None:
        if self._needs_slopes:
            now = marginal_value(z, cost, self._unit(k) * self.temperature, trial)
            self.slopes[k] = keep * self.slopes[k] + (1 - keep) * np.array([float(a) for a in now])

    def _update(self, value: Tensor, cost: Tensor, trial: Trial, keep: float) -> None:
        """Updates prices and gaps with a batch; `keep` is the weight of the past."""
        rows = trial.rows
        if self.decision.primal or not (self.fixed or self.primed):  # a dual loss keeps its first price
            paid = (trial.inverse * rows.cost).double().numpy() / len(rows)
            now = spend_price(value.numpy(), cost.numpy(), rows.treatment.numpy(), paid, self.budgets)
            self.price = keep * self.price + (1 - keep) * now
        n = len(value) if keep == 0 else _GAP_ROWS
        for k, price in enumerate(self.price):
            best = (value[:n] - float(price) * cost[:n]).topk(2, dim=1).values
            self.gap[k] = keep * self.gap[k] + (1 - keep) * float((best[:, 0] - best[:, 1]).median())

    def state(self) -> dict[str, NDArray[Any]]:
        """Returns the state that is kept between batches."""
        arrays = {"price": self.price, "gap": self.gap, "slopes": self.slopes, "primed": np.array(self.primed)}
        return {name: array.copy() for name, array in arrays.items()}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Sets the state that `state` returned."""
        self.price, self.gap, self.slopes = (arrays[name].copy() for name in ("price", "gap", "slopes"))
        self.primed = bool(arrays["primed"])
