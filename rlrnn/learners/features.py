"""Sensors in an update: what they make of some rows, and the gradient of their weights where they learn.

torch computes both, whatever the sensors are. What reads the features may be compiled all the same: it takes
arrays, and hands the gradient by the features back.

Letters: N steps, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from rlrnn.cells.kernels.recurrence import Array, array
from rlrnn.network.memory import Memory
from rlrnn.network.sensors import Observation, Sensors

# Dropout draws from one stream of numbers, and batch statistics are those of the whole.
INDIVISIBLE = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)


def has_modes(module: nn.Module) -> bool:
    """Whether it computes otherwise while it learns."""
    drops = any(getattr(part, "dropout", 0.0) for part in module.modules() if isinstance(part, Memory))
    return drops or not divisible(module)


def divisible(module: nn.Module) -> bool:
    """Whether some rows of a minibatch may be worked on apart from the others."""
    return not any(isinstance(part, INDIVISIBLE) for part in module.modules())


def learns(sensors: Sensors) -> bool:
    """Whether sensors have weights that move."""
    return any(parameter.requires_grad for parameter in sensors.parameters())


class Features:
    """Of one set of rows at a time: forward once, then, if they ``learn``, backward once."""

    x: Array  # [N, F] what they made of the observations

    def __init__(self, sensors: Sensors, gradients: Mapping[nn.Parameter, Tensor]) -> None:
        self.sensors = sensors
        self.parameters = [p for p in sensors.parameters() if p.requires_grad]
        self.places = [gradients[p] for p in self.parameters]
        self.learn = learns(sensors)

    def forward(self, observation: Observation) -> None:
        """Observation [N, ...] -> ``x``."""
        with torch.set_grad_enabled(self.learn):
            self.outputs = self.sensors(observation)
        self.x = array(self.outputs)

    def backward(self, gradients: Sequence[Array]) -> None:
        """By those of all that reads ``x``, [N, F] each; leaves those of the weights in their places."""
        if not self.outputs.requires_grad:  # an extractor may stop them
            torch._foreach_zero_(self.places)
            return
        total = torch.from_numpy(np.add.reduce(gradients))
        by_weights = torch.autograd.grad(self.outputs, self.parameters, total, materialize_grads=True)
        torch._foreach_copy_(self.places, by_weights)
        del self.outputs  # and all that was kept for this
