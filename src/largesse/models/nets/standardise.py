"""Inputs of the networks: features in standard deviations from their mean, clipped."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["WIDE", "Standardised"]

WIDE = 6.0  # standardised features are clipped to [-6, 6], so that heavy tails do not dominate a network


class Standardised(nn.Module):
    """A network that stores the mean and standard deviation of its features, (d,) each, as buffers.

    Args:
        features: Number of features d.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))

    def fit_scale(self, x: Tensor) -> None:
        """Sets the mean and standard deviation to those of features (n, d)."""
        self.centre.copy_(x.mean(0))
        self.spread.copy_(x.std(0).clamp_min(1e-6))

    def copy_scale(self, other: Standardised) -> None:
        """Sets the mean and standard deviation to those of another network of the same features."""
        self.centre.copy_(other.centre)
        self.spread.copy_(other.spread)

    def standardise(self, x: Tensor) -> Tensor:
        """Returns features (n, d) in standard deviations from the mean, clipped."""
        return ((x - self.centre) / self.spread).clamp_(-WIDE, WIDE)
