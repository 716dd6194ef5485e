"""Full-batch training: every step sees all rows, in chunks, exactly as if they were one batch.

Let s = (s_1, ..., s_N) be the scores and L(s) the loss. By the chain rule dL/dθ = Σ_i (dL/ds_i) (ds_i/dθ).

- If L is a sum over rows, each chunk's own loss is sent back, and the gradients add up: one pass.
- If it is not (a softmax over all rows, a ratio of sums), a first pass finds the scores without a gradient, dL/ds is
  taken on that table alone, and a second pass sends it back chunk by chunk.

Beyond the scores themselves, memory is that of one chunk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from largesse import _check
from largesse.models._train import Step

__all__ = ["Finish", "FullBatch", "Loss", "send_back", "train_full_batch"]

log = logging.getLogger(__name__)
Score = Callable[[slice], Tensor]


class Loss(Protocol):
    """A loss of scores.

    Attributes:
        additive: Whether the loss of all rows is the sum of the losses of any parts of them.
    """

    additive: bool

    def __call__(self, score: Tensor, part: slice) -> Tensor:
        """Returns the loss of the rows `part`, whose scores are given, (n, L)."""
        ...


@dataclass(frozen=True, slots=True)
class FullBatch:
    """How to minimise a loss over all rows at once.

    Attributes:
        optimiser: ``"lbfgs"`` (quasi-Newton; its line search meets the strong Wolfe conditions) or ``"adam"``.
        steps: The most steps. Adam takes all of them; L-BFGS stops when it is done.
        tolerance: L-BFGS stops when a step lowers the loss by less than this (relative to the larger of loss and 1).
        rate: Adam's learning rate, fixed.
        chunk: Rows in memory at once: changes speed, not results.

    Raises:
        DataError: A setting is out of its range.
    """

    optimiser: Literal["lbfgs", "adam"] = "lbfgs"
    steps: int = 300
    tolerance: float = 1e-7
    rate: float = 1e-3
    chunk: int = 8192

    def __post_init__(self) -> None:
        _check.choice("optimiser", self.optimiser, ("lbfgs", "adam"))
        for name in ("steps", "chunk"):
            _check.number(name, getattr(self, name), low=1, remedy="Give a whole number.")
        _check.number("tolerance", self.tolerance, low=0)
        _check.number("rate", self.rate, low=0)


class Finish(NamedTuple):
    """How a training ended.

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


def send_back(score: Score, loss: Loss, rows: int, chunk: int) -> float:
    """Adds the gradient of the loss of all rows to the parameters behind the scores, and returns the loss.

    Args:
        score: Scores (n, L) of a slice of rows, with their graph.
        loss: The loss.
        rows: Number of rows.
        chunk: Rows whose graph is held at once.
    """
    if not loss.additive and rows > chunk:
        return _in_two_passes(score, loss, rows, chunk)
    total = 0.0
    for part in _chunks(rows, chunk):
        value = loss(score(part), part)
        value.backward()  # type: ignore[no-untyped-call]
        total += float(value.detach())
    return total


def _in_two_passes(score: Score, loss: Loss, rows: int, chunk: int) -> float:
    with torch.no_grad():
        table = torch.cat([score(part) for part in _chunks(rows, chunk)])  # (N, L)
    value = loss(table.requires_grad_(), slice(0, rows))
    (outer,) = torch.autograd.grad(value, table)  # dL/ds
    for part in _chunks(rows, chunk):
        score(part).backward(outer[part])  # type: ignore[no-untyped-call]
    return float(value.detach())


def _chunks(rows: int, chunk: int) -> Iterator[slice]:
    return (slice(k, min(k + chunk, rows)) for k in range(0, rows, chunk))


def train_full_batch(
    net: nn.Module,
    score: Score,
    loss: Loss,
    rows: int,
    settings: FullBatch,
    penalty: float = 0.0,
    on_step: Step | None = None,
) -> Finish:
    """Minimises loss + penalty/2 Σ weight² over the parameters of a network, in place.

    Args:
        net: The network behind the scores. Parameters named ``...weight`` are penalised: levels are not, as they
            would pull every mean.
        score: Scores (n, L) of a slice of rows, with their graph.
        loss: The loss.
        rows: Number of rows.
        settings: Optimiser, steps, chunk.
        penalty: Strength of the L2 penalty, >= 0.
        on_step: Called as on_step(step, steps, loss) after each step.
    """
    shrunk = [p for name, p in net.named_parameters() if name.endswith("weight")]
    passes = 0

    def evaluate() -> float:
        nonlocal passes
        passes += 1
        net.zero_grad(set_to_none=False)
        value = send_back(score, loss, rows, settings.chunk)
        with torch.no_grad():
            for p in shrunk:
                value += penalty / 2 * float((p.double() ** 2).sum())
                p.grad = penalty * p if p.grad is None else p.grad.add_(p, alpha=penalty)
        return value

    net.train()
    minimiser = _lbfgs if settings.optimiser == "lbfgs" else _adam
    steps, value, done = minimiser(net, evaluate, settings, on_step)
    net.eval()
    log.debug("%s: %d steps, %d passes, loss %.6g", settings.optimiser, steps, passes, value)
    return Finish(steps, passes, value, done)


def _lbfgs(
    net: nn.Module, evaluate: Callable[[], float], settings: FullBatch, on_step: Step | None
) -> tuple[int, float, bool]:
    parameters = list(net.parameters())

    def at(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        _put(flat, parameters)
        value = evaluate()
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        return value, parameters_to_vector(grads).double().numpy()

    step = 0

    def tell(intermediate_result: Any) -> None:  # scipy goes by this name
        nonlocal step
        step += 1
        if on_step is not None:
            on_step(step, settings.steps, float(intermediate_result.fun))

    start = parameters_to_vector(parameters).detach().double().numpy()
    options = {
        "maxiter": int(settings.steps), "maxfun": 20 * int(settings.steps), "ftol": settings.tolerance, "gtol": 1e-9,
    }  # fmt: skip
    found = minimize(at, start, jac=True, method="L-BFGS-B", callback=tell, options=options)
    _put(found.x, parameters)
    return int(found.nit), float(found.fun), bool(found.success)


def _put(flat: NDArray[np.float64], parameters: list[nn.Parameter]) -> None:
    vector_to_parameters(torch.tensor(flat, dtype=parameters[0].dtype), parameters)


def _adam(
    net: nn.Module, evaluate: Callable[[], float], settings: FullBatch, on_step: Step | None
) -> tuple[int, float, bool]:
    optimiser = torch.optim.Adam(net.parameters(), lr=settings.rate)
    value = 0.0
    for step in range(int(settings.steps)):
        value = evaluate()
        optimiser.step()
        if on_step is not None:
            on_step(step + 1, settings.steps, value)
    return int(settings.steps), value, True
