"""Decision losses: what the policy behind a menu is worth on rows of a trial, as something to descend.

At a price the policy of a menu is z_ij = softmax_j((value_ij - price cost_ij) / τ), or its hard argmax. With w_i the
inverse propensity of row i and y_i what its outcome was worth,

    L = -1/N Σ_i w_i y_i z_{i,t_i}

is unbiased for minus the policy's value. The losses differ in the price and in y:

| kind | price | y | policy |
|---|---|---|---|
| dpl | given, or the base menu's at each budget | r - price c | soft |
| difd | the same | r - price c | hard, by finite differences |
| ppl | where the batch spends the budget | r - μ c | soft |
| pifd | the same | r - μ c | hard, by finite differences |

μ is the marginal value of money: what the budget takes back when a decision costs more. As published, μ = 0 for the
primal losses: their gradient buys value with money that the constraint then takes away.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from largesse import _check
from largesse.allocate import kernels as hulls
from largesse.evaluate import kernels as sums

__all__ = ["Decision", "Objective", "Trial", "flips", "marginal_value", "soft_policy", "soft_value", "spend_price"]

Kind = Literal["ppl", "pifd", "dpl", "difd"]
NetOf = Literal["batch", "price", "nothing"]
Variance = Literal["plain", "baseline", "dr"]
Clip = Literal["fix", "max"]
_FLOOR = 1e-6  # of the value's scale: no temperature or clip is smaller
_FEW = 1024  # rows of a batch that show the typical gap
_BOUND = 3.0  # μ is at most so many prices


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision loss and its options.

    Attributes:
        kind: ``"ppl"``, ``"pifd"`` (primal: the price follows the budget), ``"dpl"``, ``"difd"`` (dual: fixed prices).
        budgets: Target budgets, money per head; (): a tenth, a quarter, a half and three quarters of the dearest arm.
        prices: Prices of money of the dual losses; (): the base menu's at the budgets.
        temperature: τ as a share of the typical gap between a unit's two best scores.
        net_of: What money is worth in a primal loss: ``"batch"`` (μ from the soft policy's slopes on the batch),
            ``"price"`` (μ = λ*), ``"nothing"`` (as published).
        variance: ``"plain"``; ``"baseline"`` subtracts a frozen menu's mean outcome over the arms; ``"dr"`` is doubly robust.
        clip: For the finite differences: ``"fix"`` drops rows farther than the reach from a flip and gives the others the
            reach as their distance; ``"max"`` gives every row the largest distance.
        reach: The largest distance to a flip, in typical gaps.
        absolute: `temperature` and `reach` are in units of the value instead (published; changes with the currency).
        weighted: Weigh rows by their inverse propensity; False reproduces the published demonstration.
        cost_gradient: Let the loss move costs; False reproduces the published demonstration of the finite differences.

    Reference:
        DPL, DIFD: Zhou et al., KDD 2024 (DFCL). PPL, PIFD: Bi-DFCL, NeurIPS 2025.
    """

    kind: Kind = "ppl"
    budgets: tuple[float, ...] = ()
    prices: tuple[float, ...] = ()
    temperature: float = 0.5
    net_of: NetOf = "batch"
    variance: Variance = "baseline"
    clip: Clip = "fix"
    reach: float = 1.0
    absolute: bool = False
    weighted: bool = True
    cost_gradient: bool = True

    def __post_init__(self) -> None:
        for name, allowed in (("kind", Kind), ("net_of", NetOf), ("variance", Variance), ("clip", Clip)):
            _check.choice(f"decision.{name}", getattr(self, name), allowed.__args__)  # type: ignore[attr-defined]
        for name in ("temperature", "reach"):
            _check.number(f"decision.{name}", getattr(self, name), low=1e-12, remedy="It must be positive.")
        for name in ("budgets", "prices"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            if not getattr(self, name):
                continue
            money = _check.array(f"decision.{name}", getattr(self, name), ndim=1, dtype=np.float64)
            _check.finite(f"decision.{name}", money, "Give money per head, or prices of money.")
            _check.nonnegative(f"decision.{name}", money, "Give money per head, or prices of money.")

    @property
    def dual(self) -> bool:
        """Whether prices are given and do not follow a budget."""
        return self.kind in ("dpl", "difd")

    @property
    def soft(self) -> bool:
        """Whether the policy is the softmax one."""
        return self.kind in ("ppl", "dpl")


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """Rows of a trial as tensors.

    Attributes:
        treatment: Codes, (N,), int64.
        value: Logged value, (N,).
        cost: Logged cost, (N,).
        weight: Row weight over propensity, divided by the mean row weight of the whole trial, (N,).
        share: Row weight divided by its mean over the trial, (N,).
        menu: Value and cost of a frozen menu, each (N, M), for variance reduction.
    """

    treatment: Tensor
    value: Tensor
    cost: Tensor
    weight: Tensor
    share: Tensor
    menu: tuple[Tensor, Tensor] | None = None

    def take(self, rows: Tensor) -> Trial:
        """Returns some rows."""
        menu = None if self.menu is None else (self.menu[0][rows], self.menu[1][rows])
        return Trial(self.treatment[rows], self.value[rows], self.cost[rows], self.weight[rows], self.share[rows], menu)

    def worth(self, slope: float) -> Tensor:
        """Returns y = r - slope c, (N,)."""
        return self.value - slope * self.cost

    def opinion(self, slope: float) -> Tensor:
        """Returns what the frozen menu thinks of y for every treatment, (N, M)."""
        assert self.menu is not None
        return self.menu[0] - slope * self.menu[1]

    def baseline(self, slope: float) -> Tensor:
        """Returns the mean of that opinion over the arms, (N,)."""
        return self.opinion(slope).mean(1)


def soft_policy(value: Tensor, cost: Tensor, price: Tensor | float, temperature: Tensor | float) -> Tensor:
    """Returns z_ij = softmax_j((value_ij - price cost_ij) / temperature), (N, M)."""
    # Arms side by side in memory: torch's softmax is slow over a short last axis.
    return ((value - price * cost) / temperature).T.contiguous().softmax(0).T


def soft_value(z: Tensor, trial: Trial, slope: float, variance: Variance = "plain") -> Tensor:
    """Returns the unbiased worth per head of the soft policy z (N, M): value less `slope` times cost.

    plain:     1/N Σ w_i y_i z_{i,t_i}
    baseline:  1/N Σ w_i (y_i - m_i) z_{i,t_i}, m_i the frozen menu's mean over the arms; its gradient is unbiased
    dr:        1/N Σ (s_i Σ_j q_ij z_ij + w_i (y_i - q_{i,t_i}) z_{i,t_i}), q the frozen menu
    """
    _, each = _worth(z, trial, *_counts(trial, slope, variance))
    return each.mean()


def _worth(z: Tensor, trial: Trial, own: Tensor, every: Tensor | None) -> tuple[Tensor, Tensor]:
    """Returns what each row is worth by the treatment it was given, and in all, (N,) each; counts are those of `_counts`."""
    taken = own * z.gather(1, trial.treatment[:, None]).squeeze(1)
    return taken, taken if every is None else taken + (every * z).sum(1)


def _counts(trial: Trial, slope: float, variance: Variance) -> tuple[Tensor, Tensor | None]:
    """Returns how much the treatment that a row was given counts in `soft_value`, (N,), and how much each does, (N, M)."""
    worth = trial.worth(slope)
    if variance == "plain" or trial.menu is None:
        return trial.weight * worth, None
    if variance == "baseline":
        return trial.weight * (worth - trial.baseline(slope)), None
    opinion = trial.opinion(slope)
    left = worth - opinion.gather(1, trial.treatment[:, None]).squeeze(1)
    return trial.weight * left, trial.share[:, None] * opinion


def marginal_value(z: Tensor, cost: Tensor, temperature: Tensor | float, trial: Trial) -> tuple[Tensor, Tensor]:
    """Returns -∂R/∂price and -∂C/∂price of the soft policy on the rows; their ratio is the marginal value of money.

    ∂z_ij/∂price = -z_ij (cost_ij - Σ_k z_ik cost_ik) / temperature
    """
    own, paid = (table.gather(1, trial.treatment[:, None]).squeeze(1) for table in (z, cost))
    taken = trial.weight * own * (paid - (z * cost).sum(1)) / temperature  # -w ∂z_{i,t_i}/∂price
    return (taken * trial.value).mean(), (taken * trial.cost).mean()


def flips(
    score: Tensor, trial: Trial, slope: float, reach: Tensor | float, clip: Clip, variance: Variance = "plain"
) -> tuple[Tensor, Tensor]:
    """Returns the improved finite differences: each row's gradient g (N,) and the rival l of its treatment (N,).

    With k = t_i and l the argmax if that is not k, else the runner-up, h = |a_l - a_k| is the smallest change of a
    score that flips whether the row counts, and the flip moves the worth by w_i y_i / N:
    ∂V/∂a_k = g_i = w_i y_i / (N h), ∂V/∂a_l = -g_i.

    Args:
        score: a_ij = value_ij - price cost_ij, (N, M), detached.
        trial: The rows.
        slope: What money is worth in y = r - slope c.
        reach: The largest distance that still counts (clip ``"fix"``).
        clip: How distances are bounded.
        variance: Other than ``"plain"``: y less the mean over the arms of what the frozen menu thinks of it.
    """
    best = score.topk(2, dim=1)
    k = trial.treatment
    rival = torch.where(best.indices[:, 0] == k, best.indices[:, 1], best.indices[:, 0])  # (N,)
    own, other = (score.gather(1, j[:, None]).squeeze(1) for j in (k, rival))
    h = (other - own).abs()
    worth = trial.worth(slope)
    if variance != "plain" and trial.menu is not None:
        worth = worth - trial.baseline(slope)
    g = trial.weight * worth / len(score)
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
        budgets: Money per head, (B,). Above what the policy can spend: 0; below what it must spend: its dearest price.
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
    """The loss of a batch for one decision loss; remembers prices, slopes and the typical gap between batches.

    Args:
        decision: Which loss.
        trial: All rows, from which batches are taken by number.
        budgets: Target budgets, money per head, (B,); for a dual loss only if it has no prices.
        value_scale: Typical size of a value: the loss is measured in it.
        smooth: Share of the memory that each batch keeps.
    """

    def __init__(
        self, decision: Decision, trial: Trial, budgets: tuple[float, ...], value_scale: float, smooth: float = 0.9
    ) -> None:
        self.decision, self.trial, self.value_scale, self.smooth = decision, trial, value_scale, smooth
        if not decision.weighted:
            ones = torch.ones_like(trial.weight)
            self.trial = replace(self.trial, weight=ones, share=ones)
        if decision.variance == "baseline" and trial.menu is not None:
            # All that is asked of the menu is its mean over the arms.
            value, cost = (table.mean(1, keepdim=True) for table in trial.menu)
            self.trial = replace(self.trial, menu=(value, cost))
        self.budgets = np.asarray(budgets, np.float64)
        fixed = decision.dual and bool(decision.prices)
        self.price = np.asarray(decision.prices if fixed else np.zeros(len(budgets)), np.float64)
        self.gap = np.zeros(len(self.price))
        self.slopes = np.zeros((len(self.price), 2))  # -∂R/∂price, -∂C/∂price
        self.primed = False

    def prime(self, value: Tensor, cost: Tensor) -> None:
        """Takes prices, gaps and slopes from the menu of all rows."""
        value, cost = value.detach(), cost.detach()
        self._watch(value, cost, self.trial, 0.0)
        for k in range(len(self.price)):
            self._learn_slopes(self._policy(value, cost, k), cost, self.trial, k, 0.0)
        self.primed = True

    @property
    def marginal(self) -> NDArray[np.float64]:
        """What a unit of money is worth at each budget: μ, (B,)."""
        if self.decision.dual or self.decision.net_of == "price":
            return self.price
        if self.decision.net_of == "nothing":
            return np.zeros_like(self.price)
        gain, spend = self.slopes.T
        mu = np.divide(gain, spend, out=self.price.copy(), where=spend > 0)
        return np.clip(mu, 0.0, _BOUND * self.price)

    def __call__(self, value: Tensor, cost: Tensor, rows: Tensor) -> Tensor:
        """Returns the loss of the rows with these numbers, whose menu is value, cost (n, M)."""
        trial = self.trial.take(rows)
        if not self.decision.cost_gradient:
            cost = cost.detach()
        keep = self.smooth if self.primed else 0.0
        self._watch(value.detach(), cost.detach(), trial, keep)
        if self.decision.soft:
            loss = self._soft(value, cost, trial, keep)
        else:
            loss = torch.stack([self._hard(value, cost, trial, k, keep) for k in range(len(self.price))]).mean()
        self.primed = True
        return loss / self.value_scale

    def _policy(self, value: Tensor, cost: Tensor, k: int) -> Tensor:
        return soft_policy(value, cost, float(self.price[k]), self._unit(k) * self.decision.temperature)

    def _soft(self, value: Tensor, cost: Tensor, trial: Trial, keep: float) -> Tensor:
        """Returns the mean loss of all budgets.

        Its gradient is made beside it, without a graph: where z_ij counts a_ij, ∂/∂score_ij = -z_ij (a_ij - Σ_k a_ik z_ik) / N.
        """
        # One treatment of all rows side by side in memory, as `soft_policy` wants it.
        v, c = value.detach().T.contiguous().T, cost.detach().T.contiguous().T
        by_value, by_cost, losses = torch.zeros_like(v), torch.zeros_like(c), []
        for k, price in enumerate(self.price.tolist()):
            z = self._policy(v, c, k)
            self._learn_slopes(z, c, trial, k, keep)
            own, every = _counts(trial, float(self.marginal[k]), self.decision.variance)
            taken, each = _worth(z, trial, own, every)
            losses.append(-each.mean())
            slope = z * each[:, None]
            slope.scatter_add_(1, trial.treatment[:, None], -taken[:, None])
            if every is not None:
                slope -= every * z
            slope *= 1 / (self._unit(k) * self.decision.temperature * len(z) * len(self.price))
            by_value += slope
            by_cost.add_(slope, alpha=-price)
        found: Tensor = _Known.apply(value, cost, torch.stack(losses).mean(), by_value, by_cost)  # type: ignore[no-untyped-call]
        return found

    def _hard(self, value: Tensor, cost: Tensor, trial: Trial, k: int, keep: float) -> Tensor:
        how, score = self.decision, value - float(self.price[k]) * cost
        if self._slopes_count:
            self._learn_slopes(self._policy(value.detach(), cost.detach(), k), cost.detach(), trial, k, keep)
        reach = self._unit(k) * how.reach
        g, rival = flips(score.detach(), trial, float(self.marginal[k]), reach, how.clip, how.variance)
        own, other = (score.gather(1, j[:, None]).squeeze(1) for j in (trial.treatment, rival))
        return -(g * (own - other)).sum()

    def _unit(self, k: int) -> float:
        return 1.0 if self.decision.absolute else max(float(self.gap[k]), _FLOOR * self.value_scale)

    @property
    def _slopes_count(self) -> bool:
        return not self.decision.dual and self.decision.net_of == "batch"

    def _learn_slopes(self, z: Tensor, cost: Tensor, trial: Trial, k: int, keep: float) -> None:
        if self._slopes_count:
            found = marginal_value(z, cost, self._unit(k) * self.decision.temperature, trial)
            self.slopes[k] = keep * self.slopes[k] + (1 - keep) * np.array([float(a) for a in found])

    def _watch(self, value: Tensor, cost: Tensor, trial: Trial, keep: float) -> None:
        """Brings prices and gaps up to date with a batch; each keeps a share of what it was."""
        how = self.decision
        if not (how.dual and (how.prices or self.primed)):  # a dual loss keeps the price it starts with
            paid = (trial.weight * trial.cost).double().numpy() / len(trial.cost)
            now = spend_price(value.numpy(), cost.numpy(), trial.treatment.numpy(), paid, self.budgets)
            self.price = keep * self.price + (1 - keep) * now
        if how.absolute:
            return
        few = len(value) if keep == 0 else _FEW
        for k, price in enumerate(self.price):
            two = (value[:few] - float(price) * cost[:few]).topk(2, dim=1).values
            self.gap[k] = keep * self.gap[k] + (1 - keep) * float((two[:, 0] - two[:, 1]).median())

    def state(self) -> dict[str, NDArray[Any]]:
        """Returns what is remembered between batches."""
        arrays = {"price": self.price, "gap": self.gap, "slopes": self.slopes, "primed": np.array(self.primed)}
        return {name: array.copy() for name, array in arrays.items()}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Takes over what `state` gave."""
        self.price, self.gap, self.slopes = (arrays[name].copy() for name in ("price", "gap", "slopes"))
        self.primed = bool(arrays["primed"])
