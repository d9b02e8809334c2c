"""Play on the screen: an agent in a window, or a person at the keyboard."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from rlrnn.envs import games
from rlrnn.envs.games import Game
from rlrnn.errors import UserError
from rlrnn.experiment.evaluation import copies_for
from rlrnn.experiment.pictures.film import Moment, draws, picture, rate_of, steps
from rlrnn.experiment.pictures.window import LARGEST, Closed, Window

if TYPE_CHECKING:
    from rlrnn.experiment.agents import Agent


@dataclass(frozen=True)
class Hands:
    """Which key is which action of a game."""

    actions: Mapping[str, Any] = field(default_factory=dict)  # by a key's name
    rest: Any = None  # the action where no key is down; None: the game waits for one

    def __str__(self) -> str:
        return ", ".join(f"{key}: {action}" for key, action in self.actions.items())


ARROWS = {
    "rlrnn/CartPole-v1": Hands({"left": 0, "right": 1}, rest="last"),  # which has no rest
    "rlrnn/Pong-v0": Hands({"up": 1, "down": 2}, rest=0),
    "rlrnn/TMaze-v0": Hands({"up": 0, "right": 1, "down": 2, "left": 3}),
    "rlrnn/MiniGridMemory-v0": Hands({"left": 0, "right": 1, "up": 2}),
}


def hands_for(game: Game, space: spaces.Space[Any]) -> Hands:
    """The keys of a game: arrows where it is known, else digits for choices and arrows for numbers."""
    if game.id in ARROWS:
        return ARROWS[game.id]
    if isinstance(space, spaces.Discrete):
        return Hands({str(i): int(space.start) + i for i in range(min(10, int(space.n)))})
    if isinstance(space, spaces.Box) and 1 <= space.shape[0] <= 2 and len(space.shape) == 1:
        keys = [("left", "right"), ("down", "up")][: space.shape[0]]
        rest = np.clip(np.zeros(space.shape), space.low, space.high).astype(space.dtype)
        moves = {}
        for i, pair in enumerate(keys):
            for key, bound in zip(pair, (space.low, space.high), strict=True):
                moves[key] = np.where(np.arange(space.shape[0]) == i, bound, rest).astype(space.dtype)
        return Hands(moves, rest)
    raise UserError(
        f"{game.name} takes {space}, for which there are no keys: games of up to ten choices, or of one or "
        "two numbers, can be played by hand."
    )


class Hand:
    """A player at the keyboard, who sees what the game draws."""

    def __init__(self, window: Window, env: VecEnv, hands: Hands) -> None:
        self.window, self.env, self.hands = window, env, hands
        self.last = next(iter(hands.actions.values()))

    def reset(self) -> None:
        """A person remembers what they like."""

    def act(self, observations: Any, starts: NDArray[np.bool_] | None = None) -> NDArray[Any]:
        """Shows the game, and takes the action of the key that is down."""
        pixels = picture(self.env, LARGEST, Moment(0))
        while True:
            self.window.show(pixels)
            if (action := self._chosen()) is not None:
                self.last = action
                return np.array([action])

    def _chosen(self) -> Any:
        waits = self.hands.rest is None
        for key in self.window.pressed if waits else [*self.window.pressed, *self.window.held]:
            if key in self.hands.actions:
                return self.hands.actions[key]
        return self.last if isinstance(self.hands.rest, str) else self.hands.rest


def play_by_hand(game: Game, episodes: int = 1, *, seed: int = 0, speed: float = 1.0) -> list[float]:
    """Let a person play; returns the points of each episode that was played to its end."""
    points: list[float] = []
    with closing(games.make_vec(game, 1, seed, workers=0, render_mode="rgb_array")) as env:
        hands = hands_for(game, env.action_space)
        with Window(f"{game.title or game.name} ({hands})", speed * rate_of(env)) as window:
            try:
                for moment in steps(Hand(window, env, hands), env, episodes, points):
                    if moment.last is not None:
                        _hold(window, picture(env, LARGEST, moment))
            except Closed:
                pass
    return points


def play_on_screen(
    agent: Agent,
    game: Game,
    episodes: int = 1,
    deterministic: bool = True,
    *,
    seed: int = 0,
    speed: float = 1.0,
) -> list[float]:
    """Show an agent at play; returns the points of each episode that was played to its end."""
    if not draws(agent, game, seed):
        raise UserError(f"{game.name} draws no pictures: its metadata name no render_mode rgb_array.")
    points: list[float] = []
    with closing(copies_for(agent, game, 1, seed, "rgb_array")) as env:
        player = agent.player(1, deterministic=deterministic, seed=seed)
        with Window(f"{game.title or game.name}", speed * rate_of(env)) as window:
            try:
                for moment in steps(player, env, episodes, points):
                    pixels = picture(env, LARGEST, moment)
                    window.show(pixels) if moment.last is None else _hold(window, pixels)
            except Closed:
                pass
    return points


def _hold(window: Window, pixels: NDArray[np.uint8]) -> None:
    """An episode's end stays for a second."""
    for _ in range(max(1, round(window.rate))):
        window.show(pixels)
