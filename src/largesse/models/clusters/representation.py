"""The first two layers of fitted networks: features in, representation out."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from largesse import _check
from largesse.models.base import Model
from largesse.models.nets.minibatch import threads
from largesse.models.nets.response import ResponseNet
from largesse.models.nets.standardise import Standardised
from largesse.models.nets.weights import load_weights
from largesse.models.two_stage.mlp import MLP

__all__ = ["Body", "network_of"]

_CHUNK = 4096


def network_of(name: str, model: Any) -> MLP:
    """Returns the network of a model, unfitted or fitted: its own, or the network of a decision-focused or bi-level model.

    Raises:
        DataError: The model has no network, or the network has fewer than two layers.
    """
    net = model.network if isinstance(model, Model) else None
    if not isinstance(net, MLP) or len(net.hidden) < 2:
        rule = "must be a network of at least two layers (MLP), or be built on one (DFCL, BiDFCL)"
        raise _check.refuse(name, model, rule, "Give MLP(hidden=(64, 32)).")
    return net


class Body(Standardised):
    """Two layers, frozen.

    Args:
        features: Number of features d.
        widths: Widths of the two layers; of several networks, their sums.
    """

    def __init__(self, features: int, widths: tuple[int, int]) -> None:
        super().__init__(features)
        first, last = widths
        self.layers = nn.Sequential(nn.Linear(features, first), nn.ReLU(), nn.Linear(first, last), nn.ReLU())

    @classmethod
    def of(cls, model: Model) -> Self:
        """Returns a copy of the body of a fitted model: of all its networks side by side, if it averages several."""
        nets: list[ResponseNet] = network_of("base", model).nets_
        parts = [[layer for layer in net.body.children() if isinstance(layer, nn.Linear)][:2] for net in nets]
        first, last = zip(*parts, strict=True)
        body = cls(first[0].in_features, (sum(k.out_features for k in first), sum(k.out_features for k in last)))
        body.copy_scale(nets[0])  # all were trained on the same rows
        own = [layer for layer in body.layers if isinstance(layer, nn.Linear)]
        with torch.no_grad():
            own[0].weight.copy_(torch.cat([layer.weight for layer in first]))
            own[1].weight.copy_(torch.block_diag(*[layer.weight for layer in last]))  # type: ignore[no-untyped-call]
            for mine, others in zip(own, (first, last), strict=True):
                mine.bias.copy_(torch.cat([layer.bias for layer in others]))
        return body.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Returns the representation (N, h) of features (N, d)."""
        h: Tensor = self.layers(self.standardise(x))
        return h

    def hidden(self, x: NDArray[Any], n_threads: int = 1) -> NDArray[np.float64]:
        """Returns the same in chunks, as an array."""
        with threads(n_threads), torch.inference_mode():
            parts = [self(torch.tensor(x[i : i + _CHUNK])) for i in range(0, len(x), _CHUNK)]
            return np.asarray(torch.cat(parts).numpy(), np.float64)

    @classmethod
    def restored(cls, arrays: dict[str, NDArray[Any]]) -> Self:
        """Returns the body that gave these arrays."""
        first, last = arrays["layers.0.weight"], arrays["layers.2.weight"]
        return load_weights(cls(first.shape[1], (len(first), len(last))), arrays)
