"""Critics of actions: one memory of what was seen, and heads that value an action at what it remembers.

    observation -> sensors -> memory -> y;   (y, action) -> head i -> Q_i

Letters: T time, R rows, A numbers in an action or choices, H outputs of the memory, S state.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, cast

import torch
from gymnasium import spaces
from torch import Tensor, nn

from rlrnn.common.capacity import check_fits
from rlrnn.network.layers import Affine, Mlp
from rlrnn.network.memory import Memory
from rlrnn.network.network import NetworkDescription
from rlrnn.network.sensors import Observation, Sensors
from rlrnn.network.stream import Stream

COPIES = 5  # of a head's weights: its target, its gradient and Adam's two means beside


class Critics(nn.Module):
    """``count`` estimates of the value of actions, over one memory; shaped by the actor's description."""

    def __init__(
        self,
        description: NetworkDescription,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        action_size: int,
        count: int,
        first: int,
    ) -> None:
        """``first``: where this memory's part of the state at play begins, after the actor's."""
        super().__init__()
        d = description
        self.sensors = Sensors(
            observation_space,
            d.extractor_class,
            d.extractor_options,
            normalize_images=d.normalize_images,
            normalize_observations=d.normalize_observations,
            precision=d.precision,
        )
        self.memory = Memory(d.cell, self.sensors.output_size, d.hidden_size, d.n_layers, **d.cell_options)
        self.columns = slice(first, first + self.memory.state_size)
        self.chooses = isinstance(action_space, spaces.Discrete)
        inputs = self.memory.output_size + (0 if self.chooses else action_size)
        outputs = int(action_space.n) if isinstance(action_space, spaces.Discrete) else 1
        heads = [Mlp(inputs, d.critic_widths, d.activation, d.head_norm) for _ in range(count)]
        values = [Affine(head.output_size, outputs) for head in heads]
        self.head_modules, self.value_modules = nn.ModuleList(heads), nn.ModuleList(values)
        if d.orthogonal:
            for head, value in zip(heads, values, strict=True):
                head.orthogonal(math.sqrt(2.0))
                value.orthogonal(1.0)

    @property
    def heads(self) -> list[Mlp]:
        """The layers of each critic between memory and value."""
        return cast("list[Mlp]", list(self.head_modules))

    @property
    def values(self) -> list[Affine]:
        """The output units of each critic."""
        return cast("list[Affine]", list(self.value_modules))

    @property
    def stream(self) -> Stream:
        """Sensors and memory, as what remembers along at play."""
        return Stream(self.sensors, self.memory, self.heads[0], self.values[0], self.columns)

    def outputs(self, observation: Observation, start: Tensor, state: Tensor) -> Tensor:
        """The memory's outputs: observation [T, R, ...], start [T, R], state [R, S] of actor and critics."""
        stream = self.stream
        return stream.outputs(stream.features(observation), start, state)

    def forward(self, y: Tensor, action: Tensor | None = None) -> Tensor:
        """y [..., H], action [..., A] -> Q [count, ...]; of choices without one, of each: [count, ..., A]."""
        x = y if action is None else torch.cat((y, action), dim=-1)
        q = torch.stack([value(head(x)) for head, value in zip(self.heads, self.values, strict=True)])
        return q if action is None else q.squeeze(-1)

    def observe(self, observation: Observation) -> None:
        """Fold observations [N, ...] into the running statistics of the sensors."""
        self.sensors.update(observation)


def check_room(
    description: NetworkDescription, inputs: int, action_space: spaces.Space[Any], count: int
) -> None:
    """Refuse heads that the machine cannot hold with their targets, gradients and optimizer."""
    outputs = int(action_space.n) if isinstance(action_space, spaces.Discrete) else 1
    sizes = (inputs, *description.critic_widths, outputs)
    weights = count * sum((a + 1) * b for a, b in itertools.pairwise(sizes))
    check_fits(f"{count} critics", COPIES * 4 * weights, "net_arch in policy_kwargs or n_critics")


class Temperature(nn.Module):
    """The weight of the entropy, alpha, as its logarithm: learned or fixed."""

    def __init__(self, first: float, learns: bool) -> None:
        super().__init__()
        self.log = nn.Parameter(
            torch.tensor(math.log(first)) if first > 0 else torch.tensor(-math.inf), learns
        )

    @property
    def learns(self) -> bool:
        """Whether it is moved until the entropy is what it should be."""
        return self.log.requires_grad
