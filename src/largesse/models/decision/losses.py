"""Decision losses: minus the value of the policy behind a menu, estimated without bias on rows of a trial.

At a price λ the policy of a menu is z_ij = softmax_j((value_ij - λ cost_ij) / τ), or its hard argmax. With w_i the inverse
propensity of row i and y_i its net outcome,

    L = -1/N Σ_i w_i y_i z_{i,t_i}

is unbiased for minus the policy's net value. The losses differ in the price and in y:

| loss | price | y | policy |
|---|---|---|---|
| `DPL` | given, or the base menu's at each budget | r - λ c | soft |
| `DIFD` | the same | r - λ c | hard, by finite differences |
| `PPL` | where the batch spends the budget | r - μ c | soft |
| `PIFD` | the same | r - μ c | hard, by finite differences |

μ is the marginal value of budget: what the constraint takes back when a decision costs more. The published primal losses set
μ = 0: they ignore the cost of the extra spend.

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
from largesse.allocate import kernels as hulls
from largesse.evaluate import kernels as sums
from largesse.models.nets.rows import Rows

__all__ = [
    "DIFD", "DPL", "LOSSES", "PIFD", "PPL", "DecisionLoss", "Objective", "Trial", "flips", "marginal_value", "soft_policy",
    "soft_value", "spend_price",
]  # fmt: skip

NetOf = Literal["batch", "price", "nothing"]
Variance = Literal["plain", "baseline", "dr"]
Clip = Literal["fix", "max"]
_FLOOR = 1e-6  # of the value's scale: no temperature or clip is smaller
_FEW = 1024  # rows of a batch that show the typical gap
_BOUND = 3.0  # μ is at most so many prices
_CHOICES: dict[str, tuple[str, ...]] = {
    "net_of": ("batch", "price", "nothing"), "variance": ("plain", "baseline", "dr"), "clip": ("fix", "max"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionLoss:
    """What the four decision losses share; use one of `PPL`, `PIFD`, `DPL`, `DIFD`.

    Attributes:
        kind: Its name in configurations.
        primal: Whether the price follows a budget.
        soft: Whether the policy is the softmax one.
        budgets: Target budgets, money per unit; (): a tenth, a quarter, a half and three quarters of the way from the cheapest
            arm for everyone to the dearest.
        variance: ``"plain"``; ``"baseline"`` subtracts a frozen menu's mean outcome over the arms; ``"dr"`` is doubly robust
            (soft policies only).

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
                    money = _check.array(name, got, ndim=1, dtype=np.float64)
                    _check.finite(name, money, "Give money per unit, or prices.")
                    _check.nonnegative(name, money, "Give money per unit, or prices.")

    def changed(self, **settings: Any) -> DecisionLoss:
        """Returns the loss with other settings; with another `kind`, the loss of that name with the settings they share."""
        made = LOSSES[settings.pop("kind", self.kind)]
        shared = {f.name: getattr(self, f.name) for f in fields(made) if hasattr(self, f.name)}
        return made(**{**shared, **settings})

    @classmethod
    def published(cls) -> DecisionLoss:
        """Returns the loss as the papers have it: no variance reduction, extra spend not counted."""
        changes: dict[str, Any] = {"net_of": "nothing"} if cls.primal else {}
        return cls(variance="plain", **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class PPL(DecisionLoss):
    """Primal policy learning: the soft policy's value at the price at which the batch spends the budget.

    Attributes:
        temperature: τ as a share of the typical gap between a unit's two best scores.
        net_of: What a unit of spend counts: ``"batch"`` (μ from the soft policy's slopes on the batch), ``"price"`` (μ = λ*),
            ``"nothing"`` (μ = 0, as published).
    """

    kind, primal, soft = "ppl", True, True
    temperature: float = 0.5
    net_of: NetOf = "batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class PIFD(DecisionLoss):
    """Primal improved finite differences: the hard policy's value at the price at which the batch spends the budget.

    Attributes:
        reach: The largest distance to a flip of a decision, in typical gaps between a unit's two best scores.
        clip: ``"fix"`` drops rows farther than the reach from a flip and gives the others the reach as their distance;
            ``"max"`` gives every row the largest distance.
        temperature: Of the soft policy whose slopes give μ, as for `PPL`.
        net_of: What a unit of spend counts, as for `PPL`.
    """

    kind, primal, soft = "pifd", True, False
    reach: float = 1.0
    clip: Clip = "fix"
    temperature: float = 0.5
    net_of: NetOf = "batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class DPL(DecisionLoss):
    """Dual policy learning: the soft policy's net value at fixed prices.

    Attributes:
        prices: Prices λ, value per unit of money; (): the base menu's at the budgets.
        temperature: As for `PPL`.
    """

    kind, primal, soft = "dpl", False, True
    prices: tuple[float, ...] = ()
    temperature: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class DIFD(DecisionLoss):
    """Dual improved finite differences: the hard policy's net value at fixed prices.

    Attributes:
        prices: Prices λ, value per unit of money; (): the base menu's at the budgets.
        reach: As for `PIFD`.
        clip: As for `PIFD`.
    """

    kind, primal, soft = "difd", False, False
    prices: tuple[float, ...] = ()
    reach: float = 1.0
    clip: Clip = "fix"


LOSSES: dict[str, type[DecisionLoss]] = {loss.kind: loss for loss in (PPL, PIFD, DPL, DIFD)}
"""The losses by the names that configurations use."""


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """Rows of a trial, and a frozen menu that reduces the variance of a decision loss.

    Attributes:
        rows: The rows, with `inverse`.
        menu: Value and cost of a frozen menu, each (N, M); None: the variance is not reduced.
    """

    rows: Rows
    menu: tuple[Tensor, Tensor] | None = None

    @property
    def inverse(self) -> Tensor:
        """Row weight over propensity, (N,)."""
        assert self.rows.inverse is not None
        return self.rows.inverse

    def take(self, i: Tensor) -> Trial:
        """Returns some rows."""
        return Trial(self.rows.take(i), None if self.menu is None else (self.menu[0][i], self.menu[1][i]))

    def taken(self, table: Tensor) -> Tensor:
        """Returns what a table (N, M) says of the treatment that each row was given, (N,)."""
        return table.gather(1, self.rows.treatment[:, None]).squeeze(1)

    def net_outcome(self, mu: float) -> Tensor:
        """Returns y = r - mu c of each row, (N,)."""
        return self.rows.value - mu * self.rows.cost

    def predicted(self, mu: float) -> Tensor:
        """Returns the frozen menu's y of every treatment, (N, M): a control variate."""
        assert self.menu is not None
        return self.menu[0] - mu * self.menu[1]

    def baseline(self, mu: float) -> Tensor:
        """Returns its mean over the arms, (N,)."""
        return self.predicted(mu).mean(1)


def soft_policy(value: Tensor, cost: Tensor, price: Tensor | float, temperature: Tensor | float) -> Tensor:
    """Returns z_ij = softmax_j((value_ij - price cost_ij) / temperature), (N, M)."""
    # Arms side by side in memory: torch's softmax is slow over a short last axis.
    return ((value - price * cost) / temperature).T.contiguous().softmax(0).T


def soft_value(z: Tensor, trial: Trial, mu: float, variance: Variance = "plain") -> Tensor:
    """Returns the unbiased net value per unit of the soft policy z (N, M): value less `mu` times cost.

    plain:     1/N Σ w_i y_i z_{i,t_i}
    baseline:  1/N Σ w_i (y_i - m_i) z_{i,t_i}, m_i the frozen menu's mean over the arms; its gradient is unbiased
    dr:        1/N Σ (s_i Σ_j q_ij z_ij + w_i (y_i - q_{i,t_i}) z_{i,t_i}), q the frozen menu
    """
    _, each = _net_values(z, trial, *_counts(trial, mu, variance))
    return each.mean()


def _net_values(z: Tensor, trial: Trial, own: Tensor, every: Tensor | None) -> tuple[Tensor, Tensor]:
    """Returns each row's part of the net value by the treatment it was given, and in all, (N,); counts are those of `_counts`."""
    taken = own * trial.taken(z)
    return taken, taken if every is None else taken + (every * z).sum(1)


def _counts(trial: Trial, mu: float, variance: Variance) -> tuple[Tensor, Tensor | None]:
    """Returns how much the treatment that a row was given counts in `soft_value`, (N,), and how much each does, (N, M)."""
    outcome = trial.net_outcome(mu)
    if variance == "plain" or trial.menu is None:
        return trial.inverse * outcome, None
    if variance == "baseline":
        return trial.inverse * (outcome - trial.baseline(mu)), None
    predicted = trial.predicted(mu)
    return trial.inverse * (outcome - trial.taken(predicted)), trial.rows.share[:, None] * predicted


def marginal_value(z: Tensor, cost: Tensor, temperature: Tensor | float, trial: Trial) -> tuple[Tensor, Tensor]:
    """Returns -∂R/∂price and -∂C/∂price of the soft policy on the rows; their ratio is the marginal value of budget μ.

    ∂z_ij/∂price = -z_ij (cost_ij - Σ_k z_ik cost_ik) / temperature
    """
    own, paid = trial.taken(z), trial.taken(cost)
    slope = trial.inverse * own * (paid - (z * cost).sum(1)) / temperature  # -w ∂z_{i,t_i}/∂price
    return (slope * trial.rows.value).mean(), (slope * trial.rows.cost).mean()


def flips(
    score: Tensor, trial: Trial, mu: float, reach: Tensor | float, clip: Clip, variance: Variance = "plain"
) -> tuple[Tensor, Tensor]:
    """Returns the improved finite differences: each row's gradient g (N,) and the rival l of its treatment (N,).

    With k = t_i and l the argmax if that is not k, else the runner-up, h = |a_l - a_k| is the smallest change of a
    score that flips whether the row counts, and the flip moves the net value by w_i y_i / N:
    ∂V/∂a_k = g_i = w_i y_i / (N h), ∂V/∂a_l = -g_i.

    Args:
        score: a_ij = value_ij - price cost_ij, (N, M), detached.
        trial: The rows.
        mu: What a unit of spend counts in y = r - mu c.
        reach: The largest distance that still counts (clip ``"fix"``).
        clip: How distances are bounded.
        variance: Other than ``"plain"``: y less the frozen menu's mean over the arms.
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


def spend_price(
    value: NDArray[Any], cost: NDArray[Any], treatment: NDArray[Any], paid: NDArray[Any], budgets: NDArray[Any]
) -> NDArray[np.float64]:
    """Returns the prices at which the outcome curve of these rows spends each budget, (B,): exact, no search.

    Args:
        value: The menu's, (N, M).
        cost: The menu's, (N, M).
        treatment: What each row was given, (N,).
        paid: w_i c_i / N, (N,).
        budgets: Money per unit, (B,). Above what the policy can spend: 0; below what it must spend: its dearest price.
    """
    lo, hi = hulls.interval_of(value.T, cost.T, treatment)
    enter = np.flatnonzero(np.isfinite(lo))
    leave = enter[np.isfinite(hi[enter])]
    price = np.concatenate([[0.0], lo[enter], hi[leave]])
    order = np.argsort(price, kind="stable")
    spent = np.cumsum(np.concatenate([[0.0], paid[enter], -paid[leave]])[order])
    price = price[order]
    last = np.append(price[1:] != price[:-1], True)
    first, falling, _ = sums.pool(spent[last], spent[last])
    k = np.searchsorted(-falling, -budgets, side="left")
    return price[last][first[np.minimum(k, len(first) - 1)]]


class _Known(torch.autograd.Function):
    """A loss of values and costs whose gradients are known already."""

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
    """The loss of a batch for one decision loss; keeps prices, slopes and the typical gap from batch to batch.

    Args:
        decision: Which loss.
        trial: All rows, from which batches are taken by number.
        budgets: Target budgets, money per unit, (B,); for a dual loss only if it has no prices.
        value_scale: Typical size of a value: the loss is measured in it.
        smooth: Share of the old state that each batch keeps.
    """

    def __init__(
        self, decision: DecisionLoss, trial: Trial, budgets: tuple[float, ...], value_scale: float, smooth: float = 0.9
    ) -> None:
        self.decision, self.value_scale, self.smooth = decision, value_scale, smooth
        # Not every loss has each of these.
        self.temperature = float(getattr(decision, "temperature", 1.0))
        self.variance = decision.variance
        self.net_of: NetOf = getattr(decision, "net_of", "price")
        self.trial = Trial(trial.rows.without_features(), trial.menu)
        if self.variance == "baseline" and trial.menu is not None:
            # All that is asked of the menu is its mean over the arms.
            value, cost = (table.mean(1, keepdim=True) for table in trial.menu)
            self.trial = replace(self.trial, menu=(value, cost))
        self.budgets = np.asarray(budgets, np.float64)
        self.fixed: tuple[float, ...] = getattr(decision, "prices", ())
        self.price = np.asarray(self.fixed or np.zeros(len(budgets)), np.float64)
        self.gap = np.zeros(len(self.price))
        self.slopes = np.zeros((len(self.price), 2))  # -∂R/∂price, -∂C/∂price
        self.primed = False

    def prime(self, value: Tensor, cost: Tensor) -> None:
        """Takes prices, gaps and slopes from the menu of all rows."""
        value, cost = value.detach(), cost.detach()
        self._update(value, cost, self.trial, 0.0)
        for k in range(len(self.price)):
            self._update_slopes(self._policy(value, cost, k), cost, self.trial, k, 0.0)
        self.primed = True

    @property
    def marginal(self) -> NDArray[np.float64]:
        """What a unit of spend counts at each budget: μ, (B,)."""
        if not self.decision.primal or self.net_of == "price":
            return self.price
        if self.net_of == "nothing":
            return np.zeros_like(self.price)
        gain, spend = self.slopes.T
        mu = np.divide(gain, spend, out=self.price.copy(), where=spend > 0)
        return np.clip(mu, 0.0, _BOUND * self.price)

    def __call__(self, value: Tensor, cost: Tensor, rows: Tensor) -> Tensor:
        """Returns the loss of the rows with these numbers, whose menu is value, cost (n, M)."""
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
        """Returns the mean loss of all budgets.

        Its gradient is made beside it, without a graph: where z_ij counts a_ij, ∂/∂score_ij = -z_ij (a_ij - Σ_k a_ik z_ik) / N.
        """
        # One treatment of all rows side by side in memory, as `soft_policy` wants it.
        v, c = value.detach().T.contiguous().T, cost.detach().T.contiguous().T
        by_value, by_cost, losses = torch.zeros_like(v), torch.zeros_like(c), []
        for k, price in enumerate(self.price.tolist()):
            z = self._policy(v, c, k)
            self._update_slopes(z, c, trial, k, keep)
            own, every = _counts(trial, float(self.marginal[k]), self.variance)
            taken, each = _net_values(z, trial, own, every)
            losses.append(-each.mean())
            slope = z * each[:, None]
            slope.scatter_add_(1, trial.rows.treatment[:, None], -taken[:, None])
            if every is not None:
                slope -= every * z
            slope *= 1 / (self._unit(k) * self.temperature * len(z) * len(self.price))
            by_value += slope
            by_cost.add_(slope, alpha=-price)
        loss: Tensor = _Known.apply(value, cost, torch.stack(losses).mean(), by_value, by_cost)  # type: ignore[no-untyped-call]
        return loss

    def _hard(self, value: Tensor, cost: Tensor, trial: Trial, k: int, keep: float) -> Tensor:
        how, score = self.decision, value - float(self.price[k]) * cost
        assert isinstance(how, PIFD | DIFD)
        if self._slopes_count:
            self._update_slopes(self._policy(value.detach(), cost.detach(), k), cost.detach(), trial, k, keep)
        reach = self._unit(k) * how.reach
        g, rival = flips(score.detach(), trial, float(self.marginal[k]), reach, how.clip, self.variance)
        return -(g * (trial.taken(score) - score.gather(1, rival[:, None]).squeeze(1))).sum()

    def _unit(self, k: int) -> float:
        """Returns the typical gap between a unit's two best scores: what temperature and reach are measured in."""
        return max(float(self.gap[k]), _FLOOR * self.value_scale)

    @property
    def _slopes_count(self) -> bool:
        return self.decision.primal and self.net_of == "batch"

    def _update_slopes(self, z: Tensor, cost: Tensor, trial: Trial, k: int, keep: float) -> None:
        if self._slopes_count:
            now = marginal_value(z, cost, self._unit(k) * self.temperature, trial)
            self.slopes[k] = keep * self.slopes[k] + (1 - keep) * np.array([float(a) for a in now])

    def _update(self, value: Tensor, cost: Tensor, trial: Trial, keep: float) -> None:
        """Brings prices and gaps up to date with a batch; each keeps a share of what it was."""
        rows = trial.rows
        if self.decision.primal or not (self.fixed or self.primed):  # a dual loss keeps the price it starts with
            paid = (trial.inverse * rows.cost).double().numpy() / len(rows)
            now = spend_price(value.numpy(), cost.numpy(), rows.treatment.numpy(), paid, self.budgets)
            self.price = keep * self.price + (1 - keep) * now
        few = len(value) if keep == 0 else _FEW
        for k, price in enumerate(self.price):
            two = (value[:few] - float(price) * cost[:few]).topk(2, dim=1).values
            self.gap[k] = keep * self.gap[k] + (1 - keep) * float((two[:, 0] - two[:, 1]).median())

    def state(self) -> dict[str, NDArray[Any]]:
        """Returns what is kept between batches."""
        arrays = {"price": self.price, "gap": self.gap, "slopes": self.slopes, "primed": np.array(self.primed)}
        return {name: array.copy() for name, array in arrays.items()}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Takes over what `state` gave."""
        self.price, self.gap, self.slopes = (arrays[name].copy() for name in ("price", "gap", "slopes"))
        self.primed = bool(arrays["primed"])
