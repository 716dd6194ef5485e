"""Adam without torch's compiler: the same steps as torch's own, and nothing imports the compiler."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from largesse.models.nets.adam import Adam, AdamW

LEARN = """
import sys
import torch
from largesse.models.nets.minibatch import Schedule, train

net = torch.nn.Linear(3, 1)
x = torch.ones(64, 3)
train(net, lambda i: net(x[i]).pow(2).mean(), 64, Schedule(epochs=1), 0)
print("torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize("fused", [None, True])
@pytest.mark.parametrize(("ours", "theirs"), [(Adam, torch.optim.Adam), (AdamW, torch.optim.AdamW)])
def test_steps_are_those_of_torch(
    ours: type[torch.optim.Optimizer], theirs: type[torch.optim.Optimizer], fused: bool | None
):
    ends = []
    for kind in (ours, theirs):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 1))
        weights = [net[0].weight, net[2].weight]
        levels = [net[0].bias, net[2].bias]
        groups = [{"params": weights, "weight_decay": 0.1}, {"params": levels, "weight_decay": 0.0}]
        optimiser = kind(groups, lr=0.05, fused=fused)
        for step in range(20):
            if step == 10:  # continued by another, from its state
                state, optimiser = optimiser.state_dict(), kind(groups, lr=0.05, fused=fused)
                optimiser.load_state_dict(state)
            optimiser.zero_grad()
            net(torch.randn(32, 4)).pow(2).mean().backward()
            optimiser.step()
        assert optimiser.state_dict()["state"][0]["step"] == 20
        ends.append([p.detach() for p in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_training_does_not_import_the_compiler():
    done = subprocess.run([sys.executable, "-c", LEARN], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
