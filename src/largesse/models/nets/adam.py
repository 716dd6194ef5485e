"""Adam as in torch, without torch's compiler: its optimisers import it, for seconds, although nothing here is compiled."""

from __future__ import annotations

from inspect import unwrap

import torch
from torch.optim import Optimizer

__all__ = ["Adam", "AdamW"]


class _Uncompiled:
    """The methods of torch's optimisers without the wrapper that hides them from `torch.compile`."""

    add_param_group = unwrap(Optimizer.add_param_group)
    zero_grad = unwrap(Optimizer.zero_grad)
    state_dict = unwrap(Optimizer.state_dict)
    load_state_dict = unwrap(Optimizer.load_state_dict)


class Adam(_Uncompiled, torch.optim.Adam):
    """`torch.optim.Adam`."""

    step = torch.no_grad()(unwrap(torch.optim.Adam.step))


class AdamW(_Uncompiled, torch.optim.AdamW):
    """`torch.optim.AdamW`."""

    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))
