"""The network's face toward SB3: policy names, policy_kwargs and ``predict``.

What contrib's policies call ``lstm_hidden_size``, ``shared_lstm`` and so on is translated here, once,
into our own description of a network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
)
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.common.utils import get_device
from torch import Tensor, nn

from rlrnn.cells import CELLS
from rlrnn.common import arrays
from rlrnn.common.batches import any_array, parts_of
from rlrnn.common.settings import meant, takes_plain
from rlrnn.common.threads import one_thread
from rlrnn.errors import EnvironmentFault, OptionsError, UserError, warn
from rlrnn.learners.policy import sizing
from rlrnn.learners.policy.options import cell_options_of, critic_of, one_of, widths_of
from rlrnn.learners.policy.states import StateParts
from rlrnn.network import acting
from rlrnn.network.convolutions import convolves
from rlrnn.network.distributions import Distribution
from rlrnn.network.network import NetworkDescription, RecurrentNetwork
from rlrnn.storage import archive

States = tuple[np.ndarray, ...]


class RecurrentPolicy(BasePolicy):
    """Actor and critic with memory, for any cell; the named policies are this with two defaults.

    :param cell: kind of memory, a name in ``rlrnn.cells.CELLS``
    :param hidden_size: units per layer of memory (contrib: ``lstm_hidden_size``)
    :param n_layers: layers of memory (contrib: ``n_lstm_layers``)
    :param cell_options: options of the cell, and ``dropout`` and ``residual`` (contrib: ``lstm_kwargs``)
    :param critic: "own" memory, "shared" with the actor, "detached" (shared, but trained by the actor
        alone: contrib's ``shared_lstm=True``), or "feedforward" (contrib's ``enable_critic_lstm=False``)
    :param actions: what the output units mean, which is the learner's to say: "drawn", "greedy" or "squashed"
    :param normalize_observations: Box vectors to mean 0, std 1 by running statistics kept in the network
    :param head_norm: normalise what each layer of the heads adds up, before its activation (layer norm):
        values that are learned without a target network need it; torch runs such networks, not kernels
    :param output_layer: False lets the first units of the last layer act themselves
    :param precision: "bfloat16" lets the features' extractor compute with numbers of half the size, which
        is for convolutions on processors that have instructions for them (AVX512-BF16, AMX, a GPU);
        elsewhere it is float32, and a sentence says so. Weights, memory and gradients' sums stay float32.

    The other arguments are SB3's, with SB3's defaults.
    """

    default_cell: ClassVar[str] = "lstm"
    default_extractor: ClassVar[type[BaseFeaturesExtractor]] = FlattenExtractor

    @takes_plain
    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        activation_fn: type[nn.Module] = nn.Tanh,
        ortho_init: bool = True,
        use_sde: bool = False,
        log_std_init: float = 0.0,
        full_std: bool = True,
        use_expln: bool = False,
        squash_output: bool = False,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        features_extractor_kwargs: dict[str, Any] | None = None,
        share_features_extractor: bool = True,
        normalize_images: bool = True,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        lstm_hidden_size: int | None = None,
        n_lstm_layers: int | None = None,
        shared_lstm: bool | None = None,
        enable_critic_lstm: bool | None = None,
        lstm_kwargs: dict[str, Any] | None = None,
        *,
        cell: str | None = None,
        hidden_size: int | None = None,
        n_layers: int | None = None,
        cell_options: Mapping[str, Any] | None = None,
        critic: str | None = None,
        actions: str = "drawn",
        normalize_observations: bool = False,
        head_norm: bool = False,
        output_layer: bool = True,
        precision: str = "float32",
    ) -> None:
        arguments = dict(locals())
        for name in ("self", "__class__", "lr_schedule"):
            arguments.pop(name, None)
        extractor = features_extractor_class or self.default_extractor
        extractor_options = dict(features_extractor_kwargs or {})
        if not normalize_images and (convolves(extractor) or issubclass(extractor, CombinedExtractor)):
            extractor_options.setdefault("normalized_image", True)
        reads_one_array = features_extractor_class is None and not issubclass(extractor, CombinedExtractor)
        if isinstance(observation_space, spaces.Dict) and reads_one_array:
            raise UserError(
                f"{type(self).__name__} reads one array, but the observation space is a Dict: use "
                f'"{type(self).__name__.replace("Mlp", "MultiInput").replace("Cnn", "MultiInput")}".'
            )
        if issubclass(extractor, CombinedExtractor) and not isinstance(observation_space, spaces.Dict):
            raise UserError(
                f"{type(self).__name__} reads a Dict, but the observation space is {observation_space}: use "
                f'"{type(self).__name__.replace("MultiInput", "Mlp")}", or Cnn for images.'
            )
        if squash_output and not use_sde:
            raise OptionsError("squash_output=True needs gSDE: set use_sde=True as well.")
        optimizer_kwargs = dict(optimizer_kwargs or {})
        if issubclass(optimizer_class, torch.optim.Adam):
            optimizer_kwargs.setdefault("eps", 1e-5)  # as SB3 does for stability
            chosen = optimizer_kwargs.keys() & {"foreach", "differentiable", "capturable"}  # a way to run it
            if optimizer_class in (torch.optim.Adam, torch.optim.AdamW) and not chosen:
                optimizer_kwargs.setdefault("fused", True)  # one kernel for all weights, not twelve for each
        super().__init__(
            observation_space,
            action_space,
            extractor,
            extractor_options,
            normalize_images=normalize_images,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
            squash_output=squash_output,
        )
        critic = critic_of(critic, shared_lstm, enable_critic_lstm)
        actor_widths, critic_widths = widths_of(net_arch, extractor, critic)
        continuous = {
            "log_std_init": log_std_init,
            "use_sde": use_sde,
            "full_std": full_std,
            "use_expln": use_expln,
            "squash_output": squash_output,
        }
        self.description = NetworkDescription(
            cell=self.default_cell if cell is None else cell,
            hidden_size=one_of("hidden_size", hidden_size, "lstm_hidden_size", lstm_hidden_size, 256),
            n_layers=one_of("n_layers", n_layers, "n_lstm_layers", n_lstm_layers, 1),
            cell_options=cell_options_of(cell_options, lstm_kwargs),
            critic=critic,
            actor_widths=actor_widths,
            critic_widths=critic_widths,
            activation=activation_fn,
            orthogonal=ortho_init,
            extractor_class=extractor,
            extractor_options=extractor_options,
            share_extractor=share_features_extractor,
            normalize_images=normalize_images,
            normalize_observations=normalize_observations,
            head_norm=head_norm,
            output_layer=output_layer,
            precision=precision,
            actions=actions,
            actuator_options=continuous if isinstance(action_space, spaces.Box) else {},
        )
        self.network = RecurrentNetwork(self.description, observation_space, action_space)
        self.use_sde = use_sde
        self.optimizer = optimizer_class(self.parameters(), lr=lr_schedule(1), **optimizer_kwargs)  # type: ignore[call-arg]
        self._arguments = arguments
        self._stateless_calls = 0  # since predict was last given a state
        self._warned = False

    def forward(
        self, obs: PyTorchObs, lstm_states: Any, episode_starts: Tensor, deterministic: bool = False
    ) -> tuple[Tensor, Tensor, Tensor, Any]:
        """obs [B, ...], state, episode_starts [B] -> actions [B, A], values, log_probs [B], next state.

        A state is one tensor [B, S] or ``states.RNNStates``, as sb3-contrib's, here and below, and comes back
        in the form that it was given in. What ``predict`` returned is the actor's memory: it serves where the
        critic has none of its own, or where episodes begin.
        """
        starts = episode_starts.bool()
        distribution, values, state = self.network.step(obs, starts, self.parts.whole(lstm_states, starts))
        actions = distribution.mode() if deterministic else distribution.sample()
        after = state if isinstance(lstm_states, Tensor) else self.parts.to_parts(state)
        return actions, values, distribution.log_prob(actions), after

    def evaluate_actions(
        self, obs: PyTorchObs, actions: Tensor, lstm_states: Any, episode_starts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Of whole rows [T, B, ...] and a state: values, log-probabilities and entropy [T, B]."""
        starts = episode_starts.bool()
        distribution, values = self.network.unroll(obs, starts, self.parts.whole(lstm_states, starts[0]))
        return values, distribution.log_prob(actions), distribution.entropy()

    def get_distribution(
        self, obs: PyTorchObs, lstm_states: Any, episode_starts: Tensor
    ) -> tuple[Distribution, Any]:
        """obs [B, ...], the actor's state (``predict``'s, or [B, S]) -> what it may do, next state.

        The probabilities of a Discrete action [B, N] are those of ``torch.distributions``:
        ``policy.get_distribution(obs, state, starts)[0].distribution.probs``.
        """
        starts = episode_starts.bool()
        memory = self.parts.actor(lstm_states, len(starts))
        distribution, memory = self.network.act(obs, starts, memory)
        return distribution, memory if isinstance(lstm_states, Tensor) else self.parts.split(memory)

    def predict_values(self, obs: PyTorchObs, lstm_states: Any, episode_starts: Tensor) -> Tensor:
        """obs [B, ...], state (``RNNStates`` or its ``vf``, or [B, S]), episode_starts [B] -> values [B]."""
        starts = episode_starts.bool()
        return self.network.value_of(obs, starts, self.parts.for_critic(lstm_states, starts))

    def obs_to_tensor(self, observation: np.ndarray | dict[str, np.ndarray]) -> tuple[PyTorchObs, bool]:
        """As SB3 does, and refused where numbers lie outside of the observation space."""
        try:
            tensor, batched = super().obs_to_tensor(observation)
        except (AssertionError, TypeError, ValueError) as error:
            raise UserError(f"an observation is not of {self.observation_space}: {error}") from error
        parts = parts_of(self.observation_space)
        for key, part in parts_of(tensor).items():
            fault = arrays.flaw(part.cpu().numpy(), parts[key])
            if fault is not None:
                row, number, rule = fault
                where = "" if key == "" else f" in {key!r}"
                raise EnvironmentFault(
                    f"the observation of environment {row} has {number}{where}: {rule}, so the game or a "
                    "wrapper around it needs mending."
                )
        return tensor, batched

    @property
    def features_extractor(self) -> BaseFeaturesExtractor:
        """What makes features of observations: the actor's, which the critic shares unless it has its own."""
        return self.network.sensors.extractor

    @features_extractor.setter
    def features_extractor(self, none: BaseFeaturesExtractor | None) -> None:
        """SB3's constructor says that there is none yet."""

    @property
    def pi_features_extractor(self) -> BaseFeaturesExtractor:
        """The actor's."""
        return self.network.sensors.extractor

    @property
    def vf_features_extractor(self) -> BaseFeaturesExtractor:
        """The critic's."""
        return (self.network.critic_sensors or self.network.sensors).extractor

    def reset_noise(self, n_envs: int = 1) -> None:
        """Draw new gSDE exploration matrices."""
        self.network.sample_exploration(n_envs)

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray] | tuple[Any, ...],
        state: States | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, States]:
        """SB3's protocol: the action for an observation, and the memory to hand in with the next one.

        ``state`` is ``(h, c)`` or ``(h,)``, each (layers, envs, units); a cell that is not made of
        units shows ``(state,)`` of shape (1, envs, S). None means an empty memory, as at an episode's
        start: where an episode is under way that forgets it, so it is warned of once.
        """
        if (
            self.training
        ):  # asked first, as SB3 calls this once per step: going through all modules takes long
            self.set_training_mode(False)
        if isinstance(observation, tuple):
            raise UserError(
                "predict() got a tuple as observation: with Gymnasium's API write `obs, info = env.reset()`, "
                "with a VecEnv `obs = env.reset()`."
            )
        tensor, batched = self.obs_to_tensor(observation)
        n_envs = len(any_array(tensor))
        starts = self._check_starts(episode_start, n_envs)
        if state is None:
            self._warn_if_forgetting(episode_start)
            memory = self.network.initial_state(n_envs)[:, : self.network.state_sizes[0]]
        else:
            self._stateless_calls = 0
            memory = self.parts.actor(state, n_envs)
        with torch.no_grad(), one_thread(self.device):
            start = torch.as_tensor(starts, device=self.device)
            distribution, memory = acting.play(self.network, tensor, start, memory)
            actions = distribution.mode() if deterministic else distribution.sample()
        result = self.network.actuators.to_space(actions.cpu().numpy())
        return result if batched else result.squeeze(axis=0), tuple(
            part.cpu().numpy() for part in self.parts.split(memory)
        )

    def save(self, path: archive.File) -> None:
        """The policy alone, without its learner, in one file: no pickle here either."""
        archive.write_agent(path, self._arguments, {"policy": self.state_dict()}, kind=type(self).__name__)

    @classmethod
    def load(cls, path: archive.File, device: torch.device | str = "auto") -> RecurrentPolicy:
        """A policy that ``save`` wrote, ready to play."""
        stored = archive.read_agent(path, device=device)
        policy_class = cls if cls is not RecurrentPolicy else policy_named(stored.kind)
        arguments = {name: archive.require(stored, name) for name in (*stored.data, *stored.missing)}
        sizing.check_policy(policy_class, arguments, stored.states["policy"])
        policy = policy_class(**arguments, lr_schedule=lambda progress_remaining: 0.0)
        policy.load_state_dict(stored.states["policy"])
        return policy.to(get_device(device))

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        """The action of an agent that remembers nothing: SB3's abstract method, which takes no state."""
        rows = len(any_array(observation))
        starts = torch.ones(rows, dtype=torch.bool, device=self.device)
        memory = self.network.initial_state(rows)[:, : self.network.state_sizes[0]]
        distribution, _ = self.network.act(observation, starts, memory)
        return distribution.mode() if deterministic else distribution.sample()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.network.like.device

    @cached_property
    def parts(self) -> StateParts:
        """The memory's two forms."""
        return StateParts(self.network)

    @property
    def lstm_hidden_state_shape(self) -> tuple[int, int, int]:
        """(layers, 1, units) of a part of ``predict``'s state for one environment, as in sb3-contrib."""
        return self.parts.layers, 1, self.parts.units

    def _check_starts(self, episode_start: np.ndarray | None, n_envs: int) -> np.ndarray:
        if episode_start is None:
            return np.zeros(n_envs, dtype=np.bool_)
        starts = np.atleast_1d(np.asarray(episode_start)).astype(np.bool_)
        if starts.shape != (n_envs,):
            raise UserError(
                f"episode_start has shape {starts.shape}, but the observation is that of {n_envs} "
                "environment(s): give one flag for each."
            )
        return starts

    def _warn_if_forgetting(self, episode_start: np.ndarray | None) -> None:
        """Without a state, memory is lost: fine at an episode's start, a mistake anywhere else."""
        self._stateless_calls += 1
        under_way = self._stateless_calls > 1 if episode_start is None else not np.all(episode_start)
        if under_way and self.network.memory.state_size > 0 and not self._warned:
            self._warned = True
            warn(
                "predict() was called with state=None while an episode is under way, so the agent plays "
                "without its memory: pass the state that predict() returned, or let `agent.player(n_envs)` "
                "keep it for you."
            )


_EXTRACTORS: dict[str, type[BaseFeaturesExtractor]] = {
    "Mlp": FlattenExtractor,
    "Cnn": NatureCNN,
    "MultiInput": CombinedExtractor,
}


def policy_named(name: str) -> type[RecurrentPolicy]:
    """The policy class for a name such as "MlpLstmPolicy": sensors, then the cell, then "Policy".

    "MlpPolicy", "CnnPolicy" and "MultiInputPolicy" are feed-forward (the cell "none").
    """
    match = re.fullmatch(r"(Mlp|Cnn|MultiInput)(\w*)Policy", name)
    cell = (match[2].lower() or "none") if match else ""
    if match is None or cell not in CELLS:
        cells = ", ".join(c.capitalize() for c in CELLS if c != "none")
        names = [f"{s}{'' if c == 'none' else c.capitalize()}Policy" for s in _EXTRACTORS for c in CELLS]
        near = f" ({meant(name, names)})" if meant(name, names) else ""
        raise UserError(
            f"policy {name!r} is not known: names are Mlp, Cnn or MultiInput, then one of {cells} (or "
            f'nothing for a feed-forward network), then Policy, as in "MlpLstmPolicy"{near}.'
        )
    if name not in _POLICIES:
        extractor = _EXTRACTORS[match[1]]
        _POLICIES[name] = type(
            name,
            (RecurrentPolicy,),
            {
                "default_cell": cell,
                "default_extractor": extractor,
                "__doc__": f"RecurrentPolicy with {extractor.__name__} sensors and {cell} memory.",
                "__module__": __name__,
            },
        )
    return _POLICIES[name]


_POLICIES: dict[str, type[RecurrentPolicy]] = {}
MlpLstmPolicy = policy_named("MlpLstmPolicy")
CnnLstmPolicy = policy_named("CnnLstmPolicy")
MultiInputLstmPolicy = policy_named("MultiInputLstmPolicy")
MlpGruPolicy = policy_named("MlpGruPolicy")
CnnGruPolicy = policy_named("CnnGruPolicy")
MultiInputGruPolicy = policy_named("MultiInputGruPolicy")
MlpElmanPolicy = policy_named("MlpElmanPolicy")
CnnElmanPolicy = policy_named("CnnElmanPolicy")
MultiInputElmanPolicy = policy_named("MultiInputElmanPolicy")
