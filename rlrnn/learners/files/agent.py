"""Saving and loading a learner: SB3's ``save`` and ``load`` without pickle.

What the file holds is ``storage``'s business; here is what belongs into it, and how a learner is built
again from it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import FloatSchedule, check_for_correct_spaces
from stable_baselines3.common.vec_env import VecEnv

from rlrnn.errors import FileFault, UserError, warn
from rlrnn.learners.files import contrib, contrib_normalize, surroundings
from rlrnn.learners.policy import sizing
from rlrnn.learners.policy.policy import policy_named
from rlrnn.storage import archive

Learner = TypeVar("Learner", bound=BaseAlgorithm)

# Of the clock, or rebuilt from what is saved: with these inside, equal agents would differ in bytes.
LEFT_OUT = ("start_time", "ep_info_buffer", "ep_success_buffer", "lr_schedule", "_surroundings")
LARGEST_ROLLOUT = 2**28  # steps; more would fit into no machine of today
# Only training calls these; an agent that merely plays can do without.
SCHEDULES = ("learning_rate", "clip_range", "clip_range_vf", "ent_coef", "fitness")


class MissingSchedule:
    """Replaces a function that could not be stored, and raises when training calls it."""

    def __init__(self, name: str, type_name: str) -> None:
        self.name, self.type_name = name, type_name

    def __call__(self, _: Any) -> float:
        raise UserError(
            f"{self.name} could not be stored with the agent (it was a {self.type_name}), and training needs "
            f"it: give it to load, as {self.name}=... or in custom_objects={{{self.name!r}: ...}}."
        )


def save(
    learner: BaseAlgorithm, file: archive.File, exclude: Iterable[str] | None, include: Iterable[str] | None
) -> None:
    """All attributes that can be data and all parameters; ``exclude`` and ``include`` as in SB3."""
    data, states = contents(learner, exclude, include)
    archive.write_agent(file, data, states, kind=type(learner).__name__)


def contents(
    learner: BaseAlgorithm, exclude: Iterable[str] | None = None, include: Iterable[str] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What ``save`` writes: attributes and state_dicts."""
    names, _ = learner._get_torch_save_params()
    left_out = {*learner._excluded_save_params(), *LEFT_OUT, *(exclude or ())} - set(include or ())
    left_out |= {name.split(".")[0] for name in names}
    data = {name: value for name, value in vars(learner).items() if name not in left_out}
    data["policy_class"] = _policy_name(learner.policy_class)
    noted = surroundings.note(learner)
    return data | ({"surroundings": noted} if noted else {}), learner.get_parameters()


def read(
    file: archive.File, device: torch.device | str = "auto", custom_objects: dict[str, Any] | None = None
) -> archive.Agent:
    """The content of a file of ours, or of one that sb3-contrib saved."""
    if contrib.is_contrib_zip(file):
        agent = contrib.read_contrib(file, device=device, custom_objects=custom_objects)
        _take_statistics(agent, file)
        return agent
    agent = archive.read_agent(file, device=device, custom_objects=custom_objects)
    if agent.kind == archive.REPLAY:
        raise UserError(
            f"{file} holds a replay, not an agent: load the agent, then give this file to its "
            "load_replay_buffer."
        )
    return agent


def _take_statistics(agent: archive.Agent, file: archive.File) -> None:
    """contrib's file has none of VecNormalize's: they come from the one beside it, which is said."""
    path = contrib_normalize.beside(Path(file)) if isinstance(file, str | os.PathLike) else None
    numbers = None if path is None else contrib_normalize.read_normalization(path)
    if numbers is not None:
        agent.data["surroundings"] = {"wrappers": [surroundings.NORMALIZED], "normalization": numbers}
        warn(f"the observations of {file} are normalised by the statistics beside it, {path}.")


def load(
    cls: type[Learner],
    file: archive.File,
    env: GymEnv | None,
    device: torch.device | str,
    custom_objects: dict[str, Any] | None,
    print_system_info: bool,
    force_reset: bool,
    settings: dict[str, Any],
) -> Learner:
    """A learner as it was saved; ``settings`` replace its own, ``custom_objects`` fill gaps too."""
    wrapped: VecEnv | None = None
    replacements = {**(custom_objects or {}), **{k: v for k, v in settings.items() if k != "policy_kwargs"}}
    if env is not None:  # the environment knows its spaces: a file from elsewhere may not
        wrapped = cls._wrap_env(env, 0)
    agent = read(file, device, replacements)
    if print_system_info:
        for title, system in (
            ("CURRENT SYSTEM INFO", archive.versions()),
            ("SAVED MODEL SYSTEM INFO", agent.system),
        ):
            print(f"== {title} ==", *(f"- {name}: {version}" for name, version in system.items()), sep="\n")
    return build(cls, agent, wrapped, device, force_reset=force_reset, settings=settings)


def build(
    cls: type[Learner],
    agent: archive.Agent,
    env: VecEnv | None,
    device: torch.device | str,
    *,
    force_reset: bool,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> Learner:
    """A learner from what a file held."""
    data = dict(agent.data)
    for name in SCHEDULES:
        if name in agent.missing:
            data[name] = MissingSchedule(name, agent.missing[name])
    for name in ("observation_space", "action_space"):
        if env is not None and name in agent.missing:
            data[name] = getattr(env, name)
        else:
            archive.require(agent, name)
    missing_kwargs = any(path.startswith("policy_kwargs") for path in agent.missing)
    if missing_kwargs and "policy_kwargs" in settings:
        stored = settings["policy_kwargs"]
    else:
        stored = archive.require(agent, "policy_kwargs")
    if "policy_kwargs" in settings and settings["policy_kwargs"] != stored:
        raise UserError(
            f"policy_kwargs are {settings['policy_kwargs']}, but the agent was saved with {stored}: "
            "leave them out, they come with the agent."
        )
    if env is not None:
        check_for_correct_spaces(env, data["observation_space"], data["action_space"])
        data["n_envs"] = env.num_envs
        if force_reset:
            data["_last_obs"] = None
    policy_class = archive.require(agent, "policy_class")
    try:
        return _assemble(cls, agent, data, policy_class, env, device, force_reset, settings)
    except UserError:
        raise
    except Exception as error:  # what a whole file holds may still be anything
        reason = str(error).split("\n")[0][:200]
        raise FileFault(
            f"the agent's file does not fit together ({type(error).__name__}: {reason}): use it as "
            "it was saved, or save the agent anew."
        ) from error


def _assemble(
    cls: type[Learner],
    agent: archive.Agent,
    data: dict[str, Any],
    policy: Any,
    env: VecEnv | None,
    device: torch.device | str,
    force_reset: bool,
    settings: Mapping[str, Any],
) -> Learner:
    policy_class: type[Any] = policy_named(policy) if isinstance(policy, str) else policy
    learner = cls(policy_class, env, device=device, _init_setup_model=False)  # type: ignore[call-arg]
    memory, noted = data.pop("_last_state", None), data.pop("surroundings", {})
    if env is None:
        learner._surroundings = noted  # type: ignore[attr-defined]
    learning_rate = data.get("learning_rate")
    names = {*vars(learner), *settings, "observation_space", "action_space"}
    for name in {"policy_class", *(agent.added - names)}:
        data.pop(name)  # of custom_objects: what neither file nor learner has stays away, as in SB3
    vars(learner).update(data, **settings)
    learner.action_noise = None  # of SB3's off-policy learners
    if isinstance(learning_rate, MissingSchedule):
        learner.learning_rate = 0.0  # the optimizer is made with a number
    _refuse_oversized(learner, policy_class, agent)
    learner._setup_model()
    if isinstance(learning_rate, MissingSchedule):
        learner.learning_rate, learner.lr_schedule = learning_rate, FloatSchedule(learning_rate)
    fresh: Any = getattr(learner, "_last_state", None)
    if not force_reset and memory is not None and fresh is not None:
        alike = memory.shape == fresh.shape and memory.dtype == fresh.dtype  # what kernels rely on
        learner._last_state = memory if alike else fresh  # type: ignore[attr-defined]
    states = states_for(learner, agent)
    if agent.kind != cls.__name__ and states.keys() != set(learner._get_torch_save_params()[0]):
        raise UserError(
            f"the agent in the file learned by {agent.kind}, not by {cls.__name__}: load it by "
            f"{agent.kind}.load, or take its weights alone by set_parameters."
        )
    learner.set_parameters(states, exact_match=True, device=device)
    return learner


def _refuse_oversized(learner: Any, policy_class: type[Any], agent: archive.Agent) -> None:
    """Check how large network and rollout will be by the settings, before any memory is taken."""
    arguments = {
        "observation_space": learner.observation_space,
        "action_space": learner.action_space,
        **learner.policy_options,
        **learner.policy_kwargs,
    }
    sizing.check_policy(policy_class, arguments, agent.states["policy"])
    steps = learner.n_envs * getattr(learner, "n_steps", 1)
    if not 1 <= steps <= LARGEST_ROLLOUT:
        raise ValueError(f"its settings tell of rollouts of {steps:,} steps")


def states_for(learner: BaseAlgorithm, agent: archive.Agent) -> dict[str, Any]:
    """A file's state_dicts under the names that this learner's parameters have."""
    if agent.kind != contrib.KIND:
        return agent.states
    return contrib.translate_states(agent.states, [name for name, _ in learner.policy.named_parameters()])


def _policy_name(policy_class: type[Any]) -> str | type[Any]:
    """A named policy by its name; a user's own class as it is (storable once it is registered)."""
    try:
        named = policy_named(policy_class.__name__)
    except UserError:
        return policy_class
    return policy_class.__name__ if named is policy_class else policy_class
