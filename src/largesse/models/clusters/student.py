"""One classifier in place of an HRC's representation and clusters, to be served online."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import nn

from largesse import _check
from largesse._random import child, number
from largesse.allocate.cluster_plan import ClusterCells
from largesse.errors import NotFittedError
from largesse.logs import Logs
from largesse.models.base import Model, State
from largesse.models.clusters.classifier import (
    Classifier,
    ClassNet,
    ClassTrees,
    learned_net,
    learned_trees,
    log_loss,
    temperature,
)
from largesse.models.clusters.hrc import HRC, answer_of
from largesse.models.nets.minibatch import Schedule
from largesse.models.outcome import Outcome, Response
from largesse.store import nest, unnest

__all__ = ["Fidelity", "Form", "Student"]

Form = Literal["folded", "mlp", "lightgbm"]
LEARNING = Schedule(epochs=10, batch=1024, rate=3e-3, decay=0.01, average=0.25, least=1000)
_VALIDATION = 0.1  # share of the rows that set the temperature
_BINS = 15
_LEAST = 20


class Fidelity(NamedTuple):
    """How well a student reproduces its teacher, on rows that it was not trained on.

    Attributes:
        agreement: Share of rows in the teacher's cluster.
        log_loss: Mean of -log P(the teacher's cluster).
        ece: Expected calibration error: mean distance of the probability of the student's class from its accuracy.
        raw_log_loss: `log_loss` without the temperature.
        raw_ece: `ece` without the temperature.
    """

    agreement: float
    log_loss: float
    ece: float
    raw_log_loss: float
    raw_ece: float


@dataclass(kw_only=True, eq=False, repr=False)
class Student(Model):
    """A classifier of features in place of an `HRC`: each class is a cluster, with the cluster's response.

    It is trained on the teacher's soft labels, softmax(-d² / (softness · gap)): d² are the squared distances of a row to the
    clusters, gap is the median difference between the second nearest and the nearest cluster. No outcomes are used.

    Args:
        base: The teacher; a clone of it is fitted by `fit`. None: an `HRC` with its defaults.
        form: ``"folded"``: the teacher's layers, with its distances as one more linear layer: exact, without training.
            ``"mlp"``: a network of its own. ``"lightgbm"``: boosted trees.
        hidden: Widths of ``"mlp"``.
        schedule: Epochs, batch and rate of ``"mlp"``.
        rounds: Trees per class of ``"lightgbm"``.
        params: Changes to LightGBM's parameters.
        softness: Softness of the labels, in units of the gap, > 0.
        rows: Maximum number of training rows, sampled at random.
        outcome: Family and cost rule; None: the base's, or inferred from the rows.
        seed: Seed of the sample, the first weights and the row order.
        n_threads: Threads.

    Attributes:
        base_: The teacher.
        classifier_: The classifier.
        temperature_: Divisor of the scores for calibrated probabilities, fitted on a tenth of the rows that training does not
            use; 1 for ``"folded"``, whose classes are the teacher's.

    Reference:
        Hinton, Vinyals and Dean 2015, Distilling the knowledge in a neural network. That HRC distils network and clusters into
        one classifier is from its abstract; the forms are this library's.

    >>> rng = np.random.default_rng(0)
    >>> x, t = rng.normal(size=(1200, 2)), rng.integers(0, 2, 1200)
    >>> order = (rng.random(1200) < 0.2 + 0.4 * t * (x[:, 0] > 0)).astype(float)
    >>> teacher = HRC(sizes=(4,)).fit(Logs(x=x, treatment=t, value=order, cost=2.0 * t * order))
    >>> student = Student(form="folded").distil(teacher, x)
    >>> student.fidelity(x).agreement > 0.99
    True
    """

    base: HRC | None = field(default=None, kw_only=False)
    form: Form = "folded"
    hidden: tuple[int, ...] = (64, 32)
    schedule: Schedule = LEARNING
    rounds: int = 10
    params: dict[str, Any] | None = None
    softness: float = 0.5
    rows: int = 200_000
    outcome: Outcome | None = None
    seed: int = 0
    n_threads: int = 1

    def _learn(self, rct: Logs, obs: Logs | None, validation: Logs | None) -> None:
        self._check()
        base = self.configured(HRC(seed=self.seed) if self.base is None else self.base)
        self.base_: HRC = base.fit(rct, obs, validation=validation)
        self.outcome_ = self.base_.outcome_
        rows = rct if obs is None else rct | obs
        self._label(rows.x, rows.groups)

    def distil(self, teacher: HRC, x: NDArray[Any], *, groups: NDArray[np.int64] | None = None) -> Self:
        """Fits the student to the clusters of a fitted teacher, from features alone; returns self.

        Args:
            teacher: The fitted HRC; it is not changed.
            x: Encoded features of any units, (N, d), finite.
            groups: Code of the unit of each row, (N,), where units have several rows, as in `Logs.groups`: the rows of a unit
                then stay together, in training or in fitting the temperature.

        Raises:
            NotFittedError: The teacher is not fitted.
            DataError: A parameter or the features break a rule.
        """
        self._check()
        if not isinstance(teacher, HRC):
            raise _check.refuse("teacher", type(teacher).__name__, "only clusters can be distilled", "Give an HRC.")
        if not hasattr(teacher, "groups_"):
            raise NotFittedError("teacher: not fitted. Call its fit(rct, obs) first.")
        self.base_, self.outcome_ = teacher, teacher.outcome_
        self.treatments_, self.features_ = teacher.treatments_, teacher.features_
        self._label(self.readable(x), groups)
        return self

    def _check(self) -> None:
        _check.choice("form", self.form, ("folded", "mlp", "lightgbm"))
        _check.number("softness", self.softness, low=1e-6, high=1e6, remedy="0.5 is half a typical gap.")
        _check.number("rows", self.rows, low=_LEAST, remedy="Give more training rows.")
        _check.integers("rounds", [self.rounds], low=1, high=10**6, rule="must be >= 1", remedy="Give trees.")
        rule, remedy = "must be widths >= 1", "Give e.g. (64, 32)."
        _check.integers("hidden", self.hidden, low=1, high=10**6, rule=rule, remedy=remedy)

    def _label(self, x: NDArray[np.float32], groups: NDArray[np.int64] | None = None) -> None:
        """Fits the classifier to the teacher's labels of most rows, and the temperature to the others."""
        order = child(self.seed, 0).permutation(len(x))[: int(self.rows)]
        distance = self.base_.distances(x[order])
        gap = _gap(distance) * self.softness
        if self.form == "folded":
            self.classifier_: Classifier = _folded(self.base_, gap)
            self.temperature_ = 1.0
            return
        if len(order) < _LEAST:
            raise _check.refuse(
                "len(x)", len(order), f"must be >= {_LEAST} units to train on", "Use form='folded', or give more units."
            )
        of = np.arange(len(order)) if groups is None else groups[order]
        units = of[np.sort(np.unique(of, return_index=True)[1])]  # in random order
        validation = np.isin(of, units[: max(1, int(_VALIDATION * len(units)))])
        if validation.all():
            rule = "the rows that set the temperature must be of other units"
            raise _check.refuse("groups", "one unit", rule, "Give rows of more units, or form='folded'.")
        train_x, target = x[order[~validation]], softmax(-distance[~validation] / gap, axis=1).astype(np.float32)
        self.classifier_ = self._learned(train_x, target)
        self.temperature_ = temperature(
            self.classifier_.scores(x[order[validation]], self.n_threads), distance[validation].argmin(1)
        )

    def _learned(self, x: NDArray[np.float32], target: NDArray[np.float32]) -> Classifier:
        seed = number(self.seed, 1) % 2**31
        if self.form == "mlp":
            return learned_net(x, target, tuple(self.hidden), self.schedule, seed, self.n_threads)
        return learned_trees(x, target, self.rounds, self.params or {}, seed, self.n_threads)

    def _predict_response(self, x: NDArray[np.float32]) -> Response:
        return answer_of(self.base_.groups_, self._classes(x), self.outcome_)

    def _classes(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        return self.classifier_.scores(x, self.n_threads).argmax(1)

    def clusters(self, x: NDArray[Any]) -> NDArray[np.int64]:
        """Returns the class of each row of features, (N,): a cluster of the teacher.

        Args:
            x: Encoded features, (N, d), finite.
        """
        return self._classes(self.readable(x))

    def probabilities(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Returns the probability of each of the teacher's clusters for each row, (N, K), rows summing to 1.

        Args:
            x: Encoded features, (N, d), finite.
        """
        return softmax(self._scores(x) / self.temperature_, axis=1)

    def cells(self, x: NDArray[Any]) -> ClusterCells:
        """Returns the teacher's cells with the units of each class, for `largesse.allocate.plan_clusters`.

        Args:
            x: Encoded features of the units that are to be treated, (N, d).
        """
        of = self.clusters(x)
        return self.base_.cells_of(np.bincount(of, minlength=self.base_.n_clusters))

    def fidelity(self, x: NDArray[Any]) -> Fidelity:
        """Returns how well the classes reproduce the teacher's clusters on these rows.

        Args:
            x: Encoded features of units that the student was not trained on, (N, d).
        """
        scores, label = self._scores(x), self.base_.clusters(x)
        heats = (self.temperature_, 1.0)
        losses = [log_loss(scores, label, heat) for heat in heats]
        errors = [_calibration_error(softmax(scores / heat, axis=1), label) for heat in heats]
        agreement = float((scores.argmax(1) == label).mean())
        return Fidelity(agreement, losses[0], errors[0], losses[1], errors[1])

    def _scores(self, x: NDArray[Any]) -> NDArray[np.float64]:
        return self.classifier_.scores(self.readable(x), self.n_threads).astype(np.float64)

    def _state(self) -> State:
        """Returns the teacher's state and the classifier's."""
        teacher, kept = self.base_.state()
        settings, arrays = self.classifier_.state()
        mine = {"settings": teacher, "classifier": settings, "temperature": self.temperature_}
        return mine, nest(base=kept, classifier=arrays)

    def _restore(self, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Takes over a saved state."""
        self.base_ = self.restored_base(HRC(), settings, arrays)
        kind = ClassTrees if self.form == "lightgbm" else ClassNet
        self.classifier_ = kind.restored(settings["classifier"], unnest("classifier", arrays))
        self.temperature_ = settings["temperature"]


def _gap(distance: NDArray[np.float64]) -> float:
    """Returns the median difference between the second nearest and the nearest cluster; 1 with a single cluster."""
    if distance.shape[1] == 1:
        return 1.0
    two = np.partition(distance, 1, axis=1)
    return float(np.median(two[:, 1] - two[:, 0])) or 1.0


def _folded(teacher: HRC, gap: float) -> ClassNet:
    """Returns the teacher as one network: its two layers, and a linear layer that scores its centres.

    -|z - c|² = 2 z·c - |c|² - |z|²,  z = (h - centre) turn: linear in h but for |z|², which is the same for all centres.
    """
    g, net = teacher.groups_, teacher.body_
    layers = [layer for layer in net.layers if isinstance(layer, nn.Linear)]
    counts = np.bincount(g.into)
    members = np.stack([np.resize(np.flatnonzero(g.into == k), counts.max()) for k in range(len(counts))])
    copy = ClassNet(len(teacher.features_), tuple(layer.out_features for layer in layers), members)
    copy.copy_scale(net)
    weight = 2 * g.centres @ g.view.turn.T / gap
    bias = -((g.centres**2).sum(1) / gap + weight @ g.view.centre)
    with torch.no_grad():
        for mine, layer in zip((copy.body[0], copy.body[2]), layers, strict=True):
            mine.load_state_dict(layer.state_dict())
        copy.linear.weight.copy_(torch.from_numpy(weight))
        copy.linear.bias.copy_(torch.from_numpy(bias))
    return copy.eval()


def _calibration_error(p: NDArray[np.float64], label: NDArray[np.int64]) -> float:
    """Returns Σ_bins share · |mean confidence - accuracy|, over equal bins of the confidence (Guo et al. 2017)."""
    confidence, right = p.max(1), p.argmax(1) == label
    cell = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    gap = np.bincount(cell, confidence - right, minlength=_BINS)
    return float(np.abs(gap).sum() / len(label))
