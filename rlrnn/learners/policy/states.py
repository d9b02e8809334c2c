"""A memory as SB3's users hold it, in parts such as LSTM's ``(h, c)``, and as the network does: [B, S].

Each part is (layers, environments, units); a cell that is not made of units shows ``(state,)`` of shape
(1, environments, S). A critic with a memory of its own has as many parts as the actor.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from rlrnn.cells import Cell
from rlrnn.errors import UserError
from rlrnn.network.network import RecurrentNetwork

Parts: TypeAlias = tuple[Tensor, ...]


class CriticParts(tuple[Tensor, ...]):
    """The parts of the critic's own memory, which have the shapes of the actor's but other meaning."""


class RNNStates(NamedTuple):
    """All that an agent remembers, under the names that it has in sb3-contrib."""

    pi: Parts  # the actor's
    vf: Parts  # the critic's own; the actor's where it has none


class StateParts:
    """Between the two forms, for one network; methods take a state in either."""

    def __init__(self, network: RecurrentNetwork) -> None:
        self.network = network
        memory = network.memory
        layer = memory.layers[0]
        assert isinstance(layer, Cell)
        self.layers, self.count, self.units = 1, 1, memory.state_size
        if layer.parts:
            self.layers, self.count, self.units = len(memory.layers), len(layer.parts), layer.output_size

    def split(self, memory: Tensor) -> Parts:
        """[B, S] of actor or critic -> its parts."""
        blocks = memory.view(len(memory), self.layers, self.count, self.units)
        return blocks.permute(2, 1, 0, 3).unbind()

    def join(self, parts: Any, n_envs: int) -> Tensor:
        """The inverse of ``split``, of tensors or arrays; a state of the wrong shape always raises."""
        wanted = [(self.layers, n_envs, self.units)] * self.count
        shapes = [tuple(np.shape(part)) for part in parts]
        if shapes != wanted:
            raise UserError(
                f"the state has parts of shape {shapes}, but this agent with {n_envs} environment(s) needs "
                f"{wanted}: hand in what predict() returned, or None at the start of episodes."
            )
        weight = self.network.like
        stacked = torch.stack([torch.as_tensor(part).to(weight.device, weight.dtype) for part in parts])
        return stacked.permute(2, 1, 0, 3).reshape(n_envs, -1)

    def to_parts(self, state: Tensor) -> RNNStates:
        """The whole state [B, S] in its parts."""
        memories = 2 if self._has_own_critic else 1
        blocks = state.view(len(state), memories, self.layers, self.count, self.units)
        parts = [own.unbind() for own in blocks.permute(1, 3, 2, 0, 4).unbind()]
        return RNNStates(parts[0], CriticParts(parts[1]) if memories == 2 else parts[0])

    def actor(self, state: Any, n_envs: int) -> Tensor:
        """The actor's memory [B, state_sizes[0]], from its parts, from ``RNNStates``, or from [B, S]."""
        if isinstance(state, Tensor):
            own, _ = self.network.state_sizes
            return self._flat(state, n_envs)[:, :own]
        if isinstance(state, CriticParts) and self._has_own_critic:
            raise UserError("the state is that of the critic, but the actor is asked: hand in its own, pi.")
        return self.join(getattr(state, "pi", state), n_envs)

    def whole(self, state: Any, begins: Tensor) -> Tensor:
        """The state [B, S] of actor and critic; ``begins`` [B]: where an episode does and none is needed.

        The parts of one of the two alone serve where the other begins, too, or is not needed.
        """
        n_envs, (own, critic) = len(begins), self.network.state_sizes
        if isinstance(state, Tensor) and (state.shape[-1] != own or not critic):
            return self._flat(state, n_envs)
        if hasattr(state, "vf") and critic:
            return torch.cat((self.join(state.pi, n_envs), self.join(state.vf, n_envs)), dim=-1)
        memory = self.actor(state, n_envs)
        if critic and not begins.all():
            raise UserError(
                "the state is the actor's memory alone (as predict() returns it), but this agent's critic "
                "has one of its own: hand in both, as agent._last_lstm_states, as RNNStates(pi, vf) or as "
                f"one tensor of shape ({n_envs}, {own + critic}), or ask where episodes begin."
            )
        return torch.cat((memory, memory.new_zeros(n_envs, critic)), dim=-1)

    def for_critic(self, state: Any, begins: Tensor) -> Tensor:
        """``whole`` for the value alone, which sb3-contrib asks with the critic's parts, ``vf``."""
        if not (isinstance(state, CriticParts) and self._has_own_critic):
            return self.whole(state, begins)
        critic = self.join(state, len(begins))
        return torch.cat((critic.new_zeros(len(begins), self.network.state_sizes[0]), critic), dim=-1)

    @property
    def _has_own_critic(self) -> bool:
        return self.network.state_sizes[1] > 0

    def _flat(self, state: Tensor, n_envs: int) -> Tensor:
        own, whole = self.network.state_sizes[0], self.network.state_size
        if state.shape not in ((n_envs, own), (n_envs, whole)):
            raise UserError(
                f"the state has shape {tuple(state.shape)}, but this agent with {n_envs} environment(s) has "
                f"{(n_envs, whole)}, of which the first {own} are the actor's: hand in such a tensor, or "
                "what predict() returned."
            )
        return state
