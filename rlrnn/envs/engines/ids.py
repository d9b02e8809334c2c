"""Gymnasium ids: what is registered under one, and one clear sentence where it cannot be made."""

import difflib
import importlib
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.spaces import Dict, Tuple
from gymnasium.utils import RecordConstructorArgs
from gymnasium.wrappers import FlattenObservation

from rlrnn.errors import GAME_ERRORS, EnvironmentFault, MissingExtraError, UserError, game_fault, place

HOMES = {  # what ids are like: (the module whose import registers them, the extra that installs the module)
    "rlrnn/*": ("rlrnn.games", ""),
    "ALE/*": ("ale_py", "atari"),
    "MiniGrid-*": ("minigrid", "minigrid"),
    "BabyAI-*": ("minigrid", "minigrid"),
    "popgym-*": ("popgym", "popgym"),
    "*BulletEnv-v*": ("pybullet_envs_gymnasium", "pybullet"),
}
VARIABLE = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
EXTRAS = {  # how an entry point begins: the extra with what it imports
    "gymnasium.envs.box2d": "box2d",
    "pybullet_envs_gymnasium": "pybullet",
}


def find_spec(id: str) -> EnvSpec:  # noqa: A002  (Gymnasium's own word)
    """What is registered under the id; the packages of `HOMES` are imported when an id asks for them."""
    for like, (module, extra) in HOMES.items():
        if fnmatchcase(id, like) and id not in gym.registry:
            try:
                importlib.import_module(module)
            except ImportError as error:
                raise MissingExtraError(_missing(id, error, extra)) from error
    if id not in gym.registry:
        raise UserError(
            f"No environment is registered as {id!r}{closest(id, '; {}?') or '.'} If it is your own, import "
            "the module that registers it first (--import MODULE on the command line)."
        )
    return gym.registry[id]


def is_registered(id: str) -> bool:  # noqa: A002
    """Whether Gymnasium knows the id by now."""
    return id in gym.registry


def registered(id: str) -> EnvSpec | None:  # noqa: A002
    """What ``gym.make`` would find by now under an id, or under one without its version; None for nothing."""
    if id in gym.registry:
        return gym.registry[id]
    every = [spec for spec in gym.registry.values() if spec.version is not None]
    versions = [spec for spec in every if spec.id == f"{id}-v{spec.version}"]
    return max(versions, key=lambda spec: spec.version or 0, default=None)


def closest(id: str, words: str = " ({}?)") -> str:  # noqa: A002
    """The question for the ids that are nearest to one that is not registered; "" where none is near."""
    close = difflib.get_close_matches(id, gym.registry, n=3)
    return words.format(f"did you mean {' or '.join(map(repr, close))}") if close else ""


def make_single(spec: EnvSpec, kwargs: Mapping[str, Any]) -> gym.Env[Any, Any]:
    """One environment as registered, with its time limit and without Gymnasium's checker.

    A Tuple of observations, which is no array, becomes one vector.
    """
    with clear_errors(spec, spec.entry_point, kwargs):
        env = gym.make(spec, disable_env_checker=True, **kwargs)
    if isinstance(env.observation_space, Tuple):
        return FlattenObservation(env)
    return WithoutMission(env) if WithoutMission.fits(env) else env


class WithoutMission(gym.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """A MiniGrid game without its mission, a text that is the same in every episode."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)  # so that the environment's spec can name its wrappers
        gym.ObservationWrapper.__init__(self, env)
        assert isinstance(env.observation_space, Dict)
        self._keys = [key for key in env.observation_space if key != "mission"]
        self.observation_space = Dict({key: env.observation_space[key] for key in self._keys})

    @staticmethod
    def fits(env: gym.Env[Any, Any]) -> bool:
        """Whether there is a mission, and one without placeholders for what differs between episodes."""
        space = env.observation_space
        mission = space.spaces.get("mission") if isinstance(space, Dict) else None
        return getattr(mission, "ordered_placeholders", ()) is None

    def observation(self, observation: Any) -> Any:
        """All but the mission."""
        return {key: observation[key] for key in self._keys}


@contextmanager
def clear_errors(spec: EnvSpec, entry_point: Any, kwargs: Mapping[str, Any]) -> Iterator[None]:
    """Turn whatever the constructor of an environment raises into one sentence that names the remedy."""
    try:
        yield
    except UserError:
        raise
    except (ImportError, gym.error.DependencyNotInstalled) as error:
        extra = next((name for home, name in EXTRAS.items() if str(entry_point).startswith(home)), "")
        raise MissingExtraError(_missing(spec.id, error, extra)) from error
    except GAME_ERRORS as error:
        arguments = f" with {dict(kwargs)}" if kwargs else ""
        accepted = f" It takes {_parameters(entry_point)}." if isinstance(error, TypeError) else ""
        if isinstance(error, SystemExit):
            raise game_fault(f"{spec.id}{arguments}", "its constructor", error) from error
        raise EnvironmentFault(
            f"Making {spec.id}{arguments} raised {type(error).__name__}: {error}{place(error)}.{accepted}"
        ) from error


def _missing(id: str, error: Exception, extra: str) -> str:  # noqa: A002
    remedy = f'; install it with pip install "rlrnn[{extra}]"' if extra else ""
    return f"{id} needs a package that is not installed ({error}){remedy}."


def _parameters(entry_point: Any) -> str:
    """The keyword arguments that an entry point declares."""
    creator: Any = entry_point if callable(entry_point) else load_env_creator(entry_point)
    classes = creator.__mro__[:-1] if isinstance(creator, type) else ()
    names: list[str] = []
    # A class hands its **kwargs on to the next one.
    for makes in [vars(each)["__init__"] for each in classes if "__init__" in vars(each)] or [creator]:
        parameters = inspect.signature(makes).parameters.values()
        names += [parameter.name for parameter in parameters if parameter.kind not in VARIABLE]
        if all(parameter.kind != VARIABLE[1] for parameter in parameters):
            break
    return ", ".join(name for name in dict.fromkeys(names) if name != "self") or "no arguments"
