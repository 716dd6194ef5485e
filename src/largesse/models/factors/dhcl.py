"""Decision factors: scores learned so that sorting them, or comparing them with a price, solves the allocation.

| model | treatments | what it learns | menu: cost, value |
|---|---|---|---|
| DUM | 2 | the uplift τ_r, where everybody costs the same | (0, 1), (0, uplift) |
| DRP | 2 | the return on investment τ_r / τ_c | (0, 1), (0, ROI) |
| DRM | 2 | an order of the units by ROI (a baseline) | (0, 1), (0, weight) |
| DPM | M ordered levels | half the ROI of each step, Δr / (2 Δc) | level, Σ of 2q over the steps below |

They learn from the rows of a trial only; an observational log is not used. Their menus count treatments (DPM: steps),
not money: `policy.PriceCurve` prices a budget by the money that trial rows cost, so only the order of the slopes counts.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from largesse.models.factors.base import FactorModel, ReturnModel, Steps
from largesse.models.factors.losses import DPMLoss, DRMLoss, DRPLoss, DUMLoss, ScoreNet
from largesse.models.nets.full_batch import Loss
from largesse.models.nets.rows import Rows
from largesse.models.outcome import Response

__all__ = ["DPM", "DRM", "DRP", "DUM", "falling_steps"]

Floats = NDArray[np.float64]


class DUM(FactorModel):
    """Ranks units by uplift, for treatments that cost the same for everybody.

    p(x), a softmax over all rows, learns the shares of the total uplift. The menu's value is the uplift itself, mean
    uplift · p / mean p, in units of value per unit treated; its cost is 1 per unit treated. p is positive: a unit that
    treatment harms comes last.

    Args:
        hidden: Widths of the hidden layers.
        members: Networks to average.
        l2: Strength of the penalty on the weights, in sizes of the gradient that noise alone would give.
        training: Optimiser, steps, chunk.
        seed: First weights.
        n_threads: Threads of the matrix products.
        on_step: Called as on_step(step, steps, loss) after each step.
        checkpoint: Folder that keeps unfinished trainings: the same fit, begun again after a kill, goes on from there.

    Attributes:
        finish_: How the training of each network ended.

    Raises:
        DataError: More than one treatment, or treated rows bring no more than control's.

    Reference:
        Zhou et al., AAAI 2023 (arXiv 2211.15728), decision factor of the direct uplift model.

    >>> from largesse.logs import Logs
    >>> rng = np.random.default_rng(0)
    >>> x, t = rng.normal(size=(4000, 1)), rng.integers(0, 2, 4000)
    >>> logs = Logs(x=x, treatment=t, value=t * (x[:, 0] > 0) + rng.normal(size=4000), cost=1.0 * t)
    >>> uplift = DUM(members=1).fit(logs).predict([[1.0], [-1.0]]).value[:, 1]
    >>> bool(uplift[0] > 3 * uplift[1])
    True
    """

    _needs = ("value",)

    def _loss(self, rows: Rows) -> Loss:
        return DUMLoss(rows)

    def _first_unit(self, steps: Steps) -> float:
        return float(steps.value[0])

    def _units(self, steps: Steps) -> tuple[float, float]:
        return float(steps.value[0]), 1.0

    def _settle(self, net: ScoreNet, score: torch.Tensor, weight: torch.Tensor) -> None:
        # Mean of exp(s - offset) over the units is 1.
        net.offset.copy_(torch.logsumexp(score[:, 0] + (weight / weight.sum()).log(), 0))

    def _factor(self, score: torch.Tensor) -> torch.Tensor:
        return score.exp()


class DRP(ReturnModel):
    """Ranks units by their return on investment, τ_r / τ_c: incremental value per incremental unit of money.

    sigmoid(s) learns τ_r / (scale · τ_c). The scale puts the mean ROI at .25 and is doubled while more than 1 % of the
    units come above .9. The menu's value is the ROI, its cost 1 per unit treated. A unit with a negative ROI gets one
    near 0: it comes last.

    Args:
        hidden: Widths of the hidden layers.
        members: Networks to average.
        l2: Strength of the penalty on the weights, in sizes of the gradient that noise alone would give.
        training: Optimiser, steps, chunk.
        seed: First weights.
        n_threads: Threads of the matrix products.
        on_step: Called as on_step(step, steps, loss) after each step.
        checkpoint: Folder that keeps unfinished trainings: the same fit, begun again after a kill, goes on from there.

    Attributes:
        roi_scale_: The ROI that a sigmoid of 1 stands for.
        finish_: How the training of each network ended.

    Raises:
        DataError: More than one treatment, or treated rows cost no more than control's.

    Reference:
        Zhou et al., AAAI 2023 (arXiv 2211.15728), direct ROI prediction.

    >>> from largesse.logs import Logs
    >>> rng = np.random.default_rng(0)
    >>> x, t = rng.normal(size=(4000, 1)), rng.integers(0, 2, 4000)
    >>> value = t * np.where(x[:, 0] > 0, 4.0, 1.0) + rng.normal(size=4000)
    >>> model = DRP(members=1).fit(Logs(x=x, treatment=t, value=value, cost=2.0 * t))
    >>> model.predict([[1.0], [-1.0]]).value[:, 1].round().tolist()
    [2.0, 1.0]
    """

    def _loss(self, rows: Rows) -> Loss:
        return DRPLoss(rows)


class DRM(FactorModel):
    """Ranks units by ROI through a ratio of weighted means: the baseline of Du et al.

    The menu's value is exp(tanh(s)), the weight that the loss gives a unit, in (1/e, e); its cost is 1 per unit treated.
    Weights are used, not tanh(s): the softmax does not change when all scores are shifted, so the sign of a score says
    nothing about whom to leave out.

    Args:
        hidden: Widths of the hidden layers.
        members: Networks to average.
        l2: Strength of the penalty on the weights, in sizes of the gradient that noise alone would give.
        training: Optimiser, steps, chunk.
        seed: First weights.
        n_threads: Threads of the matrix products.
        on_step: Called as on_step(step, steps, loss) after each step.
        checkpoint: Folder that keeps unfinished trainings: the same fit, begun again after a kill, goes on from there.

    Attributes:
        finish_: How the training of each network ended.

    Raises:
        DataError: More than one treatment, or treated rows bring or cost no more than control's.

    Reference:
        Du et al. 2019, "Improve user retention with causal learning", direct ranking model.

    >>> from largesse.logs import Logs
    >>> rng = np.random.default_rng(0)
    >>> x, t = rng.normal(size=(4000, 1)), rng.integers(0, 2, 4000)
    >>> value = t * np.where(x[:, 0] > 0, 4.0, 1.0) + rng.normal(size=4000)
    >>> model = DRM(members=1).fit(Logs(x=x, treatment=t, value=value, cost=2.0 * t))
    >>> weight = model.predict([[1.0], [-1.0]]).value[:, 1]
    >>> bool(weight[0] > weight[1])
    True
    """

    def _loss(self, rows: Rows) -> Loss:
        return DRMLoss(rows)

    def _units(self, steps: Steps) -> tuple[float, float]:
        return float(steps.value[0]), float(steps.cost[0])

    def _factor(self, score: torch.Tensor) -> torch.Tensor:
        return score.tanh().exp()


class DPM(ReturnModel):
    """Learns the ROI of each step between ordered levels: climb while it is above the price.

    q(x, l), a sigmoid, learns Δr_l / (2 scale Δc_l) for the step l → l + 1; the scale puts the mean ROI of the best
    step at q = .25 and is doubled while more than 1 % of the units come above .9. The factors are made non-increasing
    over the steps (diminishing returns) by pooling. Menu: cost_j = j, value_j = Σ_{l<j} 2 q_l · scale; so
    `argmax value - price · cost` is "climb while 2 q · scale > price" (a tie goes to the lower level).

    Args:
        hidden: Widths of the hidden layers.
        members: Networks to average.
        l2: Strength of the penalty on the weights, in sizes of the gradient that noise alone would give.
        training: Optimiser, steps, chunk.
        seed: First weights.
        n_threads: Threads of the matrix products.
        on_step: Called as on_step(step, steps, loss) after each step.
        checkpoint: Folder that keeps unfinished trainings: the same fit, begun again after a kill, goes on from there.

    Attributes:
        roi_scale_: Twice this is the ROI that q = 1 stands for.
        finish_: How the training of each network ended.

    Raises:
        DataError: Some level costs no more than the one below it.

    Reference:
        Zhou et al., AAAI 2023 (arXiv 2211.15728), direct policy model for many treatments.

    >>> from largesse.logs import Logs
    >>> rng = np.random.default_rng(0)
    >>> x, t = rng.normal(size=(4000, 1)), rng.integers(0, 3, 4000)
    >>> value = np.where(x[:, 0] > 0, 4.0, 1.0) * np.sqrt(t) + rng.normal(size=4000)
    >>> menu = DPM(members=1).fit(Logs(x=x, treatment=t, value=value, cost=1.0 * t)).predict([[1.0]])
    >>> menu.cost.tolist(), menu.value.round().tolist()
    ([[0.0, 1.0, 2.0]], [[0.0, 4.0, 6.0]])
    """

    _binary = False
    _halves = 2

    def _loss(self, rows: Rows) -> Loss:
        return DPMLoss(rows)

    def _predict_response(self, x: NDArray[np.float32]) -> Response:
        roi = 2 * falling_steps(self._factors(x))
        zero = np.zeros((len(x), 1))
        level = np.broadcast_to(np.arange(roi.shape[1] + 1.0), (len(x), roi.shape[1] + 1))
        return Response(np.hstack([zero, roi.cumsum(1)]), None, level)


@njit(cache=True, nogil=True)
def falling_steps(table: Floats) -> Floats:
    """Returns each row made non-increasing: the nearest such row, by pooling neighbours that rise, (N, K).

    >>> falling_steps(np.array([[3.0, 1.0, 2.0]])).tolist()
    [[3.0, 1.5, 1.5]]
    """
    n, k = table.shape
    out = np.empty((n, k))
    mean, size = np.empty(k), np.empty(k, np.int64)
    for i in range(n):
        pools = 0
        for j in range(k):
            mean[pools], size[pools] = table[i, j], 1
            pools += 1
            while pools > 1 and mean[pools - 1] > mean[pools - 2]:
                a, b = size[pools - 2], size[pools - 1]
                mean[pools - 2] = (a * mean[pools - 2] + b * mean[pools - 1]) / (a + b)
                size[pools - 2] = a + b
                pools -= 1
        j = 0
        for p in range(pools):
            for _ in range(size[p]):
                out[i, j] = mean[p]
                j += 1
    return out
