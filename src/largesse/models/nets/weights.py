"""The weights of a network as named arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import nn

Net = TypeVar("Net", bound=nn.Module)

__all__ = ["load_weights", "weights_of"]


def weights_of(net: nn.Module) -> dict[str, NDArray[Any]]:
    """Returns the weights and buffers of a network by name."""
    return {name: w.numpy() for name, w in net.state_dict().items()}


def load_weights(net: Net, arrays: Mapping[str, NDArray[Any]]) -> Net:
    """Loads saved weights into a network, and returns it in evaluation mode."""
    net.load_state_dict({name: torch.from_numpy(w) for name, w in arrays.items()})
    return net.eval()
