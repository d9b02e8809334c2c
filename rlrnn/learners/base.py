"""What every learner has beyond SB3's own surface, or has otherwise: players, files, names."""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from datetime import datetime
from numbers import Real
from typing import Any, ClassVar, TypeVar

import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from stable_baselines3.common.base_class import BaseAlgorithm, maybe_make_env
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import HumanOutputFormat, Logger
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.vec_env import VecEnv

from rlrnn.common.settings import check_device, check_whole, takes_plain
from rlrnn.common.threads import one_thread
from rlrnn.envs.engines.ids import registered
from rlrnn.envs.engines.native import is_array_game
from rlrnn.envs.games import make_vec
from rlrnn.envs.vec import from_vector_env, vectorize
from rlrnn.errors import OptionsError, UserError, games_of, warn
from rlrnn.learners.bars import steps_bar
from rlrnn.learners.files import agent, surroundings
from rlrnn.learners.files.optimizer import check_optimizers
from rlrnn.learners.player import Player
from rlrnn.learners.policy import sizing
from rlrnn.learners.policy.options import check_policy_kwargs
from rlrnn.learners.policy.policy import RecurrentPolicy, policy_named
from rlrnn.network import actuators, sensors
from rlrnn.network.convolutions import computes
from rlrnn.network.network import CRITICS
from rlrnn.storage import archive

Self = TypeVar("Self", bound="Learner")


class Learner(BaseAlgorithm):
    """Stands before SB3's class among a learner's bases; has no learning rule itself."""

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {}  # names are parsed: see policy.policy_named
    policy: RecurrentPolicy
    copies_of_weights: ClassVar[int] = 1  # that learning holds
    recipe_table: ClassVar[str] = ""  # of a recipe, that has its settings
    actions: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (  # that it can learn
        spaces.Discrete,
        spaces.MultiDiscrete,
        spaces.MultiBinary,
        spaces.Box,
    )
    has_value: ClassVar[bool] = True  # a critic learns beside the actor
    keeps_episodes: ClassVar[bool] = True  # they go on from one update to the next
    shares_play: ClassVar[bool] = False  # ``workers`` and ``make_env`` say with whom

    def __init__(self, policy: Any, env: GymEnv | str | None, **settings: Any) -> None:
        check_device(settings.get("device", "auto"))
        check_whole("stats_window_size", settings.get("stats_window_size", 100), 0)
        if not isinstance(policy, str | type):
            raise UserError(
                f'policy is {policy!r}: give a name, such as "MlpGruPolicy", or a class of rlrnn\'s.'
            )
        try:
            super().__init__(policy, _named(env), **settings)
        except ValueError as error:
            played = getattr(self, "action_space", None)
            if not settings.get("use_sde") or played is None or isinstance(played, spaces.Box):
                raise
            raise UserError(
                f"use_sde is True, which is noise for continuous actions, but the game has {played}: leave "
                "it out."
            ) from error
        self._surroundings = surroundings.of(self.env)

    def __repr__(self) -> str:
        cell = self.policy.description.cell if hasattr(self, "policy") else "no network yet"
        played = "no game" if self.env is None else _name(self.env)
        return f"{type(self).__name__}({cell}, {played}: {self.num_timesteps:,} steps learned)"

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        """As SB3 does, but a logger that writes no file makes no folder, and no game ends the program."""
        own = not self._custom_logger and self.tensorboard_log is None and "SB3_LOGDIR" not in os.environ
        if own:
            self._logger, self._custom_logger = UnwrittenLogger(self.verbose), True
        arguments = total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        try:
            with games_of(self.env, "reset()"):
                return super()._setup_learn(*arguments)
        finally:
            self._custom_logger = self._custom_logger and not own

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        """As SB3 does, but its bar counts the steps that were played, and is lines where none is drawn."""
        inner = super()._init_callback(callback)
        if not progress_bar:
            return inner
        both = CallbackList([inner, steps_bar()])
        both.model = self
        both.callbacks[1].init_callback(self)
        return both

    def set_env(self, env: GymEnv | str, force_reset: bool = True) -> None:
        """Go on in other environments, of the same spaces and as many."""
        super().set_env(_named(env), force_reset)
        self._surroundings = surroundings.of(self.env)

    def _make_policy(self) -> RecurrentPolicy:
        """The untrained policy, once its policy_kwargs are known ones."""
        options = self.policy_options
        own = ("observation_space", "action_space", "lr_schedule", *options)
        kwargs, policy_class = self.policy_kwargs, self.policy_class
        check_policy_kwargs(policy_class, kwargs, own)
        spaces = self.observation_space, self.action_space
        arguments = {"observation_space": spaces[0], "action_space": spaces[1], **options, **kwargs}
        sizing.check_room(policy_class, arguments, self.copies_of_weights)
        with one_thread(self.device):  # orthogonal weights depend on how many threads compute them
            policy: Any = policy_class(*spaces, self.lr_schedule, **options, **kwargs)
            result: RecurrentPolicy = policy.to(self.device)
        if self.has_value and not result.network.has_critic:
            raise OptionsError(
                f"critic is 'none' in policy_kwargs, but {type(self).__name__} learns with one: choose "
                f"{', '.join(CRITICS)}."
            )
        precision = result.description.precision
        if not computes(precision, self.device.type):
            warn(
                f"precision is {precision!r}, for which this {self.device.type} has no instructions: it is "
                "float32 here."
            )
        return result

    @property
    def policy_options(self) -> dict[str, Any]:
        """Arguments of the policy that the learner says, and no user."""
        return {"actions": "drawn"}

    def observe(self, observation: Any) -> None:
        """Fold observations [N, ...] into the running statistics of all that reads them."""
        self.policy.network.observe(observation)

    def experience(self) -> dict[str, Any]:
        """What it learns from and has kept, where that outlives an update."""
        return {}

    def set_experience(self, kept: Mapping[str, Any]) -> None:
        """Go on with that."""

    def random_state(self) -> dict[str, Any]:
        """Where its own generators stand: what it draws beside those of torch, numpy and Python."""
        return {}

    def set_random_state(self, state: Mapping[str, Any]) -> None:
        """Draw from there on."""

    def check_takes_weights(self) -> None:
        """Refuse weights from elsewhere where learning has gone on to others."""

    def player(
        self, n_envs: int = 1, *, deterministic: bool = True, wiped: bool = False, seed: int | None = None
    ) -> Player:
        """The agent at play, keeping its own memory: see ``rlrnn.learners.player.Player``."""
        return Player(self.policy, n_envs, deterministic=deterministic, wiped=wiped, seed=seed)

    def save(
        self, path: archive.File, exclude: Iterable[str] | None = None, include: Iterable[str] | None = None
    ) -> None:
        """One ``.zip`` of JSON and safetensors with all that learning needs: equal agents, equal bytes."""
        agent.save(self, path, exclude, include)

    @classmethod
    @takes_plain
    def load(
        cls: type[Self],
        path: archive.File,
        env: GymEnv | None = None,
        device: torch.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **kwargs: Any,
    ) -> Self:
        """An agent as it was saved, by us or by sb3-contrib; no code in the file is run.

        What could not be stored (a lambda, a class of your own) is asked for in one sentence: give it in
        ``custom_objects`` or as a keyword. An agent that only plays needs no schedule.
        """
        return agent.load(cls, path, env, device, custom_objects, print_system_info, force_reset, kwargs)

    def set_parameters(
        self,
        load_path_or_dict: archive.File | dict[str, Any],
        exact_match: bool = True,
        device: torch.device | str = "auto",
    ) -> None:
        """Parameters from a saved agent's file, as far as this learner has them, or a dict of them."""
        states = load_path_or_dict
        if not isinstance(states, dict):
            names, _ = self._get_torch_save_params()
            saved = agent.states_for(self, agent.read(states))
            states = {name: state for name, state in saved.items() if name in names}
        check_optimizers(self, states)
        super().set_parameters(states, exact_match, device)

    @staticmethod
    def _wrap_env(env: GymEnv | str, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        """As SB3 does, if the network has sensors and actuators for these spaces."""
        game: GymEnv = maybe_make_env(_named(env), verbose)
        sensors.check_supported(game.observation_space)
        actuators.check_supported(game.action_space)
        return BaseAlgorithm._wrap_env(game, verbose, monitor_wrapper)

    def _get_policy_from_name(self, policy_name: str) -> type[BasePolicy]:
        return policy_named(policy_name)


class UnwrittenLogger(Logger):
    """SB3's logger where none was given: it prints or is silent, and ``dir`` is made when it is asked for."""

    def __init__(self, verbose: int) -> None:
        super().__init__(None, [HumanOutputFormat(sys.stdout)] if verbose else [])
        del self.dir

    def __getattr__(self, name: str) -> str:
        if name != "dir":
            raise AttributeError(name)
        folder = os.path.join(tempfile.gettempdir(), datetime.now().strftime("SB3-%Y-%m-%d-%H-%M-%S-%f"))
        os.makedirs(folder, exist_ok=True)
        self.dir = folder  # from now on an attribute like any other
        return folder


def check_learning(env: Any, total_timesteps: Any, callback: Any, log_interval: Any) -> None:
    """Refuse what ``learn`` would stumble over later, or never notice."""
    if env is None:
        raise OptionsError("the agent has no environment to learn in: give it one by set_env or load.")
    number = isinstance(total_timesteps, Real) and not isinstance(total_timesteps, bool)
    if not number or math.isnan(total_timesteps):
        raise UserError(f"total_timesteps is {total_timesteps!r}, but must be a number of steps.")
    for each in callback if isinstance(callback, list) else [callback]:
        if not (each is None or callable(each) or isinstance(each, BaseCallback)):
            raise UserError(
                f"callback is {each!r}: give an SB3 callback, a list of them, a function or None."
            )
    if log_interval is not None:
        check_whole("log_interval", log_interval, 1)


def _named(env: Any) -> Any:
    """An environment, from the name of a game of ours too; what only Gymnasium can make is left to SB3."""
    if isinstance(env, VectorEnv):
        return from_vector_env(env)
    if not isinstance(env, str):
        if env is not None and (isinstance(env, type) or not hasattr(env, "observation_space")):
            raise UserError(
                f"env is {env!r}, which is no environment: give a Gymnasium environment, a VecEnv or the "
                "name of a game; rlrnn.envs.vec.from_envs makes one of functions that make environments."
            )
        return env
    module, colon, name = env.rpartition(":")
    if colon and module not in sys.modules:  # "module:id" imports the module
        return env
    spec = registered(name)
    if spec is None and colon:
        return env
    if spec is None:
        return make_vec(env)
    return vectorize(spec.id, 1) if is_array_game(spec) else env  # by its id: a catalogue may know the name


def _name(env: VecEnv) -> str:
    """What the environments are called: by us, by Gymnasium, or their class."""
    if (name := getattr(env, "name", None)) is not None:
        return str(name)
    copies = getattr(env, "envs", None)
    spec = getattr(copies[0], "spec", None) if copies else None
    return type(env.unwrapped).__name__ if spec is None else str(spec.id)
