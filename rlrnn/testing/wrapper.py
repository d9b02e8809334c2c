"""Checks of a wrapper of batches: spaces, episodes, copies, rounds, saving."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete, Space
from stable_baselines3.common.vec_env import VecEnvWrapper

from rlrnn.common.batches import parts_of, take
from rlrnn.envs.vec import vectorize
from rlrnn.envs.wrappers import WRAPPERS
from rlrnn.envs.wrappers.base import View
from rlrnn.errors import UserError
from rlrnn.network.sensors import check_supported
from rlrnn.testing.failing import fail, laws_without, running
from rlrnn.testing.game_part import outside, seen
from rlrnn.testing.wrapper_part import Views, WrapperPart, is_known

COPIES, STEPS = 4, 25
ROUND = [7, 3, 2**31 + 5, 7]


def spaces(part: WrapperPart) -> None:
    """Every view is an element of the observation space, the last ones of episodes too."""
    env, films = part.make(COPIES), part.films(COPIES)
    with running(f"the observation_space of {part}"):
        check_supported(env.observation_space)
    for name in ("action_space", "num_envs"):
        if getattr(env, name) != getattr(films, name):
            fail(
                f"{part} changes the {name} from {getattr(films, name)} to {getattr(env, name)}: a view "
                "changes observations alone."
            )
    for b, views in enumerate(part.play(env, 5)):
        for episode, row in enumerate(views):
            for t, view in enumerate(row):
                if reason := outside(env.observation_space, view):
                    fail(
                        f"{part} shows {reason}, to copy {b} at step {t} of episode {episode}: mend what "
                        "it shows, or the space that it gives to super().__init__."
                    )


def answers(part: WrapperPart) -> None:
    """Rewards, ends and infos pass through as they are."""
    env, films = part.make(COPIES), part.films(COPIES)
    for batch in (env, films):
        batch.seed(5)
        part.reset(batch)
    if isinstance(env, View):
        _check_infos(part, "reset_infos", env.reset_infos, films.reset_infos, 0)
    for t, row in enumerate(part.plan(COPIES, STEPS), start=1):
        given = row.copy()
        found, wanted = part.step(env, row), films.step(row)
        if not np.array_equal(row, given):
            fail(f"{part} changes the actions that it is given: work on a copy.")
        for name, one, other in zip(("rewards", "dones"), found[1:3], wanted[1:3], strict=True):
            if not np.array_equal(one, other):
                fail(f"{part} gives the {name} {one} for {other} at step {t}: pass them on unchanged.")
        _check_infos(part, "infos", found[3], wanted[3], t)
        if isinstance(env, View):  # SB3's own do not pass them on
            _check_infos(part, "reset_infos", env.reset_infos, films.reset_infos, t)


def episodes(part: WrapperPart) -> None:
    """Observations of one episode do not affect the views of the next, nor those after a reset."""
    for how, steps in (("its end", STEPS), ("a reset", 1)):
        shown = []
        for cut in (False, True):
            env = part.make(COPIES, cut=cut)
            views = part.play(env, 5, steps, cut=cut)
            if how == "a reset":
                now = part.reset(env)
                views = [[[], [copy.deepcopy(take(now, b))]] for b in range(COPIES)]
            shown.append([copy_views[1:] for copy_views in views])
        for b, (one, other) in enumerate(zip(*shown, strict=True)):
            if _bytes(one) != _bytes(other):
                fail(
                    f"what {part} remembers of copy {b} from an episode shows in the next, after {how}: let "
                    "begin clear what is remembered of the copies that it is given."
                )


def copies(part: WrapperPart) -> None:
    """Copy b of a batch has the views of a copy alone with its seed, and the same seed has the same views."""
    whole = part.play(part.make(COPIES), 5)
    if _all(whole) != _all(part.play(part.make(COPIES), 5)):
        fail(
            f"{part} shows other views for the same seed: sample from self.chance, which the "
            "seeds of the copies decide."
        )
    for b in range(COPIES):
        alone = part.play(part.make(1), 5 + b, first=b)
        if _bytes(alone[0]) != _bytes(whole[b]):
            fail(
                f"{part} shows copy {b} of a batch of {COPIES} other views than a copy alone with its "
                "seed: compute each copy by itself, and sample from self.chance for the given copies."
            )


def arrays(part: WrapperPart) -> None:
    """Returned arrays are never written again, and writing into them changes no memory."""
    env, other = part.make(COPIES), part.make(COPIES)
    for batch in (env, other):
        batch.seed(5)
    first = part.reset(env)
    part.reset(other)
    kept = [(first, copy.deepcopy(first))]
    for row in part.plan(COPIES, STEPS):
        now, _, _, infos = part.step(env, row)
        kept.append((now, copy.deepcopy(now)))
        wanted, *_ = part.step(other, row)
        if seen(now) != seen(wanted):
            fail(
                f"{part} remembers what was written into the arrays that it returned: remember copies, and "
                "return new arrays."
            )
        kept += [(info[LAST], copy.deepcopy(info[LAST])) for info in infos if LAST in info]
        for shown in parts_of(wanted).values():
            shown[...] = 0  # as a caller may
    for shown, was in kept:
        if seen(shown) != seen(was):
            fail(f"{part} writes into arrays that it returned before: return new ones.")


def rounds(part: WrapperPart) -> None:
    """In a round, each seed has the views of the first episode of a copy alone with it."""
    env = part.make(len(ROUND))
    if not isinstance(env, View):
        return
    with running(f"a round of {part}"):
        now = env.open(ROUND)
        shown: list[list[Any]] = [[copy.deepcopy(take(now, b))] for b in range(len(ROUND))]
        playing = np.arange(len(ROUND))
        while len(playing):
            row = part.plan(1, STEPS)[len(shown[playing[0]]) - 1]
            now, _, ended = env.play(np.repeat(row, len(playing), axis=0))
            for place, b in enumerate(playing.tolist()):
                shown[b].append(copy.deepcopy(take(now, place)))
            if ended.any():
                env.keep(np.flatnonzero(~ended))
                playing = playing[~ended]
    for b, seed in enumerate(ROUND):
        alone = part.play(part.make(1), seed)[0][0]
        if _bytes([shown[b]]) != _bytes([alone]):
            fail(
                f"{part} shows the seed {seed} other views in a round than to a copy alone: name in "
                "remembered() every attribute that it remembers by, as dicts of arrays [B, ...]."
            )
    if _all(part.play(env, 5)) != _all(part.play(part.make(len(ROUND)), 5)):
        fail(
            f"{part} shows other views after a round than before: name in remembered() what it remembers by."
        )


def saving(part: WrapperPart) -> None:
    """Over a game that can be saved, the views resume from a state to the same bytes."""
    try:
        env, other = (part.around(vectorize("rlrnn/CartPole-v1", 3)) for _ in range(2))
    except UserError:
        return  # not for spaces as these
    if not isinstance(env, View):
        return
    plan = [np.array([t % 2, 1, 0]) for t in range(30)]
    env.seed(1)
    env.reset()
    other.reset()
    with running(f"get_state and set_state of {part}"):
        for row in plan[:10]:
            env.step(row)
        other.set_state(copy.deepcopy(env.get_state()))
        for t, row in enumerate(plan, start=1):
            if seen(env.step(row)[0]) != seen(other.step(row)[0]):
                fail(
                    f"{part} resumes from its saved state to other views after {t} steps: name in "
                    "remembered() every attribute that it remembers by."
                )


def _check_infos(part: WrapperPart, name: str, found: Any, wanted: Any, t: int) -> None:
    for b, (mine, known) in enumerate(zip(found, wanted, strict=True)):
        if lost := sorted(known.keys() - mine.keys() - {LAST}):
            fail(f"{part} loses {lost[0]!r} from the {name} of copy {b} at step {t}: pass them on.")


def _bytes(views: Views) -> list[list[bytes]]:
    return [[seen(view) for view in row] for row in views]


def _all(views: list[Views]) -> list[list[list[bytes]]]:
    return [_bytes(each) for each in views]


LAST = "terminal_observation"
LAWS = {law.__name__: law for law in (spaces, answers, copies, episodes, arrays, rounds, saving)}


def check_wrapper(
    wrapper: str | Callable[..., VecEnvWrapper],
    /,
    *,
    observation_space: Space[Any] | None = None,
    action_space: Space[Any] | None = None,
    skip: Collection[str] = (),
    **options: Any,
) -> None:
    """Check a wrapper of batches by the laws that this package's own keep.

    Parameters
    ----------
    wrapper
        A class derived from ``rlrnn.envs.wrappers.base.View``, which takes the batch first, or a name such as
        "delay".
        Stable-Baselines3's wrappers of vector environments are checked as far as they go.
    observation_space, action_space
        Of the game beneath: a vector of four numbers and Discrete(3) if not given.
    skip
        Laws to leave out, by name: "spaces", "answers", "copies", "episodes", "arrays", "rounds", "saving".
    **options
        Options of the wrapper.

    Raises
    ------
    rlrnn.errors.CheckError
        At the first law that it breaks: one sentence with the values, and how to mend it.

    Examples
    --------
    >>> from rlrnn.testing import check_wrapper
    >>> check_wrapper("stack", frames=3)
    """
    chosen = laws_without(skip, LAWS, "check_wrapper")
    if not is_known(wrapper):
        raise UserError(
            f"{wrapper!r} is no wrapper: give a class derived from rlrnn.envs.wrappers.base.View, or one of "
            f"{', '.join(WRAPPERS)}."
        )
    below = Box(-1.0, 1.0, (4,)) if observation_space is None else observation_space
    part = WrapperPart(wrapper, below, Discrete(3) if action_space is None else action_space, options)
    for law in chosen:
        with running(f"{part}, in the law {law!r},"):
            LAWS[law](part)
