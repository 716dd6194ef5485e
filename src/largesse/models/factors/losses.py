"""Decision factors: a network with one score per unit and step, and the losses that define the factors.

Every loss is a function of the scores alone. Σ_i inverse_i f_i over the rows of one arm is unbiased for the mean of f if
every unit were given that arm; with equal propensities and no weights it is the mean of the arm.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from largesse.models.nets.full_batch import Loss
from largesse.models.nets.rows import Rows
from largesse.models.nets.standardise import Standardised

__all__ = ["DPMLoss", "DRMLoss", "DRPLoss", "DUMLoss", "ScoreNet", "gradient_noise"]

_BOUND = 12.0  # scores lie in (-12, 12): a loss has no minimum where the ROI in the sample lies outside (0, 1)
_FLOOR = 0.05  # below this share of the mean uplift, 1 / uplift in DRM's ratio is replaced by its tangent


def signed(rows: Rows) -> Tensor:
    """Returns row weights (N,) whose weighted sum is the treated arm's mean less control's."""
    share = inverse(rows)
    return torch.where(rows.treatment == 1, share, -share)


def inverse(rows: Rows) -> Tensor:
    """Returns row weights (N,) whose weighted sum over an arm is its mean: weight / (propensity Σ weight)."""
    assert rows.inverse is not None
    return rows.inverse


class DUMLoss:
    """Log loss of the uplift: L = -(Σ_{t=1} r ln p / N_1 - Σ_{t=0} r ln p / N_0), p the softmax over all rows.

    The optimum has p proportional to the uplift.
    """

    additive = False

    def __init__(self, rows: Rows) -> None:
        self.value = signed(rows) * rows.value
        self.log_weight = rows.weight.log()

    def __call__(self, score: Tensor, part: slice) -> Tensor:
        """Returns the loss; scores (n, 1)."""
        s = score.squeeze(1)
        # ln p_i = s_i - ln Σ_k w_k exp s_k
        log_p = s - torch.logsumexp(s + self.log_weight[part], 0)
        return -(self.value[part] * log_p).sum()


class DRPLoss:
    """L = -[mean₁(r s) - mean₀(r s)] + [mean₁(c softplus s) - mean₀(c softplus s)].

    The optimum has sigmoid(s) = τ_r / τ_c, which must lie in (0, 1).
    """

    additive = True

    def __init__(self, rows: Rows) -> None:
        self.value, self.cost = signed(rows) * rows.value, signed(rows) * rows.cost

    def __call__(self, score: Tensor, part: slice) -> Tensor:
        """Returns the loss; scores (n, 1)."""
        s = score.squeeze(1)
        return (self.cost[part] * F.softplus(s) - self.value[part] * s).sum()


class DRMLoss:
    """L = [Σ₁ w c - Σ₀ w c] / [Σ₁ w r - Σ₀ w r], w the softmax of tanh(s) within each arm.

    Where the denominator z is below 5 % of the mean uplift (the unit of value), 1/z is replaced by its tangent: this
    removes the pole, and the spurious minimum beyond it.
    """

    additive = False

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def __call__(self, score: Tensor, part: slice) -> Tensor:
        """Returns the loss; scores (n, 1)."""
        rows, weight = self.rows, torch.exp(torch.tanh(score.squeeze(1))) * inverse(self.rows)[part]
        cost, gain = weight.new_zeros(()), weight.new_zeros(())
        for arm, sign in ((1, 1.0), (0, -1.0)):
            w = weight * (rows.treatment[part] == arm)
            w = w / w.sum()
            cost = cost + sign * (w * rows.cost[part]).sum()
            gain = gain + sign * (w * rows.value[part]).sum()
        tangent = (2 - gain / _FLOOR) / _FLOOR
        return cost * torch.where(gain > _FLOOR, 1 / gain.clamp_min(_FLOOR), tangent)


class DPMLoss:
    """L = Σ share/M {c [q(t-1)² 1(t>0) - q(t)² 1(t<M-1)] - r [q(t-1) 1(t>0) - q(t) 1(t<M-1)]}.

    q(l) is the sigmoid of the score of step l → l + 1; the optimum is half the step's ROI, Δr / (2 Δc), in (0, 1).
    """

    additive = True

    def __init__(self, rows: Rows) -> None:
        top = rows.n_treatments - 1
        # +1 for the step into the arm, -1 for the step out of it, 0 where there is none.
        sides = torch.stack([1.0 * (rows.treatment > 0), -1.0 * (rows.treatment < top)], 1)  # (N, 2)
        weight = sides * (inverse(rows) / rows.n_treatments)[:, None]
        self.value, self.cost = weight * rows.value[:, None], weight * rows.cost[:, None]

    def __call__(self, score: Tensor, part: slice) -> Tensor:
        """Returns the loss; scores (n, 2): of the step into each row's arm and of the step out of it."""
        q = score.sigmoid()
        return (self.cost[part] * q**2 - self.value[part] * q).sum()


def gradient_noise(loss: Loss, x: Tensor, weight: Tensor, levels: int) -> float:
    """Returns the norm of the gradient of a linear score that noise alone would give, at scores 0.

    sqrt(Σ_i g_i² |x_i|² / w_i), g_i = dL/ds_i: a row of weight 2 counts as two rows. It falls as 1/√N and grows with
    the noise and the number of features. It is the unit of the L2 penalty, so that one value suits samples of any size.

    Args:
        loss: The loss.
        x: Standardised features (N, d).
        weight: Row weights (N,).
        levels: Scores per row.
    """
    score = torch.zeros(len(weight), levels, dtype=weight.dtype, requires_grad=True)
    (grad,) = torch.autograd.grad(loss(score, slice(0, len(score))), score)
    return float(((grad**2).sum(1) * (x**2).sum(1) / weight).sum().sqrt())


class ScoreNet(Standardised):
    """Maps standardised features and a step to one score in (-12, 12).

    The step enters the first layer one-hot, not as a number: its factor need not be linear or monotone in the level before
    the projection. Each step has an intercept `start`.

    Args:
        features: Number of features d.
        levels: Number of steps M - 1.
        hidden: Widths of the hidden layers.
        generator: Generator of the initial weights; None: they will be loaded.
    """

    offset: Tensor

    def __init__(
        self, features: int, levels: int, hidden: tuple[int, ...], generator: torch.Generator | None = None
    ) -> None:
        super().__init__(features)
        self.register_buffer("offset", torch.zeros(()))  # subtracted from a score before it becomes a factor
        self.levels = levels
        with torch.random.fork_rng(devices=[]):  # torch initialises the layers too: leave its generator as it was
            self.first = nn.Linear(features, hidden[0])
            self.level = nn.Linear(levels, hidden[0], bias=False) if levels > 1 else None
            self.body = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(hidden))
            self.last = nn.Linear(hidden[-1], 1, bias=False)
        self.start = nn.Parameter(torch.zeros(levels))
        with torch.no_grad():
            for layer in (m for m in self.modules() if isinstance(m, nn.Linear) and generator is not None):
                for p in layer.parameters():
                    p.uniform_(-1, 1, generator=generator).div_(layer.in_features**0.5)

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        """Returns scores (n, L) of the steps `level` (n, L), by default of all steps; `x` (n, d) is standardised."""
        h = self.first(x)[:, None]  # (n, 1, hidden)
        start: Tensor = self.start
        if self.level is not None:
            steps = torch.arange(self.levels)[None] if level is None else level
            hot = F.one_hot(steps, self.levels).to(h.dtype)  # (n, L, levels)
            h, start = h + self.level(hot), hot @ self.start
        h = F.silu(h)
        for layer in self.body:
            h = F.silu(layer(h))
        raw = self.last(h).squeeze(2) + start  # (n, L)
        return _BOUND * torch.tanh(raw / _BOUND)
