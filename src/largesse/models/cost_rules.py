"""Cost rules: formulas for the cost of a treatment where the platform knows it. One class per rule.

The cost of treatment j for unit i is amount_j times a base:

| rule | base | example |
|---|---|---|
| per_contact | 1 | a letter's postage |
| per_redemption | P(value_i > 0) | the face value of a coupon, paid when it is redeemed |
| share_of_value | E value_i | a discount on the basket |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["COST_RULES", "CostRule"]

Floats = NDArray[np.float64]


class CostRule(ABC):
    """The base that the amount of a treatment is multiplied by.

    Attributes:
        name: Its name in configurations and saved models.
        needs_conversion: Whether the base is P(value > 0).
    """

    name: ClassVar[str]
    needs_conversion: ClassVar[bool] = False

    @abstractmethod
    def base(self, value: Any, conversion: Any) -> Any:
        """Returns the expected base of arrays or tensors, (N, M); the number 1.0 if it is constant.

        Args:
            value: E value, (N, M).
            conversion: P(value > 0), (N, M); None if it is not predicted.
        """

    @abstractmethod
    def logged(self, value: Floats) -> Floats:
        """Returns the base of logged outcomes, (N,)."""

    @abstractmethod
    def variance(self, value: Floats, conversion: Floats) -> Floats:
        """Returns the variance of the expected base, given the variances of E value and of P(value > 0)."""


class _PerContact(CostRule):
    """The amount, in every case."""

    name = "per_contact"

    def base(self, value: Any, conversion: Any) -> Any:
        return 1.0

    def logged(self, value: Floats) -> Floats:
        return np.ones(len(value))

    def variance(self, value: Floats, conversion: Floats) -> Floats:
        return np.zeros_like(value)


class _PerRedemption(CostRule):
    """The amount, if the unit redeems (value > 0)."""

    name, needs_conversion = "per_redemption", True

    def base(self, value: Any, conversion: Any) -> Any:
        return conversion

    def logged(self, value: Floats) -> Floats:
        return (value > 0).astype(np.float64)

    def variance(self, value: Floats, conversion: Floats) -> Floats:
        return conversion


class _ShareOfValue(CostRule):
    """The amount as a share of the value."""

    name = "share_of_value"

    def base(self, value: Any, conversion: Any) -> Any:
        return value.clip(min=0)

    def logged(self, value: Floats) -> Floats:
        return np.maximum(value, 0)

    def variance(self, value: Floats, conversion: Floats) -> Floats:
        return value


COST_RULES: dict[str, CostRule] = {rule.name: rule for rule in (_PerContact(), _PerRedemption(), _ShareOfValue())}
"""The rules by name, in the order in which `Outcome.infer` tries them."""
