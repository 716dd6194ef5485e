"""The training loop: mini-batches, AdamW, a decaying rate, averaged last weights, explicit seeds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["Schedule", "Step", "threads", "train"]

log = logging.getLogger(__name__)
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
    """

    epochs: int = 5
    batch: int = 1024
    rate: float = 3e-3
    decay: float = 0.1
    average: float = 0.25
    least: int = 400


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Runs torch on n threads, then gives back what was set."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train(
    net: nn.Module,
    loss: Callable[[Tensor], Tensor],
    rows: int,
    schedule: Schedule,
    seed: int,
    on_step: Step | None = None,
) -> None:
    """Minimises `loss(rows of a batch)` and leaves the averaged last weights in the network.

    Args:
        net: The network whose parameters are learned.
        loss: Mean loss of the rows whose numbers it is given.
        rows: Number of training rows.
        schedule: How long and how fast.
        seed: Orders the rows.
        on_step: Called as on_step(step, steps, loss) after each step.
    """
    draw = torch.Generator().manual_seed(seed)
    batch = min(schedule.batch, max(64, rows // 8))
    per_epoch = max(1, rows // batch)
    steps = max(schedule.epochs * per_epoch, schedule.least)
    start = int(steps * (1 - schedule.average))
    matrices = [p for name, p in net.named_parameters() if name.endswith("weight")]
    levels = [
        p for name, p in net.named_parameters() if not name.endswith("weight")
    ]  # shrunk, they would move every mean
    groups = [{"params": matrices, "weight_decay": schedule.decay}, {"params": levels, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=schedule.rate)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, eta_min=schedule.rate * 0.01)
    mean = torch.optim.swa_utils.AveragedModel(net)
    net.train()
    for step in range(steps):
        if step % per_epoch == 0:
            order = torch.randperm(rows, generator=draw)
        k = step % per_epoch * batch
        value = loss(order[k : k + batch])
        optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimiser.step()
        decay.step()
        if step >= start:
            mean.update_parameters(net)
        if on_step is not None:
            on_step(step + 1, steps, float(value.detach()))
    net.load_state_dict(mean.module.state_dict())
    net.eval()
