"""What the networks see of the features: standard deviations from the mean, clipped."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["WIDE", "Standardised"]

WIDE = 6.0  # standardised features are clipped here: heavy tails must not own a network


class Standardised(nn.Module):
    """A network that keeps the centre and the spread of its features, (d,) each, with its weights.

    Args:
        features: Number of features d.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))

    def look(self, x: Tensor) -> None:
        """Takes the centre and the spread of features (n, d)."""
        self.centre.copy_(x.mean(0))
        self.spread.copy_(x.std(0).clamp_min(1e-6))

    def look_like(self, other: Standardised) -> None:
        """Takes the centre and the spread of another network of the same features."""
        self.centre.copy_(other.centre)
        self.spread.copy_(other.spread)

    def standardise(self, x: Tensor) -> Tensor:
        """Returns features (n, d) in standard deviations from the mean, clipped."""
        return ((x - self.centre) / self.spread).clamp_(-WIDE, WIDE)
