"""The heads of a response network: likelihood and mean of its raw outputs, one class per outcome family and kind of cost.

Raw value outputs are (N, parts, M): `parts` numbers per treatment. The first `free` of them depend on features and treatment;
the others differ between treatments by a constant.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from largesse.logs import Logs
from largesse.models.outcome import Outcome

__all__ = ["CostHeads", "ValueHeads", "cost_heads", "value_heads"]

_SIGMA = (0.05, 5.0)  # range of a log-normal σ
_EDGE = 1e-6  # probabilities and rates are at least this


def _bce(raw: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(raw, target, reduction="none")


def _logit(share: float) -> float:
    return float(np.log(max(share, _EDGE) / max(1 - share, _EDGE)))


class ValueHeads(ABC):
    """Maps raw outputs to E value and P(value > 0), and gives their loss.

    Args:
        conversion: Whether a separate output models P(value > 0).
        scale: Typical size of a value, the unit of squared errors.
    """

    support = (-math.inf, math.inf)  # of E value

    def __init__(self, conversion: bool = False, scale: float = 1.0) -> None:
        self.conversion, self.scale = conversion, scale
        self.free = self.parts = 2 if conversion else 1

    @abstractmethod
    def mean(self, raw: Tensor) -> Tensor:
        """Returns E value, (N, M)."""

    @abstractmethod
    def loss(self, raw: Tensor, value: Tensor) -> Tensor:
        """Returns each row's negative log likelihood without constants, (N,) of raw (N, parts) and value (N,)."""

    def difference(self, raw: Tensor, mean: Tensor) -> Tensor:
        """Returns the loss of raw (N, parts, M) with a teacher's E value as the target, (N, M)."""
        return self.loss(raw, mean.clamp(*self.support))

    @abstractmethod
    def start(self, rows: Logs) -> list[float]:
        """Returns the raw outputs that predict the mean of the rows for every unit, (parts,)."""

    def expected(self, raw: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns E value and P(value > 0), each (N, M); None where it is not modelled."""
        return self.mean(raw), raw[:, 1].sigmoid() if self.conversion else None

    def losses(self, raw: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Returns the loss of each row's value, (N,), and of P(value > 0) if it is an output of its own."""
        loss = self.loss(raw, value)
        return (loss, _bce(raw[:, 1], (value > 0).to(value.dtype))) if self.conversion else (loss,)

    def divergence(self, raw: Tensor, mean: Tensor, conversion: Tensor | None) -> Tensor:
        """Returns the loss with a teacher's E value and P(value > 0) as targets, (N, M)."""
        loss = self.difference(raw, mean)
        return loss + _bce(raw[:, 1], conversion.clamp(0, 1)) if self.conversion and conversion is not None else loss

    def lowest_loss(self, value: Tensor) -> Tensor:
        """Returns the smallest possible loss of each row's value, (N,)."""
        return torch.zeros_like(value)

    def start_at(self, mean: float, rows: Logs) -> list[float]:
        """Returns the raw mean, and the raw P(value > 0) of the rows if it is an output of its own."""
        return [mean, _logit(float((rows.value > 0).mean()))][: self.parts]


class _Bernoulli(ValueHeads):
    support = (0.0, 1.0)

    def mean(self, raw: Tensor) -> Tensor:
        return raw[:, 0].sigmoid()

    def expected(self, raw: Tensor) -> tuple[Tensor, Tensor | None]:
        p = self.mean(raw)
        return p, p

    def loss(self, raw: Tensor, value: Tensor) -> Tensor:
        return _bce(raw[:, 0], value)

    def start(self, rows: Logs) -> list[float]:
        return [_logit(_mean(rows))]


class _Poisson(ValueHeads):
    support = (0.0, math.inf)

    def mean(self, raw: Tensor) -> Tensor:
        return raw[:, 0].clamp_max(20).exp()

    def loss(self, raw: Tensor, value: Tensor) -> Tensor:
        return F.poisson_nll_loss(raw[:, 0], value, log_input=True, reduction="none")

    def lowest_loss(self, value: Tensor) -> Tensor:
        return value - torch.xlogy(value, value)

    def start(self, rows: Logs) -> list[float]:
        return self.start_at(float(np.log(max(_mean(rows), _EDGE))), rows)


class _Gaussian(ValueHeads):
    def mean(self, raw: Tensor) -> Tensor:
        return raw[:, 0] * self.scale

    def loss(self, raw: Tensor, value: Tensor) -> Tensor:
        return (raw[:, 0] - value / self.scale) ** 2

    def start(self, rows: Logs) -> list[float]:
        return self.start_at(_mean(rows) / self.scale, rows)


class _ZeroInflatedLognormal(ValueHeads):
    """Raw outputs: logit of P(value > 0); mean and σ (before softplus) of the logarithm of a positive value."""

    def __init__(self, conversion: bool = False, scale: float = 1.0) -> None:
        super().__init__(scale=scale)
        self.parts = 3

    def mean(self, raw: Tensor) -> Tensor:
        return raw[:, 0].sigmoid() * (raw[:, 1] + self._sigma(raw) ** 2 / 2).clamp_max(30).exp()

    def expected(self, raw: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.mean(raw), raw[:, 0].sigmoid()

    def loss(self, raw: Tensor, value: Tensor) -> Tensor:
        sigma = self._sigma(raw)
        basket = ((value.clamp_min(1e-12).log() - raw[:, 1]) / sigma) ** 2 / 2 + sigma.log()
        return (value > 0).to(value.dtype) * basket

    def losses(self, raw: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        return self.loss(raw, value), _bce(raw[:, 0], (value > 0).to(value.dtype))

    def difference(self, raw: Tensor, mean: Tensor) -> Tensor:
        """Returns (log mean - σ²/2 - μ)² / 2σ², `mean` being that of a positive value, (N, M)."""
        sigma = self._sigma(raw).detach()
        return ((mean.clamp_min(1e-12).log() - sigma**2 / 2 - raw[:, 1]) / sigma) ** 2 / 2

    def divergence(self, raw: Tensor, mean: Tensor, conversion: Tensor | None) -> Tensor:
        assert conversion is not None, "a teacher of this family predicts P(value > 0)"
        loss = self.difference(raw, mean / conversion.clamp_min(_EDGE))
        return _bce(raw[:, 0], conversion.clamp(0, 1)) + conversion * loss

    def lowest_loss(self, value: Tensor) -> Tensor:
        return (value > 0) * math.log(_SIGMA[0])

    def start(self, rows: Logs) -> list[float]:
        logs: NDArray[np.float64] = np.log(rows.value[rows.value > 0]) if rows.value.any() else np.zeros(1)
        spread = float(np.log(np.expm1(np.clip(logs.std(), 0.1, 4.0))))
        return [_logit(float((rows.value > 0).mean())), float(logs.mean()), spread]

    def _sigma(self, raw: Tensor) -> Tensor:
        return F.softplus(raw[:, 2]).clamp(*_SIGMA)


def _mean(rows: Logs) -> float:
    return float(np.average(rows.value, weights=rows.weights))


_VALUE: dict[str, type[ValueHeads]] = {
    "bernoulli": _Bernoulli, "poisson": _Poisson, "gaussian": _Gaussian, "zero_inflated_lognormal": _ZeroInflatedLognormal,
}  # fmt: skip


def value_heads(outcome: Outcome, plain: bool, scale: float) -> ValueHeads:
    """Returns the value heads of an outcome; plain: unrestricted outputs with a squared error, as in published networks."""
    if plain:
        return _Gaussian(scale=scale)
    return _VALUE[outcome.family](conversion=outcome.needs_conversion, scale=scale)


class CostHeads(ABC):
    """Maps raw outputs, one per treatment, to E cost, and gives their loss.

    Args:
        scale: Typical size of a cost, the unit of squared errors.
        ordered: Whether treatments are ordered levels of non-decreasing cost.
        control_cost: Whether control may cost something.
    """

    def __init__(self, scale: float, ordered: bool, control_cost: bool) -> None:
        self.scale, self.ordered, self.control_cost = scale, ordered, control_cost

    @abstractmethod
    def structured(self, raw: Tensor) -> Tensor:
        """Returns raw outputs (N, M) transformed so that control costs 0 and ordered levels do not fall."""

    @abstractmethod
    def expected(self, costs: Tensor) -> Tensor:
        """Returns E cost of structured outputs, (N, M)."""

    @abstractmethod
    def loss(self, head: Tensor, cost: Tensor, t: Tensor) -> Tensor:
        """Returns the loss of each row's logged cost, (N,); `head` is the structured output of the treatment given."""

    @abstractmethod
    def divergence(self, costs: Tensor, cost: Tensor) -> Tensor:
        """Returns the loss of structured outputs with a teacher's E cost as the target, (N, M)."""

    def without_control(self, table: Tensor) -> Tensor:
        """Returns a table (N, M) with first column 0 unless control may cost something."""
        return table if self.control_cost else torch.cat([torch.zeros_like(table[:, :1]), table[:, 1:]], 1)


class _Amounts(CostHeads):
    """Amounts >= 0 in units of the scale, with a squared error."""

    def structured(self, raw: Tensor) -> Tensor:
        steps = self.without_control(F.softplus(raw))
        return steps.cumsum(1) if self.ordered else steps

    def expected(self, costs: Tensor) -> Tensor:
        return costs * self.scale

    def loss(self, head: Tensor, cost: Tensor, t: Tensor) -> Tensor:
        return (head - cost / self.scale) ** 2

    def divergence(self, costs: Tensor, cost: Tensor) -> Tensor:
        return (costs - cost / self.scale) ** 2


class _Plain(_Amounts):
    """Unrestricted outputs, as in published networks."""

    def structured(self, raw: Tensor) -> Tensor:
        return raw


class _Binary(CostHeads):
    """Logits of a cost that is 0 or 1 (a visit)."""

    def structured(self, raw: Tensor) -> Tensor:
        if not self.ordered:
            return raw
        return torch.cat([raw[:, :1], raw[:, :1] + F.softplus(raw[:, 1:]).cumsum(1)], 1)

    def expected(self, costs: Tensor) -> Tensor:
        return self.without_control(costs.sigmoid())

    def loss(self, head: Tensor, cost: Tensor, t: Tensor) -> Tensor:
        loss = _bce(head, cost)
        return loss if self.control_cost else loss * (t > 0)

    def divergence(self, costs: Tensor, cost: Tensor) -> Tensor:
        return self.without_control(_bce(costs, cost.clamp(0, 1)))


def cost_heads(outcome: Outcome, plain: bool, scale: float) -> CostHeads | None:
    """Returns the cost heads of an outcome; None where a cost rule replaces them."""
    if outcome.rule is not None:
        return None
    kind = _Plain if plain else _Binary if outcome.cost_binary else _Amounts
    return kind(scale, outcome.ordered, outcome.control_cost)
