"""The training loop of every network but decision factors: mini-batches, AdamW, averaged last weights, explicit seeds.

A two-stage fit starts from a drawn network, a decision loss from a fitted one: the loop is the same. With a `Checkpointer` it
can be killed at any step and goes on to the same weights, bit for bit.
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
from largesse.models.nets.checkpoint import Arrays, Checkpointer
from largesse.store import nest, unnest

__all__ = ["Remembers", "Schedule", "Step", "packed", "threads", "train", "unpack", "weights_from"]

Step = Callable[[int, int, float], None]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to learn.

    Attributes:
        epochs: Passes over the rows.
        batch: Rows per step.
        rate: Largest learning rate; it falls to zero along a half cosine.
        decay: Weight decay, decoupled: each step shrinks the matrices by rate * decay.
        average: Share of the last steps whose weights are averaged (picking the best noisy checkpoint does worse).
        least: Steps at least: small data get more epochs.
        warm: Share of the steps over which the rate rises from zero: the first steps of AdamW move every weight by the whole
            rate, whatever its gradient, and would shake a network that is already fitted.
    """

    epochs: int = 5
    batch: int = 1024
    rate: float = 3e-3
    decay: float = 0.1
    average: float = 0.25
    least: int = 400
    warm: float = 0.0

    def __post_init__(self) -> None:
        for name, low, high in (("epochs", 1, 1e9), ("batch", 1, 1e9), ("least", 1, 1e9), ("rate", 1e-12, 1e3),
                                ("decay", 0, 1e6), ("average", 0, 1), ("warm", 0, 1)):  # fmt: skip
            _check.number(f"schedule.{name}", getattr(self, name), low=low, high=high)

    def steps(self, rows: int) -> tuple[int, int, int]:
        """Returns rows in a batch, steps in an epoch and steps in all, for so many rows."""
        batch = min(self.batch, max(64, rows // 8))
        per_epoch = max(1, rows // batch)
        return batch, per_epoch, max(self.epochs * per_epoch, self.least)

    def passes(self, rows: int) -> int:
        """Returns the epochs that so many rows get, the least number of steps counted in."""
        _, per_epoch, steps = self.steps(rows)
        return math.ceil(steps / per_epoch)


class Remembers(Protocol):
    """A loss that keeps numbers from batch to batch."""

    def state(self) -> Arrays:
        """Returns them."""
        ...

    def restore(self, arrays: Arrays) -> None:
        """Takes them over."""
        ...


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Runs torch on n threads, then gives back what was set."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def weights_from(seed: int) -> Iterator[None]:
    """Networks built inside draw their first weights from a seed; torch's own generator stays as it was."""
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
    memory: Remembers | None = None,
) -> None:
    """Minimises `loss(rows of a batch)` and leaves the averaged last weights in the network.

    Args:
        net: The network whose parameters are learned, from where they are.
        loss: Mean loss of the rows whose numbers it is given.
        rows: Number of training rows.
        schedule: How long and how fast.
        seed: Orders the rows, and draws what the network drops.
        on_step: Called as on_step(step, steps, loss) after each step.
        checkpointer: Keeps the state on disk, and gives back that of a killed run.
        memory: What the loss keeps from batch to batch, to be kept with it.
    """
    loop = _Loop(net, rows, schedule, seed, memory)
    found = None if checkpointer is None else checkpointer.found()
    if found is not None:
        loop.restore(found)
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
    """The state of a training: what a step reads and changes."""

    def __init__(self, net: nn.Module, rows: int, schedule: Schedule, seed: int, memory: Remembers | None) -> None:
        self.net, self.rows, self.memory = net, rows, memory
        self.batch, self.per_epoch, self.steps = schedule.steps(rows)
        self.start = min(int(self.steps * (1 - schedule.average)), self.steps - 1)
        matrices = [p for name, p in net.named_parameters() if name.endswith("weight")]
        levels = [
            p for name, p in net.named_parameters() if not name.endswith("weight")
        ]  # shrunk, they would move means
        groups = [{"params": matrices, "weight_decay": schedule.decay}, {"params": levels, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=schedule.rate, fused=True)
        self.rate, self.warm = schedule.rate, schedule.warm
        self.mean = torch.optim.swa_utils.AveragedModel(net)
        self.step = 0
        self.draw = torch.Generator().manual_seed(seed)
        self.before = self.draw.get_state()  # of the epoch
        self.noise = torch.Generator().manual_seed(seed).get_state()  # of what the network drops
        self.order = torch.empty(0, dtype=torch.int64)

    def advance(self, loss: Callable[[Tensor], Tensor]) -> float:
        """Takes one step; returns the loss before it."""
        at = self.step % self.per_epoch
        if at == 0 or not len(self.order):
            self.before = self.draw.get_state()
            self.order = torch.randperm(self.rows, generator=self.draw)
        value = loss(self.order[at * self.batch : (at + 1) * self.batch])
        self.optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.net.parameters(), 10.0)
        # rate (1 + cos(π step / steps)) / 2, down to a hundredth
        rate = self.rate * (0.01 + 0.99 * (1 + math.cos(math.pi * self.step / self.steps)) / 2)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * min(1.0, (self.step + 1) / max(1.0, self.warm * self.steps))
        self.optimiser.step()
        if self.step >= self.start:
            self.mean.update_parameters(self.net)
        self.step += 1
        return float(value.detach())

    def state(self) -> Arrays:
        """Returns all that is needed to go on."""
        own = {"step": torch.tensor(self.step), "before": self.before, "noise": torch.get_rng_state()}
        parts = {"mean": _arrays(self.mean.state_dict())} | ({"memory": self.memory.state()} if self.memory else {})
        return packed(self.net, self.optimiser) | _arrays(own) | nest(**parts)

    def restore(self, arrays: Arrays) -> None:
        """Goes to where `state` was taken."""
        unpack(arrays, self.net, self.optimiser)
        self.mean.load_state_dict(_tensors(unnest("mean", arrays)))
        self.step = int(arrays["step"])
        self.before, self.noise = (torch.from_numpy(arrays[name]) for name in ("before", "noise"))
        self.draw.set_state(self.before)
        if self.step:  # the epoch that the state was taken in, or that had just ended
            self.order = torch.randperm(self.rows, generator=self.draw)
        if self.memory is not None:
            self.memory.restore(unnest("memory", arrays))


def packed(net: nn.Module, optimiser: torch.optim.Optimizer) -> Arrays:
    """Returns copies of a network's weights and of what Adam remembers of them."""
    moments = {f"adam.{k}": _arrays(one) for k, one in optimiser.state_dict()["state"].items()}
    return nest(net=_arrays(net.state_dict()), **moments)


def unpack(arrays: Arrays, net: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Gives back what `packed` took."""
    net.load_state_dict(_tensors(unnest("net", arrays)))
    adam = optimiser.state_dict()
    for name, tensor in _tensors(unnest("adam", arrays)).items():
        k, _, what = name.partition(".")
        adam["state"].setdefault(int(k), {})[what] = tensor
    optimiser.load_state_dict(adam)


def _arrays(tensors: Mapping[str, Tensor]) -> Arrays:
    return {k: v.detach().clone().numpy() for k, v in tensors.items()}


def _tensors(arrays: Arrays) -> dict[str, Tensor]:
    return {k: torch.from_numpy(v) for k, v in arrays.items()}
