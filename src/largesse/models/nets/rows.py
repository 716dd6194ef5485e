"""Rows of a trial or of past campaign data as tensors: the input of every network loss."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from largesse.logs import Logs

__all__ = ["Rows"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Rows:
    """Rows (x, treatment, value, cost) with their weights.

    Attributes:
        treatment: Code of the treatment given, int64 (N,).
        value: Logged value, (N,), in the units passed to `of`.
        cost: Logged cost, (N,), likewise.
        weight: Weight of each row in a prediction loss, (N,).
        share: Row weight, (N,).
        inverse: Row weight / propensity of the treatment given, (N,); None where propensities are unknown.
        x: Features, (N, d); None for a loss that does not use them.
        observed: 1 for rows of an observational log, 0 for trial rows, (N,); None: all are trial rows.
        n_treatments: Number of treatments M.
    """

    treatment: Tensor
    value: Tensor
    cost: Tensor
    weight: Tensor
    share: Tensor
    inverse: Tensor | None = None
    x: Tensor | None = None
    observed: Tensor | None = None
    n_treatments: int = 2

    @classmethod
    def of(
        cls,
        logs: Logs,
        *,
        arm_weighted: bool = False,
        unit_weight: float = 1.0,
        units: tuple[float, float] = (1.0, 1.0),
        observed: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Rows:
        """Returns the rows of a log.

        Args:
            logs: The log.
            arm_weighted: Whether `weight` is scaled by n / (M n_t), so that every arm has the same total weight.
            unit_weight: Divisor of the row weights in `share` and `inverse`.
            units: Divisors of value and of cost.
            observed: 1 for rows of an observational log, (N,).
            dtype: Of the outcomes and weights.
        """
        weight = logs.weights
        if arm_weighted:
            weight = weight * (logs.n / (logs.n_treatments * logs.arm_rows))[logs.treatment]
        value, cost, w, share = (
            torch.tensor(a, dtype=dtype) for a in (logs.value, logs.cost, weight, logs.weights / unit_weight)
        )
        inverse = logs.inverse_propensity / unit_weight if logs.propensity is not None else None
        return cls(
            treatment=torch.tensor(logs.treatment, dtype=torch.int64), value=value / units[0], cost=cost / units[1], weight=w,
            share=share, inverse=None if inverse is None else torch.tensor(inverse, dtype=dtype), x=torch.tensor(logs.x),
            observed=observed, n_treatments=logs.n_treatments,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.treatment)

    @property
    def features(self) -> Tensor:
        """The features (N, d), which must be there."""
        assert self.x is not None
        return self.x

    @property
    def outcomes(self) -> Tensor:
        """Value and cost side by side, (N, 2)."""
        return torch.stack([self.value, self.cost], 1)

    @property
    def columns(self) -> tuple[Tensor, ...]:
        """All tensors, for the digest of a checkpoint."""
        return tuple(self._tensors().values())

    def take(self, i: Tensor) -> Rows:
        """Returns the rows selected by indices or by a mask."""
        selected: dict[str, Any] = {name: a[i] for name, a in self._tensors().items()}
        return replace(self, **selected)

    def _tensors(self) -> dict[str, Tensor]:
        attributes = ((name, getattr(self, name)) for name in self.__slots__)
        return {name: a for name, a in attributes if isinstance(a, Tensor)}

    def without_features(self) -> Rows:
        """Returns the rows without features, so that a loss that does not use them gathers no features per batch."""
        return replace(self, x=None)
