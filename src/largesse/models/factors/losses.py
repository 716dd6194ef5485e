"""What decision factors are made of: a network of one score per unit and step, and the losses that give it a meaning.

Every loss is a function of the scores alone. Σ_i share_i f_i over the rows of one arm is unbiased for the mean of f had
everybody got that arm; with equal propensities and no weights it is the arm's mean.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from largesse.models.nets.full_batch import Loss
from largesse.models.nets.rows import Rows
from largesse.models.nets.standardise import Standardised

__all__ = ["DPMLoss", "DRMLoss", "DRPLoss", "DUMLoss", "ScoreNet", "gradient_error"]

_BOUND = 12.0  # no score is larger: a loss falls without end where a sample's ROI lies outside (0, 1)
_FLOOR = 0.05  # DRM's ratio is continued by its tangent where value sinks below this share of the mean uplift


def signed(rows: Rows) -> Tensor:
    """Returns what each row counts in the mean of the treated less that of control: sums are differences of two means, (N,)."""
    share = inverse(rows)
    return torch.where(rows.treatment == 1, share, -share)


def inverse(rows: Rows) -> Tensor:
    """Returns what each row counts in the mean of its arm: weight / (propensity Σ weight), (N,)."""
    assert rows.inverse is not None
    return rows.inverse


class DUMLoss:
    """Log loss of the uplift: L = -(Σ_{t=1} r ln p / N_1 - Σ_{t=0} r ln p / N_0), p the softmax over all rows.

    The optimum has p proportional to the uplift.
    """

    additive = False

    def __init__(self, rows: Rows) -> None:
        self.gain = signed(rows) * rows.value
        self.heft = rows.weight.log()

    def __call__(self, score: Tensor, part: slice) -> Tensor:
        """Returns the loss; scores (n, 1)."""
        s = score.squeeze(1)
        # ln p_i = s_i - ln Σ_k w_k exp s_k
        log_p = s - torch.logsumexp(s + self.heft[part], 0)
        return -(self.gain[part] * log_p).sum()


class DRPLoss:
    """L = -[mean₁(r s) - mean₀(r s)] + [mean₁(c softplus s) - mean₀(c softplus s)].

    The optimum has sigmoid(s) = τ_r / τ_c, which must lie in (0, 1).
    """

    additive = True

    def __init__(self, rows: Rows) -> None:
        self.gain, self.price = signed(rows) * rows.value, signed(rows) * rows.cost

    def __call__(self, score: Tensor, part: slice) -> Tensor:
        """Returns the loss; scores (n, 1)."""
        s = score.squeeze(1)
        return (self.price[part] * F.softplus(s) - self.gain[part] * s).sum()


class DRMLoss:
    """L = [Σ₁ w c - Σ₀ w c] / [Σ₁ w r - Σ₀ w r], w the softmax of tanh(s) within each arm.

    Where the denominator sinks below 5 % of the mean uplift (in whose units the value is), 1/z goes on as its tangent:
    the pole, and the tempting minimum on its far side, are out of reach.
    """

    additive = False

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def __call__(self, score: Tensor, part: slice) -> Tensor:
        """Returns the loss; scores (n, 1)."""
        rows, heft = self.rows, torch.exp(torch.tanh(score.squeeze(1))) * inverse(self.rows)[part]
        cost, gain = heft.new_zeros(()), heft.new_zeros(())
        for arm, sign in ((1, 1.0), (0, -1.0)):
            w = heft * (rows.treatment[part] == arm)
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
        each = sides * (inverse(rows) / rows.n_treatments)[:, None]
        self.gain, self.price = each * rows.value[:, None], each * rows.cost[:, None]

    def __call__(self, score: Tensor, part: slice) -> Tensor:
        """Returns the loss; scores (n, 2): of the step into each row's arm, and of the step out of it."""
        q = score.sigmoid()
        return (self.price[part] * q**2 - self.gain[part] * q).sum()


def gradient_error(loss: Loss, x: Tensor, weight: Tensor, levels: int) -> float:
    """Returns how large the gradient of a linear score would be by chance alone, where all scores are 0.

    sqrt(Σ_i g_i² |x_i|² / w_i), g_i = dL/ds_i: a row of weight 2 counts as two rows. It falls as 1/√N and grows with
    the noise and the number of features. The L2 penalty is measured in it, so that one strength suits all samples.

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
    """Standardised features and a level -> one score in (-12, 12).

    The level enters the first layer one-hot, not as a number: what a step brings need not be linear in the level, or
    monotone, before the projection. Each level has a start of its own, that everybody has before anything is learned.

    Args:
        features: Number of features d.
        levels: Number of steps M - 1.
        hidden: Widths of the hidden layers.
        draw: Draws the first weights; None: they will be loaded.
    """

    offset: Tensor

    def __init__(
        self, features: int, levels: int, hidden: tuple[int, ...], draw: torch.Generator | None = None
    ) -> None:
        super().__init__(features)
        self.register_buffer("offset", torch.zeros(()))  # taken from the score when a factor is made of it
        self.levels = levels
        with torch.random.fork_rng(devices=[]):  # layers draw weights of their own, which are not used
            self.first = nn.Linear(features, hidden[0])
            self.level = nn.Linear(levels, hidden[0], bias=False) if levels > 1 else None
            self.body = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(hidden))
            self.last = nn.Linear(hidden[-1], 1, bias=False)
        self.start = nn.Parameter(torch.zeros(levels))
        with torch.no_grad():
            for layer in (m for m in self.modules() if isinstance(m, nn.Linear) and draw is not None):
                for p in layer.parameters():
                    p.uniform_(-1, 1, generator=draw).div_(layer.in_features**0.5)

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        """Returns scores (n, L) of the steps `level` (n, L); of all steps if not given. `x` (n, d) is standardised."""
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
