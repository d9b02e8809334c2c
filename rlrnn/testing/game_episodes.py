"""Laws of one copy: spaces, answers, seeds, ends, and Gymnasium's own checker."""

from __future__ import annotations

import re
import warnings
from itertools import zip_longest
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.utils.env_checker import check_env

from rlrnn.envs.engines.serial import check_spaces
from rlrnn.envs.engines.workers import sendable
from rlrnn.errors import CheckError, MissingExtraError, UserError
from rlrnn.games.array_game import SingleGame
from rlrnn.network.actuators import check_supported as check_actions
from rlrnn.network.sensors import check_supported
from rlrnn.testing.failing import fail, running
from rlrnn.testing.game_part import Env, GamePart, Moment, actions, outside, seen

PLAYED = 100  # steps of a short play
SEEDS = range(1, 13)
OPINIONS = re.compile(r"recommend|infinity|Not able to test alternative render modes")


def spaces(part: GamePart) -> None:
    """Its spaces are of the kinds that networks read and drive, and every copy has the same."""
    one, other = part.make(), part.make()
    for name in ("observation_space", "action_space"):
        if not isinstance(getattr(one, name, None), gym.spaces.Space):
            fail(f"{part} has no {name}: set one of gymnasium.spaces in its constructor.")
    with running(f"the spaces of {part}"):
        check_spaces(str(part), one.observation_space, one.action_space)
        check_supported(one.observation_space)
        check_actions(one.action_space)
    if one.unwrapped is other.unwrapped:
        fail(f"{part} makes the same object twice: make a new one at every call, as copies run side by side.")
    for name in ("observation_space", "action_space"):
        if getattr(one, name) != getattr(other, name):
            fail(
                f"two copies of {part} differ in their {name}, {getattr(one, name)} and "
                f"{getattr(other, name)}: let it depend on keyword arguments alone."
            )


def answers(part: GamePart) -> None:
    """Observations lie in their space, rewards are finite numbers, and every action is taken."""
    env = part.make()
    for moment in part.play(env, 0, PLAYED):
        _check(part, env, moment)
    for action in _corners(env):
        part.reset(env, 0)
        _check(part, env, part.step(env, action, f"the action {action}, an end of its space"))


def seeds(part: GamePart) -> None:
    """The same seed gives the same episodes, in the same copy and in a new one, whatever else was sampled."""
    env = part.make()
    first = list(part.play(env, 3, PLAYED))
    list(part.play(env, 4, 7))
    _same(part, first, list(part.play(env, 3, PLAYED)), "when the same copy is reset to it")
    np.random.seed(5)  # noqa: NPY002  (what a game must not draw from)
    _same(part, first, list(part.play(part.make(), 3, PLAYED)), "in a new copy")


def chance(part: GamePart) -> None:
    """In a random game, other seeds and later episodes differ."""
    env = part.make()
    known = [_bytes(part, env, seed) for seed in SEEDS]
    if len(set(known)) == 1:
        free = {_bytes(part, part.make(), None) for _ in range(3)}
        if len(free) > 1:
            fail(
                f"{part} plays the same with the seeds 1 to {SEEDS[-1]}, but otherwise without a seed: "
                "begin reset with super().reset(seed=seed), and sample from self.np_random."
            )
        return
    later = []
    for seed in SEEDS:
        part.reset(env, seed)
        later.append(_bytes(part, env, None))
    if later == known:
        fail(
            f"{part} begins every episode after reset(seed=...) as the first: seed only where a seed is "
            "given, so that later episodes differ."
        )


def ends(part: GamePart) -> None:
    """Episodes end, and the next begins afresh."""
    env = part.make()
    part.reset(env, 1)
    for t, action in enumerate(actions(env.action_space, part.steps), start=1):
        moment = part.step(env, action, f"step {t}")
        if moment.terminated or moment.truncated:
            break
    else:
        fail(
            f"an episode of {part} has not ended after {part.steps:,} random steps: give it a time limit, "
            "by max_episode_steps where it is registered or gymnasium.wrappers.TimeLimit; or steps= to "
            "this check."
        )
    if isinstance(env.unwrapped, SingleGame) and moment.terminated:
        _check_refusal(part, env, action)
    _check(part, env, part.reset(env, where="the beginning of the episode after an end"))
    _check(part, env, part.step(env, action, "the first step after an end"))


def saving(part: GamePart) -> None:
    """With get_state and set_state, a game resumes from a state to the same bytes, also in a new copy."""
    env, other = part.make(), part.make()
    if not all(hasattr(env.unwrapped, name) for name in ("get_state", "set_state")):
        return
    one: Any = env.unwrapped
    two: Any = other.unwrapped
    list(part.play(env, 2, 15))
    with running(f"get_state and set_state of {part}"):
        state = one.get_state()
        two.reset(seed=9)
        two.set_state(state)
    _same(part, list(_on(part, one)), list(_on(part, two)), "when resumed from a saved state", "state")


def sending(part: GamePart) -> None:
    """What makes it can be sent to worker processes."""
    with running(f"sending {part} to a worker process"):
        sendable([part.make], str(part))


def pictures(part: GamePart) -> None:
    """Where it says that it draws, a picture is [height, width, 3] of uint8."""
    named = isinstance(part.game, str | type)  # a function need not know of render modes
    if not named or "rgb_array" not in part.make().metadata.get("render_modes", ()):
        return
    try:
        with running(f"drawing {part} with render_mode='rgb_array'"):
            env = part.make(render_mode="rgb_array")
            part.reset(env, 0)
            picture: Any = env.render()
    except CheckError as error:
        if isinstance(error.__cause__, MissingExtraError | gym.error.DependencyNotInstalled):
            return  # what draws is not installed
        raise
    if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.shape[-1] != 3:
        found = f"shape {picture.shape}" if isinstance(picture, np.ndarray) else type(picture).__name__
        fail(f"render of {part} gives {found}: with rgb_array, it gives an array [height, width, 3].")
    if picture.dtype != np.uint8:
        fail(f"render of {part} gives numbers of {picture.dtype}: colours are np.uint8, from 0 to 255.")


def checker(part: GamePart) -> None:
    """Gymnasium's own checker complains of nothing but matters of taste."""
    env = part.make().unwrapped
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with running(f"Gymnasium's checker, which looked at {part},"):
            check_env(env, skip_render_check=True)
    for warning in caught:
        message = re.sub(r"\x1b\[\d+m|WARN: ", "", str(warning.message)).strip()
        if issubclass(warning.category, UserWarning) and not OPINIONS.search(message):
            fail(f"Gymnasium's checker says of {part}: {message.rstrip('.')}; mend it accordingly.")


def _check(part: GamePart, env: Env, moment: Moment) -> None:
    if reason := outside(env.observation_space, moment.observation):
        fail(
            f"{part} shows {reason}, at {moment.where}: mend the observation (.astype of its type, "
            "np.clip), or the space."
        )
    if not np.isfinite(moment.reward):
        fail(f"{part} gave the reward {moment.reward} at {moment.where}: rewards are finite numbers.")


def _check_refusal(part: GamePart, env: Env, action: Any) -> None:
    """The single copy of an array game takes no step after its end."""
    try:
        env.step(action)
    except UserError:
        return
    fail(f"{part} continues after the end of its episode: leave reset() and step() to SingleGame.")


def _corners(env: Env) -> list[Any]:
    """The ends of the action space."""
    space = env.action_space
    if isinstance(space, Discrete):
        return [space.dtype.type(space.start), space.dtype.type(space.start + space.n - 1)]
    return [space.low.copy(), space.high.copy()] if isinstance(space, Box) else []


def _bytes(part: GamePart, env: Env, seed: int | None) -> bytes:
    """An episode's beginning, by the same few actions for every seed."""
    moments = [part.reset(env, seed)]
    for t, action in enumerate(actions(env.action_space, 20), start=1):
        moments.append(part.step(env, action, f"step {t}"))
        if moments[-1].terminated or moments[-1].truncated:
            break
    return b"".join(seen(moment.observation) + str(moment[2:]).encode() for moment in moments)


def _on(part: GamePart, env: Any) -> Any:
    """What follows without a reset, until the end of the episode."""
    for t, action in enumerate(actions(env.action_space, 30), start=1):
        moment = part.step(env, action, f"step {t}")
        yield moment
        if moment.terminated or moment.truncated:
            return


def _same(part: GamePart, one: list[Moment], other: list[Moment], when: str, of: str = "seed") -> None:
    nothing = Moment("", None, 0.0, False, False)
    for first, second in zip_longest(one, other, fillvalue=nothing):
        if reason := second.difference(first):
            mend = (
                "sample all numbers from self.np_random, which super().reset(seed=seed) seeds, and start "
                "every episode anew"
                if of == "seed"
                else "keep all that decides what comes next, its random numbers too"
            )
            fail(f"{part} plays otherwise with the same {of} {when}: {reason}; {mend}.")


LAWS = {law.__name__: law for law in (spaces, answers, seeds, chance, ends, saving, sending, pictures)}
