"""Players: agents (``learners.player``), SB3 models, functions, and a random player."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from gymnasium.spaces import Space
from numpy.typing import NDArray

from rlrnn.errors import UserError


class Player(Protocol):
    """Whatever can be evaluated: it keeps its own recurrent state, one per copy of the game."""

    def reset(self) -> None:
        """Clear the recurrent state."""

    def act(self, observations: Any, starts: NDArray[np.bool_] | None = None) -> NDArray[Any]:
        """Actions [B, ...] for observations [B, ...]; where ``starts`` [B] is true an episode begins."""


def player_of(policy: Any, n_envs: int, deterministic: bool, seed: int) -> Player:
    """The player of an agent, an SB3 model, a player, or a function of observations."""
    if hasattr(policy, "player"):
        player: Player = policy.player(n_envs, deterministic=deterministic, seed=seed)
        return player
    if hasattr(policy, "act") and hasattr(policy, "reset"):
        given: Player = policy
        return given
    if hasattr(policy, "predict"):
        return Predicting(policy.predict, deterministic)
    if callable(policy):
        return Scripted(policy)
    raise UserError(
        f"{policy!r} cannot play: give an agent, an SB3 model, a player with reset and act, or a function of "
        "observations."
    )


class RandomPlayer:
    """Samples every action from the action space, with a generator of its own."""

    def __init__(self, action_space: Space[Any], n_envs: int, seed: int) -> None:
        from gymnasium.vector.utils import batch_space

        self.actions = batch_space(copy.deepcopy(action_space), n_envs)
        self.seed = seed

    def reset(self) -> None:
        """Reseed the action space."""
        self.actions.seed(self.seed)

    def act(self, observations: Any, starts: NDArray[np.bool_] | None = None) -> NDArray[Any]:
        """One sample per copy."""
        return np.asarray(self.actions.sample())


class Predicting:
    """SB3's ``predict``, with its recurrent state kept between steps."""

    def __init__(self, predict: Callable[..., Any], deterministic: bool) -> None:
        self.predict, self.deterministic = predict, deterministic
        self.reset()

    def reset(self) -> None:
        self.state: Any = None

    def act(self, observations: Any, starts: NDArray[np.bool_] | None = None) -> NDArray[Any]:
        actions, self.state = self.predict(
            observations, state=self.state, episode_start=starts, deterministic=self.deterministic
        )
        return np.asarray(actions)


class Scripted:
    """A function of observations."""

    def __init__(self, play: Callable[[Any], Any]) -> None:
        self.play = play

    def reset(self) -> None:
        """A function has no state here to clear."""

    def act(self, observations: Any, starts: NDArray[np.bool_] | None = None) -> NDArray[Any]:
        return np.asarray(self.play(observations))
