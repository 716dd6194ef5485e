"""Full-batch training: every step uses all rows, in chunks, with exactly the gradient of one batch.

Let s = (s_1, ..., s_N) be the scores and L(s) the loss. By the chain rule dL/dθ = Σ_i (dL/ds_i) (ds_i/dθ).

- If L is a sum over rows, the gradients of the chunks' own losses add up: one pass.
- If it is not (a softmax over all rows, a ratio of sums), a first pass computes the scores without a graph, dL/ds is
  taken at these scores, and a second pass propagates it back chunk by chunk.

Beyond the scores themselves, memory is that of one chunk. With a `Checkpointer` a training killed at any step resumes to
the same weights, bit for bit.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from largesse import _check
from largesse._arguments import checked
from largesse.models.nets.adam import Adam
from largesse.models.nets.checkpoint import Arrays, Checkpointer
from largesse.models.nets.minibatch import packed, unpack

__all__ = ["Finish", "FullBatch", "Loss", "accumulate_gradient", "train_full_batch"]

log = logging.getLogger(__name__)
Score = Callable[[slice], Tensor]
Floats = NDArray[np.float64]
_CHUNK = 8192  # rows in memory at once
_COLUMNS = ("point", "loss", "gradient")  # of the evaluation log


class Loss(Protocol):
    """A loss of scores.

    Attributes:
        additive: Whether the loss of all rows is the sum of the losses of any parts of them.
    """

    additive: bool

    def __call__(self, score: Tensor, part: slice) -> Tensor:
        """Returns the loss of the rows `part`, whose scores are given, (n, L)."""


@checked
@dataclass(frozen=True, slots=True)
class FullBatch:
    """Optimiser of a loss over all rows at once.

    Attributes:
        optimiser: ``"lbfgs"`` (quasi-Newton; its line search meets the strong Wolfe conditions) or ``"adam"``.
        steps: Maximum number of steps. Adam takes all of them; L-BFGS stops at the tolerance.
        tolerance: L-BFGS stops when a step lowers the loss by less than this (relative to the larger of loss and 1).
        rate: Adam's learning rate, fixed.

    Raises:
        DataError: A setting is out of its range.
    """

    optimiser: Literal["lbfgs", "adam"] = "lbfgs"
    steps: int = 300
    tolerance: float = 1e-7
    rate: float = 1e-3

    def __post_init__(self) -> None:
        _check.choice("optimiser", self.optimiser, ("lbfgs", "adam"))
        _check.number("steps", self.steps, low=1, remedy="Give a whole number.")
        _check.number("tolerance", self.tolerance, low=0)
        _check.number("rate", self.rate, low=0)


class Finish(NamedTuple):
    """Result of a training.

    Attributes:
        steps: Steps taken.
        passes: Evaluations of the loss and its gradient over all rows.
        loss: The loss, its penalty included.
        done: Whether the tolerance was met (Adam: always, after its steps).
    """

    steps: int
    passes: int
    loss: float
    done: bool


def accumulate_gradient(score: Score, loss: Loss, rows: int, chunk: int) -> float:
    """Adds the gradient of the loss of all rows to the parameters behind the scores, and returns the loss.

    Args:
        score: Scores (n, L) of a slice of rows, with their graph.
        loss: The loss.
        rows: Number of rows.
        chunk: Rows whose graph is in memory at once.
    """
    parts = [slice(k, min(k + chunk, rows)) for k in range(0, rows, chunk)]
    if not loss.additive and rows > chunk:
        return _in_two_passes(score, loss, parts)
    total = 0.0
    for part in parts:
        value = loss(score(part), part)
        value.backward()  # type: ignore[no-untyped-call]
        total += float(value.detach())
    return total


def _in_two_passes(score: Score, loss: Loss, parts: list[slice]) -> float:
    with torch.no_grad():
        table = torch.cat([score(part) for part in parts])  # (N, L)
    value = loss(table.requires_grad_(), slice(0, len(table)))
    (outer,) = torch.autograd.grad(value, table)  # dL/ds
    for part in parts:
        score(part).backward(outer[part])  # type: ignore[no-untyped-call]
    return float(value.detach())


def train_full_batch(
    net: nn.Module,
    score: Score,
    loss: Loss,
    rows: int,
    settings: FullBatch,
    penalty: float = 0.0,
    checkpointer: Checkpointer | None = None,
) -> Finish:
    """Minimises loss + penalty/2 Σ weight² over the parameters of a network, in place.

    Args:
        net: The network behind the scores. Only parameters named ``...weight`` are penalised: a penalty on the others
            would bias the means.
        score: Scores (n, L) of a slice of rows, with their graph.
        loss: The loss.
        rows: Number of rows.
        settings: Optimiser and steps.
        penalty: Weight of the L2 penalty, >= 0.
        checkpointer: Saves the state on disk (for L-BFGS: the gradient of every pass); a saved state of a killed run is
            resumed.
    """
    penalised = [p for name, p in net.named_parameters() if name.endswith("weight")]

    def evaluate() -> float:
        net.zero_grad(set_to_none=False)
        value = accumulate_gradient(score, loss, rows, _CHUNK)
        with torch.no_grad():
            for p in penalised:
                value += penalty / 2 * float((p.double() ** 2).sum())
                p.grad = penalty * p if p.grad is None else p.grad.add_(p, alpha=penalty)
        return value

    net.train()
    descend = _lbfgs if settings.optimiser == "lbfgs" else _adam
    finish = descend(net, evaluate, settings, checkpointer)
    net.eval()
    log.debug("%s: %s", settings.optimiser, finish)
    return finish


def _lbfgs(
    net: nn.Module, evaluate: Callable[[], float], settings: FullBatch, checkpointer: Checkpointer | None
) -> Finish:
    parameters, evaluations = list(net.parameters()), _EvaluationLog(checkpointer)

    def at(flat: Floats) -> tuple[float, NDArray[Any]]:
        _put(flat, parameters)
        value = evaluate()
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        return value, parameters_to_vector(grads).numpy()

    start = parameters_to_vector(parameters).detach().double().numpy()
    options = {
        "maxiter": int(settings.steps), "maxfun": 20 * int(settings.steps), "ftol": settings.tolerance, "gtol": 1e-9,
    }  # fmt: skip
    result = minimize(
        lambda x: evaluations.at(x, at), start, jac=True, method="L-BFGS-B", callback=lambda _: evaluations.keep(),
        options=options,
    )  # fmt: skip
    evaluations.keep(now=True)
    _put(result.x, parameters)
    return Finish(int(result.nit), evaluations.count, float(result.fun), bool(result.success))


class _EvaluationLog:
    """Evaluation log of L-BFGS: point, loss and gradient of every pass. Replaying it restores the optimiser's state.

    A resumed training starts L-BFGS again and reads the logged losses and gradients instead of passing over the rows. If
    a point differs from the logged one (other libraries, another processor), the rest of the log is discarded.
    """

    def __init__(self, checkpointer: Checkpointer | None) -> None:
        self.checkpointer = checkpointer
        saved = None if checkpointer is None else checkpointer.latest()
        columns = [] if saved is None else [saved[name] for name in _COLUMNS]
        self.entries: list[tuple[Any, ...]] = list(zip(*columns, strict=True))
        self.count, self.replayable = 0, len(self.entries)

    def at(self, flat: Floats, evaluate: Callable[[Floats], tuple[float, NDArray[Any]]]) -> tuple[float, Floats]:
        """Returns loss and gradient at some weights: from the log, or by `evaluate`."""
        point = np.frombuffer(hashlib.blake2b(flat.tobytes(), digest_size=16).digest(), np.uint8)
        if self.count < self.replayable and not np.array_equal(point, self.entries[self.count][0]):
            del self.entries[self.count :]
            self.replayable = self.count
        logged = self.count < self.replayable
        entry = self.entries[self.count] if logged else (point, *evaluate(flat))
        if not logged and self.checkpointer is not None:
            self.entries.append(entry)
        self.count += 1
        return float(entry[1]), entry[2].astype(np.float64)

    def keep(self, *, now: bool = False) -> None:
        """Passes the log to the checkpointer if the last evaluation was not replayed."""
        if self.checkpointer is not None and self.count > self.replayable:
            self.checkpointer.keep(self._state, now=now)

    def _state(self) -> Arrays:
        return {name: np.stack(column) for name, column in zip(_COLUMNS, zip(*self.entries, strict=True), strict=True)}


def _put(flat: Floats, parameters: list[nn.Parameter]) -> None:
    vector_to_parameters(torch.tensor(flat, dtype=parameters[0].dtype), parameters)


def _adam(
    net: nn.Module, evaluate: Callable[[], float], settings: FullBatch, checkpointer: Checkpointer | None
) -> Finish:
    optimiser = Adam(net.parameters(), lr=settings.rate)
    step, steps, value = 0, int(settings.steps), 0.0
    saved = None if checkpointer is None else checkpointer.latest()
    if saved is not None:
        unpack(saved, net, optimiser)
        step, value = int(saved["step"]), float(saved["loss"])

    def state() -> Arrays:
        return packed(net, optimiser) | {"step": np.array(step), "loss": np.array(value)}

    while step < steps:
        value = evaluate()
        optimiser.step()
        step += 1
        if checkpointer is not None:
            checkpointer.keep(state, now=step == steps)
    return Finish(steps, steps, value, True)
