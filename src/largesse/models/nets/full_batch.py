"""Full-batch training: every step sees all rows, in chunks, exactly as if they were one batch.

Let s = (s_1, ..., s_N) be the scores and L(s) the loss. By the chain rule dL/dθ = Σ_i (dL/ds_i) (ds_i/dθ).

- If L is a sum over rows, each chunk's own loss is sent back, and the gradients add up: one pass.
- If it is not (a softmax over all rows, a ratio of sums), a first pass finds the scores without a gradient, dL/ds is
  taken on that table alone, and a second pass sends it back chunk by chunk.

Beyond the scores themselves, memory is that of one chunk.

With a `Checkpointer` a training can be killed at any step and goes on to the same weights, bit for bit.
"""

from __future__ import annotations

import hashlib
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
from largesse.models.nets.checkpoint import Arrays, Checkpointer
from largesse.models.nets.minibatch import Step, packed, unpack

__all__ = ["Finish", "FullBatch", "Loss", "send_back", "train_full_batch"]

log = logging.getLogger(__name__)
Score = Callable[[slice], Tensor]
Floats = NDArray[np.float64]
_COLUMNS = ("point", "loss", "gradient")  # of a tape


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
    checkpointer: Checkpointer | None = None,
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
        checkpointer: Keeps the state on disk, and gives back that of a killed run. L-BFGS keeps the gradient of every pass.
    """
    shrunk = [p for name, p in net.named_parameters() if name.endswith("weight")]

    def evaluate() -> float:
        net.zero_grad(set_to_none=False)
        value = send_back(score, loss, rows, settings.chunk)
        with torch.no_grad():
            for p in shrunk:
                value += penalty / 2 * float((p.double() ** 2).sum())
                p.grad = penalty * p if p.grad is None else p.grad.add_(p, alpha=penalty)
        return value

    net.train()
    descend = _lbfgs if settings.optimiser == "lbfgs" else _adam
    finish = descend(net, evaluate, settings, on_step, checkpointer)
    net.eval()
    log.debug("%s: %s", settings.optimiser, finish)
    return finish


def _lbfgs(
    net: nn.Module,
    evaluate: Callable[[], float],
    settings: FullBatch,
    on_step: Step | None,
    checkpointer: Checkpointer | None,
) -> Finish:
    parameters, tape, step = list(net.parameters()), _Tape(checkpointer), 0

    def at(flat: Floats) -> tuple[float, NDArray[Any]]:
        _put(flat, parameters)
        value = evaluate()
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        return value, parameters_to_vector(grads).numpy()

    def tell(intermediate_result: Any) -> None:  # scipy goes by this name
        nonlocal step
        step += 1
        if on_step is not None and tape.fresh:
            on_step(step, settings.steps, float(intermediate_result.fun))
        tape.keep()

    start = parameters_to_vector(parameters).detach().double().numpy()
    options = {
        "maxiter": int(settings.steps), "maxfun": 20 * int(settings.steps), "ftol": settings.tolerance, "gtol": 1e-9,
    }  # fmt: skip
    found = minimize(lambda x: tape.answer(x, at), start, jac=True, method="L-BFGS-B", callback=tell, options=options)
    tape.keep(now=True)
    _put(found.x, parameters)
    return Finish(int(found.nit), tape.asked, float(found.fun), bool(found.success))


class _Tape:
    """What L-BFGS asked, and the loss and gradient that it was told: where it goes depends on nothing else.

    Played to an L-BFGS that starts anew, it leads to where the last one was killed, without a pass over the rows. If it
    asks otherwise (other libraries, another processor), the rest of the tape is dropped, and passes are made again.
    """

    def __init__(self, checkpointer: Checkpointer | None) -> None:
        self.checkpointer = checkpointer
        found = None if checkpointer is None else checkpointer.found()
        columns = [] if found is None else [found[name] for name in _COLUMNS]
        self.told: list[tuple[Any, ...]] = list(zip(*columns, strict=True))
        self.asked, self.known = 0, len(self.told)

    @property
    def fresh(self) -> bool:
        """Whether the last answer was not known before."""
        return self.asked > self.known

    def answer(self, flat: Floats, at: Callable[[Floats], tuple[float, NDArray[Any]]]) -> tuple[float, Floats]:
        """Returns loss and gradient at some weights: those of the tape, or what `at` says."""
        point = np.frombuffer(hashlib.blake2b(flat.tobytes(), digest_size=16).digest(), np.uint8)
        if self.asked < self.known and not np.array_equal(point, self.told[self.asked][0]):
            del self.told[self.asked :]
            self.known = self.asked
        told = self.told[self.asked] if self.asked < self.known else (point, *at(flat))
        if self.asked >= self.known and self.checkpointer is not None:
            self.told.append(told)
        self.asked += 1
        return float(told[1]), told[2].astype(np.float64)

    def keep(self, *, now: bool = False) -> None:
        """Writes the tape if it is time to and there is anything new on it."""
        if self.checkpointer is not None and self.fresh:
            self.checkpointer.keep(self._state, now=now)

    def _state(self) -> Arrays:
        return {name: np.stack(column) for name, column in zip(_COLUMNS, zip(*self.told, strict=True), strict=True)}


def _put(flat: Floats, parameters: list[nn.Parameter]) -> None:
    vector_to_parameters(torch.tensor(flat, dtype=parameters[0].dtype), parameters)


def _adam(
    net: nn.Module,
    evaluate: Callable[[], float],
    settings: FullBatch,
    on_step: Step | None,
    checkpointer: Checkpointer | None,
) -> Finish:
    optimiser = torch.optim.Adam(net.parameters(), lr=settings.rate)
    step, steps, value = 0, int(settings.steps), 0.0
    found = None if checkpointer is None else checkpointer.found()
    if found is not None:
        unpack(found, net, optimiser)
        step, value = int(found["step"]), float(found["loss"])

    def state() -> Arrays:
        return packed(net, optimiser) | {"step": np.array(step), "loss": np.array(value)}

    while step < steps:
        value = evaluate()
        optimiser.step()
        step += 1
        if on_step is not None:
            on_step(step, steps, value)
        if checkpointer is not None:
            checkpointer.keep(state, now=step == steps)
    return Finish(steps, steps, value, True)
