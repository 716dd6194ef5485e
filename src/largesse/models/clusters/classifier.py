"""Classifiers of K classes on encoded features, trained on soft labels: a small network, or boosted trees."""

from __future__ import annotations

import itertools
from typing import Any, Protocol

import lightgbm as lgb
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from torch import Tensor, nn

from largesse import _check
from largesse._forest import Forest
from largesse._lightgbm_trees import BoosterTrees
from largesse.models.base import State
from largesse.models.boosters import booster_of
from largesse.models.nets.minibatch import Schedule, threads, train, weights_from
from largesse.models.nets.standardise import Standardised
from largesse.models.nets.weights import load_weights, weights_of

__all__ = ["ClassNet", "ClassTrees", "Classifier", "learned_net", "learned_trees", "log_loss", "temperature"]

Floats = NDArray[np.float32]
_CHUNK = 4096
_BITS = 22  # of the 24 of a single-precision number: sums of leaves stay exact
_PARAMS: dict[str, Any] = {
    "learning_rate": 0.5, "num_leaves": 8, "min_data_in_leaf": 100, "lambda_l2": 1.0, "max_bin": 63,
}  # fmt: skip
_LOG_TEMPERATURE = (-4.0, 4.0)


class Classifier(Protocol):
    """A classifier; the class of a row is the first with the highest score."""

    def scores(self, x: Floats, n_threads: int) -> Floats:
        """Returns the score of every class, (N, K); their softmax is the probability, before any temperature."""
        ...

    def state(self) -> State:
        """Returns the fitted state as settings and arrays."""
        ...


class ClassNet(Standardised):
    """Scores every class: ReLU layers, one linear score per centre, and the maximum over the centres of a class.

    Args:
        features: Number of features d.
        hidden: Widths of the ReLU layers.
        members: Centres of each class, (K, m); a class with fewer than m repeats some.
    """

    members: Tensor

    def __init__(self, features: int, hidden: tuple[int, ...], members: NDArray[np.int64]) -> None:
        super().__init__(features)
        widths = (features, *hidden)
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(widths):
            layers += [nn.Linear(a, b), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.linear = nn.Linear(widths[-1], int(members.max()) + 1)
        self.register_buffer("members", torch.from_numpy(members))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the score of every class, (N, K)."""
        centres: Tensor = self.linear(self.body(self.standardise(x)))
        return centres[:, self.members].amax(2)

    def scores(self, x: Floats, n_threads: int) -> Floats:
        """Returns the score of every class, (N, K)."""
        with threads(n_threads), torch.inference_mode():
            parts = [self(torch.tensor(x[i : i + _CHUNK])) for i in range(0, len(x), _CHUNK)]
            return np.asarray(torch.cat(parts).numpy(), np.float32)

    def state(self) -> State:
        """Returns the widths and the weights."""
        hidden = [layer.out_features for layer in self.body if isinstance(layer, nn.Linear)]
        return {"hidden": hidden}, weights_of(self)

    @classmethod
    def restored(cls, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> ClassNet:
        """Returns the network of a saved state."""
        return load_weights(cls(len(arrays["centre"]), tuple(settings["hidden"]), arrays["members"]), arrays)


def learned_net(
    x: Floats, target: Floats, hidden: tuple[int, ...], schedule: Schedule, seed: int, n_threads: int
) -> ClassNet:
    """Returns a network trained to the target probabilities by cross-entropy.

    Args:
        x: Features, (N, d).
        target: Probability of every class, (N, K), rows summing to 1.
        hidden: Widths of the ReLU layers.
        schedule: Epochs, batch and rate.
        seed: Seed of the first weights and of the row order.
        n_threads: Threads of the matrix products.
    """
    with weights_from(seed):
        net = ClassNet(x.shape[1], hidden, np.arange(target.shape[1])[:, None])
    rows, labels = torch.tensor(x), torch.tensor(target)
    net.fit_scale(rows)
    with threads(n_threads):
        train(net, lambda i: nn.functional.cross_entropy(net(rows[i]), labels[i]), len(x), schedule, seed)
    return net


class ClassTrees:
    """Boosted trees, one per class and round, added to a start.

    Leaves are rounded to multiples of one power of two, so that their sums are exact in single precision: every runtime
    gets the same class, whatever the order of addition.

    Args:
        booster: The trees; tree i belongs to class i modulo K.
        start: Score of every class before any tree, (K,).
    """

    def __init__(self, booster: lgb.Booster, start: NDArray[np.float64]) -> None:
        self.booster, self.start, self.forest = booster, start, Forest(booster)

    def scores(self, x: Floats, n_threads: int) -> Floats:
        """Returns the score of every class, (N, K)."""
        return np.asarray(self.forest.raw(x, n_threads) + self.start, np.float32)

    def state(self) -> State:
        """Returns the trees in LightGBM's own text form, and the start."""
        return {"trees": self.booster.model_to_string()}, {"start": self.start}

    @classmethod
    def restored(cls, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> ClassTrees:
        """Returns the trees of a saved state."""
        return cls(booster_of(settings["trees"]), arrays["start"])


def learned_trees(
    x: Floats, target: Floats, rounds: int, params: dict[str, Any], seed: int, n_threads: int
) -> ClassTrees:
    """Returns trees trained to the target probabilities by boosting on the gradient of the cross-entropy.

    Args:
        x: Features, (N, d).
        target: Probability of every class, (N, K), rows summing to 1.
        rounds: Trees per class.
        params: Changes to LightGBM's parameters.
        seed: Seed of the feature sampling.
        n_threads: LightGBM's threads.
    """
    k = target.shape[1]
    start = np.log(np.maximum(target.mean(0, dtype=np.float64), 1e-6))

    def slope(score: NDArray[np.float64], _: lgb.Dataset) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        p = softmax(score.reshape(len(x), k), axis=1)
        return (p - target).reshape(score.shape), (2 * p * (1 - p)).reshape(score.shape)

    rows = max(5, min(_PARAMS["min_data_in_leaf"], len(x) // 20))
    how = {**_PARAMS, "min_data_in_leaf": rows, "seed": seed, "num_threads": _check.threads(n_threads), **params}
    how |= {"objective": slope, "num_class": k, "verbosity": -1, "deterministic": True}
    data = lgb.Dataset(x, init_score=np.tile(start, (len(x), 1)) if k > 1 else np.zeros(len(x)), params=how)
    return _exact(lgb.train(how, data, rounds), start)


def _exact(booster: lgb.Booster, start: NDArray[np.float64]) -> ClassTrees:
    """Returns the trees with leaves and start rounded to one grid, much finer than the differences between leaves."""
    trees = BoosterTrees(booster)
    value = np.split(trees.leaf, np.cumsum(trees.leaves)[:-1])
    largest = np.reshape([np.abs(v).max() for v in value], (-1, len(start))).sum(0)
    most = np.abs(start) + largest  # of any partial sum, (K,)
    grid = 2.0 ** (np.ceil(np.log2(most.max() + 1e-9)) - _BITS)
    for i, tree in enumerate(value):
        for leaf, v in enumerate(tree):
            booster.set_leaf_output(i, leaf, float(np.round(v / grid) * grid))
    return ClassTrees(lgb.Booster(model_str=booster.model_to_string()), np.round(start / grid) * grid)


def log_loss(scores: NDArray[Any], label: NDArray[np.int64], heat: float) -> float:
    """Returns the mean of -log P(label), P the softmax of the scores over a temperature."""
    logs = log_softmax(scores.astype(np.float64) / heat, axis=1)
    return float(-logs[np.arange(len(label)), label].mean())


def temperature(scores: NDArray[Any], label: NDArray[np.int64]) -> float:
    """Returns the temperature at which the softmax of the scores has the least log loss on validation rows.

    Reference:
        Guo et al., ICML 2017, On calibration of modern neural networks.
    """
    optimum = minimize_scalar(
        lambda log: log_loss(scores, label, np.exp(log)), bounds=_LOG_TEMPERATURE, method="bounded"
    )
    return float(np.exp(optimum.x))
