"""A step of the optimizer: torch's, or the same Adam for all weights in one compiled call.

torch takes a fifth of a millisecond to see which weights there are, as long as the arithmetic of a small
minibatch. Its own optimizer keeps the state, so that agents are saved, loaded and moved as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rlrnn.common.compiling import can_compile

STATE = ("exp_avg", "exp_avg_sq", "step")  # that torch keeps of each parameter
OTHERWISE = ("weight_decay", "amsgrad", "maximize", "differentiable", "capturable", "decoupled_weight_decay")


class Adam:
    """Kingma and Ba 2015 (algorithm 1), on the state of a ``torch.optim.Adam``, while that stays in place.

    ``parameters`` are in the order of its groups, and the gradient [D] in theirs.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], gradient: Tensor
    ) -> None:
        from rlrnn.learners import kernels  # late, as numba takes a while to load

        self.kernel = kernels.adam
        for parameter in parameters:
            if not (state := optimizer.state[parameter]):  # as torch begins
                state["step"] = torch.zeros(())
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
        self.count = float(optimizer.state[parameters[0]]["step"])
        self.groups, rest = [], gradient.numpy()
        for group in optimizer.param_groups:
            own = [p for p in group["params"] if p.requires_grad]
            tensors = [(p, *(optimizer.state[p][name] for name in STATE)) for p in own]
            places = np.array([[tensor.data_ptr() for tensor in four] for four in tensors]).reshape(-1, 4)
            ends = np.cumsum([parameter.numel() for parameter in own], dtype=np.int64)
            size = int(ends[-1]) if own else 0
            self.groups.append((group, places, ends, rest[:size]))
            rest = rest[size:]

    def step(self) -> None:
        """Move the weights against the gradient."""
        self.count += 1.0
        for group, places, ends, gradient in self.groups:
            beta1, beta2 = group["betas"]
            size = group["lr"] / (1.0 - beta1**self.count)
            numbers = size, beta1, beta2, (1.0 - beta2**self.count) ** 0.5, group["eps"]
            self.kernel(places, ends, gradient, *map(np.float32, numbers))


def optimizer_step(
    optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], gradient: Tensor
) -> Callable[[], Any]:
    """What makes a step by the gradient [D] of these parameters, which is also in their ``grad``."""
    return Adam(optimizer, parameters, gradient).step if fits(optimizer, parameters) else optimizer.step


def fits(optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter]) -> bool:
    """Whether it is a plain Adam, which nobody asked to run in another way, of these parameters on a CPU."""
    if type(optimizer) is not torch.optim.Adam or not can_compile():
        return False
    groups = optimizer.param_groups
    states = [optimizer.state[parameter] for parameter in parameters if parameter in optimizer.state]
    tensors = [*parameters, *(tensor for state in states for tensor in state.values())]
    trained = [p for group in groups for p in group["params"] if p.requires_grad]
    return (
        all(group.get("fused") for group in groups)
        and not any(group.get(name) for group in groups for name in OTHERWISE)
        and not any(isinstance(group["lr"], Tensor) for group in groups)
        and len(trained) == len(parameters)
        and all(one is other for one, other in zip(trained, parameters, strict=True))
        and all(t.device.type == "cpu" and t.dtype == torch.float32 and t.is_contiguous() for t in tensors)
        and len(states) in (0, len(parameters))
        and all(_whole(state, p) for state, p in zip(states, parameters, strict=False))
        and len({float(state["step"]) for state in states}) <= 1
        and not optimizer._optimizer_step_pre_hooks
        and not optimizer._optimizer_step_post_hooks
    )


def _whole(state: Mapping[str, Tensor], parameter: Tensor) -> bool:
    """Whether it has all numbers that a parameter's should have: what a file said it is, it may not be."""
    shapes = {name: tensor.shape for name, tensor in state.items()}
    sized = {"exp_avg": parameter.shape, "exp_avg_sq": parameter.shape, "step": torch.Size()}
    return not state or shapes == sized
