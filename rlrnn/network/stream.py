"""A stream: how an observation becomes numbers, through sensors, a memory, a head and output units.

    observation -> sensors -> memory -> head -> output

An actor's numbers become a distribution of actions, a critic's are a value; a Q function is a stream too.

Letters: T time, B environments, F features, H outputs of the memory, S state of the whole network.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rlrnn.common.batches import any_array, map_arrays
from rlrnn.network.layers import Affine, Mlp
from rlrnn.network.memory import Memory
from rlrnn.network.sensors import Observation, Sensors


@dataclass(frozen=True, eq=False)
class Stream:
    """Modules of a network, in the order in which they run; it owns none of them."""

    sensors: Sensors
    memory: Memory | Affine  # an affine layer remembers nothing
    head: Mlp
    output: Affine
    columns: slice  # of the state [B, S]: where this memory's part stands
    shared: bool = False  # the memory is another stream's, which runs it
    detached: bool = False  # and this stream's gradient ends there

    def features(self, observation: Observation) -> Tensor:
        """Of rows of steps, each step by itself: [T, B, ...] -> [T, B, F]."""
        first = any_array(observation)
        x: Tensor = self.sensors(map_arrays(lambda each: each.flatten(0, 1), observation))
        return x.view(*first.shape[:2], x.shape[-1])

    def step(self, x: Tensor, start: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One step of the memory: x [B, F], start [B], state [B, S] -> y [B, H], its own part after."""
        own = state[..., self.columns]
        if isinstance(self.memory, Affine):
            return self.memory(x), own
        return self.memory.step(x, start, own)

    def outputs(self, x: Tensor, start: Tensor, state: Tensor) -> Tensor:
        """The memory's outputs at every step: x [T, B, F], start [T, B], state [B, S] -> y [T, B, H]."""
        if isinstance(self.memory, Affine):
            y: Tensor = self.memory(x)
            return y
        return self.memory.outputs(x, start, state[..., self.columns])

    def last(self, x: Tensor, start: Tensor, state: Tensor) -> Tensor:
        """The memory's own part of the state after all steps, arguments as of ``outputs``."""
        own = state[..., self.columns]
        return own if isinstance(self.memory, Affine) else self.memory.unroll(x, start, own)[1]

    def read(self, y: Tensor) -> Tensor:
        """The memory's outputs -> the numbers of the output units: [..., H] -> [..., O]."""
        numbers: Tensor = self.output(self.head(y.detach() if self.detached else y))
        return numbers
