"""The recurrent network: sensors, memory, actuators and the value of being where one is.

    observation -> sensors -> memory (cells over time) -> actor head -> actuators -> action
                          \\-> the critic's memory       -> critic head -> value

Letters: T time, B environments, F features, S state. The state is one tensor [B, S]: the actor's
memory first, then the critic's, if it has its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from torch import Tensor, nn

from rlrnn.common.settings import check_choice
from rlrnn.errors import OptionsError, UserError
from rlrnn.network.actuators import ACTIONS, ContinuousActuators, make_actuators
from rlrnn.network.convolutions import PRECISIONS
from rlrnn.network.distributions import Distribution
from rlrnn.network.layers import Affine, Mlp
from rlrnn.network.memory import Memory
from rlrnn.network.sensors import Observation, Sensors
from rlrnn.network.stream import Stream

CRITICS = ("own", "shared", "detached", "feedforward")
NONE = "none"


@dataclass(frozen=True)
class NetworkDescription:
    """Everything that decides a network's shape and its initial weights, but the spaces."""

    cell: str = "lstm"  # kind of memory, a name in rlrnn.cells.CELLS
    hidden_size: int = 256  # units per layer of memory
    n_layers: int = 1  # layers of memory
    cell_options: Mapping[str, Any] = field(default_factory=dict)  # of the cell; dropout, residual
    # What the critic remembers with: "own" memory; "shared": the actor's, trained by both losses;
    # "detached": the actor's, trained by the actor's loss alone; "feedforward": nothing. "none": there is no
    # critic, as of learners from replay, whose values are of actions.
    critic: str = "own"
    actions: str = "drawn"  # what the output units mean: one of ``actuators.ACTIONS``
    actor_widths: tuple[int, ...] = (64, 64)  # units of the layers between memory and actuators
    critic_widths: tuple[int, ...] = (64, 64)  # units of the layers between memory and value
    activation: type[nn.Module] = nn.Tanh  # between those layers
    head_norm: bool = False  # those layers' sums are normalised before the activation
    output_layer: bool = True  # false: the last layer's first units are the output units themselves
    orthogonal: bool = True  # orthogonal initial weights outside the memory, small ones at the actuators
    extractor_class: type[BaseFeaturesExtractor] = FlattenExtractor
    extractor_options: Mapping[str, Any] = field(default_factory=dict)
    share_extractor: bool = True  # one set of sensors for actor and critic
    normalize_images: bool = True  # pixels 0..255 to 0..1
    precision: str = "float32"  # of what sensors compute: one of PRECISIONS
    normalize_observations: bool = False  # Box vectors to mean 0, std 1, by running statistics
    actuator_options: Mapping[str, Any] = field(default_factory=dict)  # of ContinuousActuators

    def __post_init__(self) -> None:
        check_choice("critic", self.critic, (*CRITICS, NONE))
        check_choice("actions", self.actions, ACTIONS)
        check_choice("precision", self.precision, PRECISIONS)
        if self.critic in ("shared", "detached") and not self.share_extractor:
            raise OptionsError(
                "a critic that uses the actor's memory uses its sensors too: set share_features_extractor="
                'True, or give the critic its own memory (critic="own").'
            )


class RecurrentNetwork(nn.Module):
    """Reads observations, remembers, and says what to do and what it is worth."""

    def __init__(
        self,
        description: NetworkDescription,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
    ) -> None:
        super().__init__()
        d = description
        self.description = d
        self.sensors = self._sensors(observation_space)
        self.critic_sensors = None if d.share_extractor else self._sensors(observation_space)
        features = self.sensors.output_size
        self.memory = Memory(d.cell, features, d.hidden_size, d.n_layers, **d.cell_options)
        self.critic_memory: Memory | Affine | None = None
        if d.critic == "own":
            self.critic_memory = Memory(d.cell, features, d.hidden_size, d.n_layers, **d.cell_options)
        elif d.critic == "feedforward":
            self.critic_memory = Affine(features, self.memory.output_size)
        self.actor_head = Mlp(self.memory.output_size, d.actor_widths, d.activation, d.head_norm)
        if self.has_critic:
            self.critic_head = Mlp(self.memory.output_size, d.critic_widths, d.activation, d.head_norm)
        self.actuators = make_actuators(
            action_space,
            self.actor_head.output_size,
            actions=d.actions,
            output_layer=d.output_layer,
            **d.actuator_options,
        )
        if self.has_critic:
            self.value = Affine(self.critic_head.output_size, 1)
        own = self.critic_memory.state_size if isinstance(self.critic_memory, Memory) else 0
        self.state_sizes = [self.memory.state_size, own]
        self.state_size = sum(self.state_sizes)
        if d.orthogonal:
            self._orthogonal()

    def initial_state(self, rows: int) -> Tensor:
        """An empty memory for each row: [B, S]."""
        return self.like.new_zeros(rows, self.state_size)

    @property
    def like(self) -> Tensor:
        """A tensor where the weights are and of their type."""
        return self.actuators.output.weight

    @property
    def has_critic(self) -> bool:
        """Whether it estimates the value of situations."""
        return self.description.critic != NONE

    @property
    def actor(self) -> Stream:
        """What decides on actions."""
        own = slice(0, self.state_sizes[0])
        return Stream(self.sensors, self.memory, self.actor_head, self.actuators.output, own)

    @property
    def critic(self) -> Stream:
        """What estimates the value of a situation."""
        return self._critic_beside(self.actor)

    def step(
        self, observation: Observation, start: Tensor, state: Tensor
    ) -> tuple[Distribution, Tensor, Tensor]:
        """One step: observation [B, ...], start [B] bool, state [B, S] -> distribution, value [B], state."""
        actor = self.actor
        x, critic = actor.sensors(observation), self._critic_beside(actor)
        y, state_after = actor.step(x, start, state)
        if critic.shared:
            return self._act(y), critic.read(y).squeeze(-1), state_after
        if critic.sensors is not actor.sensors:
            x = critic.sensors(observation)
        y_critic, critic_after = critic.step(x, start, state)
        value = critic.read(y_critic).squeeze(-1)
        return self._act(y), value, torch.cat((state_after, critic_after), dim=-1)

    def act(self, observation: Observation, start: Tensor, state: Tensor) -> tuple[Distribution, Tensor]:
        """``step`` of the actor alone, over its part of the state [B, state_sizes[0]]."""
        y, state = self.memory.step(self.sensors(observation), start, state)
        return self._act(y), state

    def value_of(self, observation: Observation, start: Tensor, state: Tensor) -> Tensor:
        """The value [B] of an observation, given the memory that precedes it (state [B, S])."""
        critic = self.critic
        y, _ = critic.step(critic.sensors(observation), start, state)
        return critic.read(y).squeeze(-1)

    def unroll(self, observation: Observation, start: Tensor, state: Tensor) -> tuple[Distribution, Tensor]:
        """All steps of rows: observation [T, B, ...], start [T, B], state [B, S] -> actions, value [T, B]."""
        actor = self.actor
        x, critic = actor.features(observation), self._critic_beside(actor)
        y = y_critic = actor.outputs(x, start, state)
        if not critic.shared:
            x = x if critic.sensors is actor.sensors else critic.features(observation)
            y_critic = critic.outputs(x, start, state)
        return self._act(y), critic.read(y_critic).squeeze(-1)

    def unroll_actor(self, observation: Observation, start: Tensor, state: Tensor) -> Distribution:
        """The actions of ``unroll`` alone."""
        actor = self.actor
        return self._act(actor.outputs(actor.features(observation), start, state))

    def unroll_critic(self, observation: Observation, start: Tensor, state: Tensor) -> Tensor:
        """The values of ``unroll`` alone."""
        critic = self.critic
        return critic.read(critic.outputs(critic.features(observation), start, state)).squeeze(-1)

    def remember(self, observation: Observation, start: Tensor, state: Tensor) -> Tensor:
        """The state [B, S] after whole rows: observation [T, B, ...], start [T, B], state [B, S]."""
        actor = self.actor
        x = actor.features(observation)
        states = [actor.last(x, start, state)]
        critic = self._critic_beside(actor) if self.has_critic else None
        if critic is not None and not critic.shared:
            x = x if critic.sensors is actor.sensors else critic.features(observation)
            states.append(critic.last(x, start, state))
        return torch.cat(states, dim=-1)

    def observe(self, observation: Observation) -> None:
        """Fold observations [N, ...] into the running statistics of the sensors."""
        self.sensors.update(observation)
        if self.critic_sensors is not None:
            self.critic_sensors.update(observation)

    def sample_exploration(self, n_envs: int, generator: torch.Generator | None = None) -> None:
        """Draw new gSDE noise matrices (nothing where actions are not state-dependent noise)."""
        if isinstance(self.actuators, ContinuousActuators) and self.actuators.use_sde:
            self.actuators.sample_exploration(n_envs, generator)

    def _sensors(self, space: spaces.Space[Any]) -> Sensors:
        d = self.description
        return Sensors(
            space,
            d.extractor_class,
            d.extractor_options,
            normalize_images=d.normalize_images,
            normalize_observations=d.normalize_observations,
            precision=d.precision,
        )

    def _critic_beside(self, actor: Stream) -> Stream:
        """The critic, of whose parts some are the actor's: looked up once, as a module's take their time."""
        if not self.has_critic:
            raise UserError(
                "this agent has no critic: it values actions, not situations, so it has no value."
            )
        head, value, memory = self.critic_head, self.value, self.critic_memory
        if memory is None:
            detached = self.description.critic == "detached"
            return Stream(actor.sensors, actor.memory, head, value, actor.columns, True, detached)
        sensors, own = self.critic_sensors or actor.sensors, slice(self.state_sizes[0], None)
        return Stream(sensors, memory, head, value, own)

    def _act(self, y: Tensor) -> Distribution:
        distribution: Distribution = self.actuators(self.actor_head(y))
        return distribution

    def _orthogonal(self) -> None:
        """Orthogonal weights with the gains that policy gradients have used since OpenAI's baselines."""
        for sensors in (self.sensors, self.critic_sensors):
            for module in sensors.modules() if sensors is not None else ():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    nn.init.orthogonal_(module.weight, math.sqrt(2.0))
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)
        for head in (self.actor_head, self.critic_head) if self.has_critic else (self.actor_head,):
            head.orthogonal(math.sqrt(2.0))
        self.actuators.output.orthogonal(0.01)
        if self.has_critic:
            self.value.orthogonal(1.0)
