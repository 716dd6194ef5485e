"""Mini-batch training of every network except decision factors: AdamW, averaging of the last weights, explicit seeds.

Two-stage networks start from random weights, decision losses from a fitted network: the loop is the same. With a
`Checkpointer` a training killed at any step resumes to the same weights, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from largesse import _check
from largesse._arguments import checked
from largesse.models.nets.adam import AdamW
from largesse.models.nets.checkpoint import Arrays, Checkpointer
from largesse.store import nest, unnest

__all__ = ["Schedule", "StatefulLoss", "Step", "packed", "threads", "train", "unpack", "weights_from"]

Step = Callable[[int, int, float], None]


@checked
@dataclass(frozen=True, slots=True)
class Schedule:
    """Length and learning rate of a training.

    Attributes:
        epochs: Passes over the rows.
        batch: Rows per step.
        rate: Largest learning rate; it falls to a hundredth of itself along a half cosine.
        decay: Decoupled weight decay: each step shrinks the matrices by rate * decay.
        average: Share of the last steps whose weights are averaged (selecting the best of noisy checkpoints does worse).
        least: Minimum number of steps: small data get more epochs.
    """

    epochs: int = 5
    batch: int = 1024
    rate: float = 3e-3
    decay: float = 0.1
    average: float = 0.25
    least: int = 400

    def __post_init__(self) -> None:
        for name, low, high in (("epochs", 1, 1e9), ("batch", 1, 1e9), ("least", 1, 1e9), ("rate", 1e-12, 1e3),
                                ("decay", 0, 1e6), ("average", 0, 1)):  # fmt: skip
            _check.number(f"schedule.{name}", getattr(self, name), low=low, high=high)

    def steps(self, rows: int) -> tuple[int, int, int]:
        """Returns rows per batch, steps per epoch and total steps for a number of training rows."""
        batch = min(self.batch, max(64, rows // 8))
        per_epoch = max(1, rows // batch)
        return batch, per_epoch, max(self.epochs * per_epoch, self.least)

    def passes(self, rows: int) -> int:
        """Returns the epochs trained on a number of rows, `least` included."""
        _, per_epoch, steps = self.steps(rows)
        return math.ceil(steps / per_epoch)


class StatefulLoss(Protocol):
    """A loss with state that changes from batch to batch, to be checkpointed with the network."""

    def state(self) -> Arrays:
        """Returns the state."""

    def restore(self, arrays: Arrays) -> None:
        """Sets the state to one returned by `state`."""


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Sets torch to n threads inside, to one per core at most, and restores the former number."""
    before = torch.get_num_threads()
    torch.set_num_threads(_check.threads(n))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def weights_from(seed: int) -> Iterator[None]:
    """Seeds the initial weights of networks built inside; the state of torch's global generator is restored."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def train(
    net: nn.Module,
    loss: Callable[[Tensor], Tensor],
    rows: int,
    schedule: Schedule,
    seed: int,
    on_step: Step | None = None,
    checkpointer: Checkpointer | None = None,
    memory: StatefulLoss | None = None,
) -> None:
    """Minimises `loss(row indices of a batch)` in place; the network ends with the average of its last weights.

    Args:
        net: The network to train, with its initial weights.
        loss: Mean loss of the rows with the given indices.
        rows: Number of training rows.
        schedule: Length and learning rate.
        seed: Seeds the order of the rows and dropout.
        on_step: Called as on_step(step, steps, loss) after each step.
        checkpointer: Saves the state on disk; a saved state of a killed run is resumed.
        memory: State of the loss that changes from batch to batch, saved too.
    """
    loop = _Loop(net, rows, schedule, seed, memory)
    saved = None if checkpointer is None else checkpointer.latest()
    if saved is not None:
        loop.restore(saved)
    net.train()
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(loop.noise)
        while loop.step < loop.steps:
            value = loop.advance(loss)
            if on_step is not None:
                on_step(loop.step, loop.steps, value)
            if checkpointer is not None:
                checkpointer.keep(loop.state, now=loop.step == loop.steps)
    net.load_state_dict(loop.mean.module.state_dict())
    net.eval()


class _Loop:
    """The state of a training between two steps."""

    def __init__(self, net: nn.Module, rows: int, schedule: Schedule, seed: int, memory: StatefulLoss | None) -> None:
        self.net, self.rows, self.memory = net, rows, memory
        self.batch, self.per_epoch, self.steps = schedule.steps(rows)
        self.start = min(int(self.steps * (1 - schedule.average)), self.steps - 1)
        matrices = [p for name, p in net.named_parameters() if name.endswith("weight")]
        levels = [p for name, p in net.named_parameters() if not name.endswith("weight")]  # decay would bias the means
        groups = [{"params": matrices, "weight_decay": schedule.decay}, {"params": levels, "weight_decay": 0.0}]
        self.optimiser = AdamW(groups, lr=schedule.rate, fused=True)
        self.rate = schedule.rate
        self.mean = torch.optim.swa_utils.AveragedModel(net)
        self.step = 0
        self.generator = torch.Generator().manual_seed(seed)
        self.before = self.generator.get_state()  # at the start of the epoch
        self.noise = torch.Generator().manual_seed(seed).get_state()  # of dropout
        self.order = torch.empty(0, dtype=torch.int64)

    def advance(self, loss: Callable[[Tensor], Tensor]) -> float:
        """Takes one step; returns the loss before it."""
        at = self.step % self.per_epoch
        if at == 0 or not len(self.order):
            self.before = self.generator.get_state()
            self.order = torch.randperm(self.rows, generator=self.generator)
        value = loss(self.order[at * self.batch : (at + 1) * self.batch])
        self.optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.net.parameters(), 10.0)
        # rate (1 + cos(π step / steps)) / 2, down to a hundredth
        rate = self.rate * (0.01 + 0.99 * (1 + math.cos(math.pi * self.step / self.steps)) / 2)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        if self.step >= self.start:
            self.mean.update_parameters(self.net)
        self.step += 1
        return float(value.detach())

    def state(self) -> Arrays:
        """Returns everything needed to resume."""
        own = {"step": torch.tensor(self.step), "before": self.before, "noise": torch.get_rng_state()}
        parts = {"mean": _arrays(self.mean.state_dict())} | ({"memory": self.memory.state()} if self.memory else {})
        return packed(self.net, self.optimiser) | _arrays(own) | nest(**parts)

    def restore(self, arrays: Arrays) -> None:
        """Sets the training to a state returned by `state`."""
        unpack(arrays, self.net, self.optimiser)
        self.mean.load_state_dict(_tensors(unnest("mean", arrays)))
        self.step = int(arrays["step"])
        self.before, self.noise = (torch.from_numpy(arrays[name]) for name in ("before", "noise"))
        self.generator.set_state(self.before)
        if self.step:  # the row order of the epoch in which the state was saved, or which had just ended
            self.order = torch.randperm(self.rows, generator=self.generator)
        if self.memory is not None:
            self.memory.restore(unnest("memory", arrays))


def packed(net: nn.Module, optimiser: torch.optim.Optimizer) -> Arrays:
    """Returns copies of a network's weights and of Adam's moments."""
    moments = {f"adam.{k}": _arrays(one) for k, one in optimiser.state_dict()["state"].items()}
    return nest(net=_arrays(net.state_dict()), **moments)


def unpack(arrays: Arrays, net: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Loads arrays returned by `packed` into a network and its optimiser."""
    net.load_state_dict(_tensors(unnest("net", arrays)))
    adam = optimiser.state_dict()
    for name, tensor in _tensors(unnest("adam", arrays)).items():
        k, _, moment = name.partition(".")
        adam["state"].setdefault(int(k), {})[moment] = tensor
    optimiser.load_state_dict(adam)


def _arrays(tensors: Mapping[str, Tensor]) -> Arrays:
    return {k: v.detach().clone().numpy() for k, v in tensors.items()}


def _tensors(arrays: Arrays) -> dict[str, Tensor]:
    return {k: torch.from_numpy(v) for k, v in arrays.items()}
