"""The wrappers that an agent learned behind: what they changed is missing where it plays a game by name.

They are noted with the agent. Where it plays copies made here, SB3's VecNormalize is put back,
as that holds no more than numbers; a warning names the others, which may be anything.

Known to leave alone what is seen and done: VecMonitor, VecCheckNan, VecVideoRecorder, VecNormalize of rewards
alone; VecTransposeImage, which every learner puts on by itself; gymnasium's RewardWrapper and all else of its
wrappers that is neither an ObservationWrapper nor an ActionWrapper.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import (
    VecCheckNan,
    VecEnv,
    VecEnvWrapper,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
    VecVideoRecorder,
)
from torch import Tensor

from rlrnn.common.batches import parts_of, whole_of
from rlrnn.errors import warn
from rlrnn.network.sensors import RunningNormalizer, Sensors

HARMLESS = (VecMonitor, VecCheckNan, VecVideoRecorder, VecTransposeImage)
INNER = (gym.ObservationWrapper, gym.ActionWrapper)  # kinds of wrappers around single environments
NORMALIZED = VecNormalize.__name__
SETTINGS = ("clip_obs", "epsilon", "norm_obs_keys")  # of VecNormalize, as far as observations go
OWN_SETTINGS = {
    "clip_obs": RunningNormalizer.CLIP,
    "epsilon": RunningNormalizer.EPSILON,
}  # our own normalizer's


def wrappers_of(env: VecEnv | None) -> list[str]:
    """Names of the wrappers that may change what is seen or done, outermost first."""
    names: list[str] = []
    while isinstance(env, VecEnvWrapper):
        of_rewards = isinstance(env, VecNormalize) and not env.norm_obs
        if type(env) not in HARMLESS and not of_rewards:
            names.append(type(env).__name__)
        env = env.venv
    if env is not None:
        names += [kind.__name__ for kind in INNER if _inside(env, kind)]
    return names


def _inside(env: VecEnv, kind: type[gym.Wrapper[Any, Any, Any, Any]]) -> bool:
    try:
        return any(env.env_is_wrapped(kind, [0]))
    except Exception:  # a user's own vector environment need not know
        return False


def of(env: VecEnv | None) -> dict[str, Any]:
    """The beginning of a note, from an environment that is open: its single ones are checked, too."""
    names = wrappers_of(env)
    return {"wrappers": names} if names else {}


def note(learner: BaseAlgorithm) -> dict[str, Any]:
    """The note in a saved agent: {} if there was no wrapper between it and its game."""
    result: dict[str, Any] | None = getattr(learner, "_surroundings", None)
    if result is None:  # no learner of ours
        result = of(getattr(learner, "env", None))
    normalizer = learner.get_vec_normalize_env() if NORMALIZED in result.get("wrappers", ()) else None
    return result if normalizer is None else {**result, "normalization": _numbers(normalizer)}


def as_in_training(learner: BaseAlgorithm, env: VecEnv) -> VecEnv:
    """Copies of a game behind the agent's VecNormalize, if it learned behind one and they are without."""
    noted = note(learner)
    if "normalization" not in noted or NORMALIZED in wrappers_of(env):
        return env
    return _normalize(env, noted["normalization"])


def as_own(learner: BaseAlgorithm, sensors: Sensors) -> dict[str, Tensor] | None:
    """What the agent's VecNormalize has learned, as the buffers of sensors that normalise by themselves.

    None where these would show something else: numbers clipped otherwise, other parts, a wrapper around it.
    """
    noted = note(learner)
    wrappers, numbers = noted.get("wrappers", []), noted.get("normalization", {})
    known, own = numbers.get("statistics", {}), sensors.normalized
    alike = all(numbers.get(name) == value for name, value in OWN_SETTINGS.items())
    outermost = NORMALIZED not in wrappers[1:]
    twice = any(isinstance(module, RunningNormalizer) for module in learner.policy.modules())
    if not (alike and outermost and known.keys() == own.keys()) or twice:
        return None
    buffers = {}
    for key, normalizer in own.items():
        count = known[key].get("count", max(1, learner.num_timesteps))  # older files do not say
        for name, value in (("mean", known[key]["mean"]), ("variance", known[key]["var"]), ("count", count)):
            tensor = torch.as_tensor(np.asarray(value), dtype=torch.float32)
            fits = tensor.shape == getattr(normalizer, name).shape and tensor.isfinite().all()
            if not fits or (name != "mean" and (tensor < 0).any()):
                return None
            buffers[f"normalizers.{sensors.fields[key]}.{name}"] = tensor
    return buffers


def warn_of_others(learner: BaseAlgorithm, env: VecEnv, name: str) -> None:
    """A ``UserWarning`` where the agent learned behind wrappers that these copies of a game lack."""
    lacking = Counter(note(learner).get("wrappers", ())) - Counter(wrappers_of(env))
    if lacking:
        warn(
            f"the agent learned behind {', '.join(lacking)}, which {name} lacks, and may see or do other "
            "things here than it learned: let it play its own environments, by rlrnn.record(agent, env) or "
            "SB3's evaluate_policy, or give the game's file these wrappers."
        )


def _numbers(normalizer: VecNormalize) -> dict[str, Any]:
    """Mean, variance, count of each part of an observation ("" where it has none); how they are used."""
    parts = parts_of(normalizer.obs_rms)
    names = "mean", "var", "count"
    return {
        "statistics": {key: {name: getattr(rms, name) for name in names} for key, rms in parts.items()},
        **{name: getattr(normalizer, name) for name in SETTINGS},
    }


def _normalize(env: VecEnv, numbers: Mapping[str, Any]) -> VecEnv:
    """VecNormalize that learns no more, and leaves rewards as they are; other observations go as they are."""
    boxes = parts_of(env.observation_space)
    for key, one in numbers["statistics"].items():
        if key not in boxes or boxes[key].shape != one["mean"].shape:
            return env
    settings = {name: numbers[name] for name in SETTINGS}
    wrapped = VecNormalize(env, training=False, norm_reward=False, **settings)
    parts = {}
    for key, one in numbers["statistics"].items():
        parts[key] = RunningMeanStd(shape=one["mean"].shape)
        parts[key].mean, parts[key].var = one["mean"], one["var"]
    wrapped.obs_rms = whole_of(parts)
    return wrapped
