"""Rows of a trial or a log as tensors: the one form that every network and loss takes them in."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from largesse.logs import Logs

__all__ = ["Rows"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Rows:
    """Rows (x, treatment, value, cost), and how much each counts.

    Attributes:
        treatment: Code of the treatment taken, int64 (N,).
        value: Logged value, (N,), in the units asked for.
        cost: Logged cost, (N,), likewise.
        weight: What each row counts in a prediction loss, (N,).
        share: Row weight, (N,).
        inverse: Row weight over the propensity of the treatment taken, (N,); None where propensities are unknown.
        x: Features, (N, d); None where a loss does not look at them.
        observed: 1 for rows of an observational log, 0 for those of a trial, (N,); None: all of a trial.
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
            arm_weighted: Whether a row's weight in a prediction loss is scaled by n / (M n_t), so that every arm counts alike.
            unit_weight: The row weight that counts as 1 in `share` and `inverse`.
            units: What counts as 1 of value and of cost.
            observed: Which rows are of an observational log, (N,).
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
        """The features, for losses that look at them."""
        assert self.x is not None
        return self.x

    @property
    def outcomes(self) -> Tensor:
        """Value and cost side by side, (N, 2)."""
        return torch.stack([self.value, self.cost], 1)

    @property
    def columns(self) -> tuple[Tensor, ...]:
        """All tensors: what a training on these rows depends on."""
        every = (
            self.x, self.treatment, self.value, self.cost, self.weight, self.share, self.inverse, self.observed,
        )  # fmt: skip
        return tuple(a for a in every if a is not None)

    def take(self, i: Tensor) -> Rows:
        """Returns some rows, by number or by a mask."""

        def some(a: Tensor | None) -> Tensor | None:
            return None if a is None else a[i]

        return replace(
            self, treatment=self.treatment[i], value=self.value[i], cost=self.cost[i], weight=self.weight[i],
            share=self.share[i], inverse=some(self.inverse), x=some(self.x), observed=some(self.observed),
        )  # fmt: skip

    def without_features(self) -> Rows:
        """Returns the rows for a loss that does not look at the features, so that batches do not gather them."""
        return replace(self, x=None)
