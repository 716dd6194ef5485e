"""Decision factors: scores whose order, or comparison with a price, solves the allocation.

| model | treatments | factor | menu: cost, value |
|---|---|---|---|
| DUM | 2 | the uplift τ_r, for treatments of equal cost for all units | (0, 1), (0, uplift) |
| DRP | 2 | the return on investment τ_r / τ_c | (0, 1), (0, ROI) |
| DRM | 2 | a ranking of the units by ROI (a baseline) | (0, 1), (0, weight) |
| DPM | M ordered levels | half the ROI of each step, Δr / (2 Δc) | level, Σ of 2q over the steps below |

They are fitted on the rows of a trial only; an observational log is not used. The costs of their menus count treatments
(DPM: steps), not spend: `policy.PriceCurve` finds the price of a budget from the costs of trial rows, so only the order of
the slopes matters.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from largesse.evaluate.kernels import pool
from largesse.models.factors.base import FactorModel, ReturnModel, Steps
from largesse.models.factors.losses import DPMLoss, DRMLoss, DRPLoss, DUMLoss, ScoreNet
from largesse.models.nets.full_batch import Loss
from largesse.models.nets.rows import Rows
from largesse.models.outcome import Response

__all__ = ["DPM", "DRM", "DRP", "DUM", "falling_steps"]

Floats = NDArray[np.float64]


class DUM(FactorModel):
    """Ranks units by uplift, for a treatment that costs the same for every unit.

    p(x), a softmax over all rows, estimates each unit's share of the total uplift. The menu's value is the uplift, mean
    uplift · p / mean p; its cost is 1 per unit treated. As p > 0, units harmed by the treatment are ranked last, with an
    uplift near 0.

    The parameters are those of every decision factor, see `largesse.models.factors.base.FactorModel`.

    Raises:
        DataError: There is more than one treatment, or the mean value of treated rows is not above control's.

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
    """Ranks units by return on investment, τ_r / τ_c: incremental value per unit of incremental cost.

    sigmoid(s) estimates τ_r / (scale · τ_c), see `ReturnModel` for the scale. The menu's value is the ROI, its cost 1 per
    unit treated. A negative ROI is estimated as one near 0, and ranked last.

    The parameters are those of every decision factor, see `largesse.models.factors.base.FactorModel`.

    Attributes:
        roi_scale_: The ROI at sigmoid(s) = 1.

    Raises:
        DataError: There is more than one treatment, or the mean cost of treated rows is not above control's.

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

    The menu's value is exp(tanh(s)), the unit's weight in the loss, in (1/e, e); its cost is 1 per unit treated. Weights
    replace tanh(s) because the softmax is invariant to a shift of all tanh(s): their sign carries no information.

    The parameters are those of every decision factor, see `largesse.models.factors.base.FactorModel`.

    Raises:
        DataError: There is more than one treatment, or the mean value or cost of treated rows is not above control's.

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
    """Estimates the ROI of each step between ordered levels; units go up while it is above the price.

    q(x, l), a sigmoid, estimates Δr_l / (2 scale Δc_l) for the step l → l + 1, see `ReturnModel` for the scale. The
    factors are made non-increasing over the steps (diminishing returns) by isotonic projection. Menu: cost_j = j,
    value_j = Σ_{l<j} 2 q_l · scale, so that `argmax value - price · cost` goes up while 2 q · scale > price (a tie goes to
    the lower level).

    The parameters are those of every decision factor, see `largesse.models.factors.base.FactorModel`.

    Attributes:
        roi_scale_: Half the ROI at q = 1.

    Raises:
        DataError: The mean cost of some level is not above that of the level below.

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
    _roi_per_factor = 2

    def _loss(self, rows: Rows) -> Loss:
        return DPMLoss(rows)

    def _predict_response(self, x: NDArray[np.float32]) -> Response:
        roi = 2 * falling_steps(self._factors(x))
        zero = np.zeros((len(x), 1))
        level = np.broadcast_to(np.arange(roi.shape[1] + 1.0), (len(x), roi.shape[1] + 1))
        return Response(np.hstack([zero, roi.cumsum(1)]), None, level)


@njit(cache=True, nogil=True)
def falling_steps(table: Floats) -> Floats:
    """Returns the decreasing isotonic projection (pool adjacent violators) of each row, (N, K).

    >>> falling_steps(np.array([[3.0, 1.0, 2.0]])).tolist()
    [[3.0, 1.5, 1.5]]
    """
    out = np.empty(table.shape)
    for i in range(len(table)):
        first, mean, _ = pool(table[i], table[i])
        for p in range(len(first)):
            out[i, first[p] :] = mean[p]
    return out
