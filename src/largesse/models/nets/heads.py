"""The heads of a response network: what its raw numbers mean. One class per outcome family, and one per kind of cost.

Raw value heads are (N, parts, M): so many numbers for each treatment. Of them `free` differ between treatments as they like; the
others differ by a constant.
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

_SIGMA = (0.05, 5.0)
_EDGE = 1e-6


def _bce(raw: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(raw, target, reduction="none")


def _logit(share: float) -> float:
    return float(np.log(max(share, _EDGE) / max(1 - share, _EDGE)))


class ValueHeads(ABC):
    """How raw numbers give E value and P(value > 0).

    Args:
        conversion: Whether a number of its own gives P(value > 0).
        scale: Typical size of a value: squared errors are measured in it.
    """

    def __init__(self, conversion: bool = False, scale: float = 1.0) -> None:
        self.conversion, self.scale = conversion, scale
        self.free = self.parts = 2 if conversion else 1

    @abstractmethod
    def mean(self, raw: Tensor) -> Tensor:
        """Returns E value, (N, M)."""

    @abstractmethod
    def loss(self, raw: Tensor, value: Tensor) -> Tensor:
        """Returns -log likelihood of the value per row, constants dropped, (N,); raw is (N, parts)."""

    @abstractmethod
    def difference(self, raw: Tensor, mean: Tensor) -> Tensor:
        """Returns the same loss against a teacher's E value, (N, M)."""

    @abstractmethod
    def start(self, rows: Logs) -> list[float]:
        """Returns the raw numbers of "everybody is average", (parts,)."""

    def expected(self, raw: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns E value and P(value > 0), each (N, M); None where it is not known."""
        return self.mean(raw), raw[:, 1].sigmoid() if self.conversion else None

    def losses(self, raw: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Returns the loss of the value per row, (N,), and that of P(value > 0) where a number of its own gives it."""
        own = self.loss(raw, value)
        return (own, _bce(raw[:, 1], (value > 0).to(value.dtype))) if self.conversion else (own,)

    def divergence(self, raw: Tensor, mean: Tensor, conversion: Tensor | None) -> Tensor:
        """Returns how far each head is from a teacher's E value and P(value > 0), in the head's own likelihood, (N, M)."""
        far = self.difference(raw, mean)
        return far + _bce(raw[:, 1], conversion.clamp(0, 1)) if self.conversion and conversion is not None else far

    def least(self, value: Tensor) -> Tensor:
        """Returns what no prediction gets the value's loss below, (N,)."""
        return torch.zeros_like(value)

    def started(self, rows: Logs, own: float) -> list[float]:
        """Returns a start of the mean, and that of P(value > 0) where it has a number of its own."""
        return [own, _logit(float((rows.value > 0).mean()))][: self.parts]


class _Bernoulli(ValueHeads):
    def mean(self, raw: Tensor) -> Tensor:
        return raw[:, 0].sigmoid()

    def expected(self, raw: Tensor) -> tuple[Tensor, Tensor | None]:
        p = self.mean(raw)
        return p, p

    def loss(self, raw: Tensor, value: Tensor) -> Tensor:
        return _bce(raw[:, 0], value)

    def difference(self, raw: Tensor, mean: Tensor) -> Tensor:
        return _bce(raw[:, 0], mean.clamp(0, 1))

    def start(self, rows: Logs) -> list[float]:
        return [_logit(_mean(rows))]


class _Poisson(ValueHeads):
    def mean(self, raw: Tensor) -> Tensor:
        return raw[:, 0].clamp_max(20).exp()

    def loss(self, raw: Tensor, value: Tensor) -> Tensor:
        return F.poisson_nll_loss(raw[:, 0], value, log_input=True, reduction="none")

    def difference(self, raw: Tensor, mean: Tensor) -> Tensor:
        return F.poisson_nll_loss(raw[:, 0], mean.clamp_min(0), log_input=True, reduction="none")

    def least(self, value: Tensor) -> Tensor:
        return value - torch.xlogy(value, value)

    def start(self, rows: Logs) -> list[float]:
        return self.started(rows, float(np.log(max(_mean(rows), _EDGE))))


class _Gaussian(ValueHeads):
    def mean(self, raw: Tensor) -> Tensor:
        return raw[:, 0] * self.scale

    def loss(self, raw: Tensor, value: Tensor) -> Tensor:
        return (raw[:, 0] - value / self.scale) ** 2

    def difference(self, raw: Tensor, mean: Tensor) -> Tensor:
        return (raw[:, 0] - mean / self.scale) ** 2

    def start(self, rows: Logs) -> list[float]:
        return self.started(rows, _mean(rows) / self.scale)


class _ZeroInflatedLognormal(ValueHeads):
    """Raw numbers: logit of P(value > 0); mean and spread (before softplus) of the logarithm of a positive value."""

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
        """Returns the squared distance of the logarithm of a positive value, whose mean is given, (N, M)."""
        sigma = self._sigma(raw).detach()
        return ((mean.clamp_min(1e-12).log() - sigma**2 / 2 - raw[:, 1]) / sigma) ** 2 / 2

    def divergence(self, raw: Tensor, mean: Tensor, conversion: Tensor | None) -> Tensor:
        assert conversion is not None, "a basket's teacher gives P(value > 0)"
        far = self.difference(raw, mean / conversion.clamp_min(_EDGE))
        return _bce(raw[:, 0], conversion.clamp(0, 1)) + conversion * far

    def least(self, value: Tensor) -> Tensor:
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
    """Returns the value heads of an outcome; plain ones learn any number by squared error, as published networks do."""
    if plain:
        return _Gaussian(scale=scale)
    return _VALUE[outcome.family](conversion=outcome.needs_conversion, scale=scale)


class CostHeads(ABC):
    """How raw numbers, one per treatment, give E cost.

    Args:
        scale: Typical size of a cost.
        ordered: Whether treatments are rising levels, which cost more and more.
        control_cost: Whether control may cost money.
    """

    def __init__(self, scale: float, ordered: bool, control_cost: bool) -> None:
        self.scale, self.ordered, self.control_cost = scale, ordered, control_cost

    @abstractmethod
    def structured(self, raw: Tensor) -> Tensor:
        """Returns raw numbers (N, M) with control free and ordered levels rising."""

    @abstractmethod
    def expected(self, costs: Tensor) -> Tensor:
        """Returns E cost of structured numbers, (N, M)."""

    @abstractmethod
    def loss(self, head: Tensor, cost: Tensor, t: Tensor) -> Tensor:
        """Returns the loss of each row's logged cost, (N,); head is of the treatment taken."""

    @abstractmethod
    def divergence(self, costs: Tensor, cost: Tensor) -> Tensor:
        """Returns how far structured numbers are from a teacher's E cost, (N, M)."""

    def without_control(self, table: Tensor) -> Tensor:
        """Returns a table (N, M) whose first column is 0 unless control may cost money."""
        return table if self.control_cost else torch.cat([torch.zeros_like(table[:, :1]), table[:, 1:]], 1)


class _Amounts(CostHeads):
    """Amounts >= 0, in units of the scale: squared errors."""

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
    """Any number: the free heads of published networks."""

    def structured(self, raw: Tensor) -> Tensor:
        return raw


class _Binary(CostHeads):
    """0 or 1 (a visit): logits."""

    def structured(self, raw: Tensor) -> Tensor:
        if not self.ordered:
            return raw
        return torch.cat([raw[:, :1], raw[:, :1] + F.softplus(raw[:, 1:]).cumsum(1)], 1)

    def expected(self, costs: Tensor) -> Tensor:
        return self.without_control(costs.sigmoid())

    def loss(self, head: Tensor, cost: Tensor, t: Tensor) -> Tensor:
        each = _bce(head, cost)
        return each if self.control_cost else each * (t > 0)

    def divergence(self, costs: Tensor, cost: Tensor) -> Tensor:
        return self.without_control(_bce(costs, cost.clamp(0, 1)))


def cost_heads(outcome: Outcome, plain: bool, scale: float) -> CostHeads | None:
    """Returns the cost heads of an outcome; None where a rule gives the cost."""
    if outcome.rule is not None:
        return None
    kind = _Plain if plain else _Binary if outcome.cost_binary else _Amounts
    return kind(scale, outcome.ordered, outcome.control_cost)
