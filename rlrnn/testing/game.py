"""Checks of a game: spaces, answers, seeds, ends, saving, batches."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from rlrnn.errors import UserError
from rlrnn.testing import game_batches, game_episodes
from rlrnn.testing.failing import laws_without, running
from rlrnn.testing.game_part import GamePart

LAWS = {**game_episodes.LAWS, **game_batches.LAWS, "checker": game_episodes.checker}


def check_game(
    game: str | Callable[..., Any],
    /,
    *,
    steps: int = 10_000,
    skip: Collection[str] = (),
    **kwargs: Any,
) -> None:
    """Check a game by the laws that this package's own keep.

    Parameters
    ----------
    game
        A registered Gymnasium id, or a class or a function that makes a new environment at every call: a
        ``gymnasium.Env``, or one of our array games, whose batches are then compared with its single copies.
    steps
        In how many random steps an episode must end.
    skip
        Laws to leave out, by name: "spaces", "answers", "seeds", "chance", "ends", "saving", "sending",
        "pictures", "batches", "states", "rounds", "checker" (Gymnasium's own).
    **kwargs
        Keyword arguments of the game.

    Raises
    ------
    rlrnn.errors.CheckError
        At the first law that it breaks: one sentence with the values, and how to mend it.

    Notes
    -----
    The global generators of Python and numpy are left as they were.

    Examples
    --------
    >>> from rlrnn.testing import check_game
    >>> check_game("rlrnn/Recall-v0", length=8)
    """
    chosen = laws_without(skip, LAWS, "check_game")
    if not isinstance(game, str) and not callable(game):
        raise UserError(
            f"{game!r} makes no game: give a registered id, or a class or a function that makes a new one."
        )
    part = GamePart(game, kwargs, steps)
    before = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        for law in chosen:
            with running(f"{part}, in the law {law!r},"):
                LAWS[law](part)
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
