"""What there is to know of a game before an agent learns it: a random player plays it, and looks.

``rlrnn.testing.check_game`` holds a game that is being written to laws; this describes any game.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv
from stable_baselines3.common.vec_env import VecEnv

from rlrnn.common.batches import parts_of
from rlrnn.common.settings import check_seed, check_whole, takes_plain
from rlrnn.common.texts import html
from rlrnn.envs import games
from rlrnn.envs.engines.serial import Maker
from rlrnn.envs.games import Game
from rlrnn.envs.vec import from_envs, from_vector_env
from rlrnn.envs.wrappers import wrap
from rlrnn.envs.wrappers.base import state_of
from rlrnn.errors import UserError, games_of
from rlrnn.experiment import agents, statistics
from rlrnn.experiment.evaluation import EVALUATION_SEED
from rlrnn.experiment.players import RandomPlayer
from rlrnn.experiment.random_play import LONGEST, MASKS, RandomPlay
from rlrnn.experiment.spaces import check_supported, words

if TYPE_CHECKING:
    from rich.table import Table

COPIES = 10  # played side by side
COMPARED = 100  # steps of the episodes that the same seed must repeat
LONG = 200  # steps, two horizons of the default discount
LARGE, SMALL = 10.0, 0.05  # scales of numbers that a network reads badly


@dataclass(frozen=True)
class Check:
    """What was found of a game; ``to_json`` has all of it as plain data."""

    game: str
    observations: str  # in words
    actions: str
    learners: tuple[str, ...]  # tables of a recipe whose learners take these spaces
    points: tuple[float, ...]  # of each episode of a random player
    lengths: tuple[int, ...]  # steps, in the same order
    truncated: float  # share of the episodes that a time limit ended
    rewards: tuple[float, float]  # the smallest and the largest of a step
    rewarded: float  # share of the steps whose reward is not 0
    seeded: bool  # the same seed gives the same episode
    varied: bool  # another seed gives another one
    saved: bool  # its state can be saved, so that a training is resumed to the same bytes
    masked: bool  # it says which actions are allowed
    steps_per_second: float  # of all copies together, in one process
    warnings: tuple[str, ...]
    advice: tuple[str, ...]

    @property
    def mean(self) -> float:
        """Mean points of a random player; 0 where no episode ended."""
        return statistics.mean([self.points]) if self.points else 0.0

    @property
    def sd(self) -> float:
        """Their standard deviation over episodes."""
        return statistics.sd([self.points]) if self.points else 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**dataclasses.asdict(self), "mean": self.mean, "sd": self.sd}

    def __repr__(self) -> str:
        flaws = f", {len(self.warnings)} warning{'s' * (len(self.warnings) > 1)}" if self.warnings else ""
        return (
            f"{self.game}: {self.observations} -> {self.actions}; a random player wins {self.mean:.2f} "
            f"(sd {self.sd:.2f}, {len(self.points)} episodes){flaws}"
        )

    def _repr_html_(self) -> str:
        return html(self.table())

    def table(self) -> Table:
        """All of it for the shell."""
        from rich.table import Table

        grid = Table.grid(padding=(0, 2))
        grid.title, grid.title_justify = self.game, "left"
        for name, text in self.rows():
            grid.add_row(name, text)
        for name, sentences in (("warning", self.warnings), ("advice", self.advice)):
            for sentence in sentences:
                grid.add_row(name, sentence)
        return grid

    def rows(self) -> list[tuple[str, str]]:
        """What was measured, in words."""
        few, many = (min(self.lengths), max(self.lengths)) if self.lengths else (0, 0)
        span = f"{few:,}" if few == many else f"{few:,} to {many:,}"
        ends = f"{span} steps, mean {np.mean(self.lengths):,.0f}" if self.lengths else "none ended"
        cut = f"; a time limit ended {self.truncated:.0%}" if self.truncated else ""
        seeds = "the same episode again" if self.seeded else "another episode each time"
        others = "another episode" if self.varied else "the same episode"
        low, high = self.rewards
        return [
            ("sees", self.observations),
            ("does", self.actions),
            ("learners", ", ".join(self.learners)),
            ("random player", f"{self.mean:,.2f} points, sd {self.sd:,.2f}, {len(self.points)} episodes"),
            ("episodes", ends + cut),
            ("rewards", f"{low:g} to {high:g} a step, {self.rewarded:.0%} of the steps not 0"),
            ("same seed", f"{seeds}; another seed: {others}"),
            ("saved", "yes: a training is resumed to the same bytes" if self.saved else "no"),
            ("masks", "yes" if self.masked else "no"),
            ("speed", f"{self.steps_per_second:,.0f} steps per second, in one process"),
        ]


@takes_plain
def check(
    game: str | Path | Game | gym.Env[Any, Any] | VecEnv | VectorEnv[Any, Any, Any] | Maker,
    episodes: int = 50,
    *,
    seed: int = EVALUATION_SEED,
    kwargs: Mapping[str, Any] | None = None,
    wrappers: Sequence[Mapping[str, Any]] = (),
) -> Check:
    """Describe a game by random play: spaces, seeds, rewards, lengths, speed; and what one would advise.

    :param game: a game of the catalogue, a game file's path, a registered Gymnasium id, an environment, its
        class, or another function that makes one
    :param episodes: that a random player plays
    :param seed: of the episodes
    :param kwargs: further keyword arguments of a game that is named
    :param wrappers: ours by name, around that game's own
    """
    check_whole("episodes", episodes, 1)
    check_seed(seed)
    copies = min(COPIES, episodes)
    if isinstance(game, str | Path | Game):
        chosen = games.game(game)
        env = games.make_vec(chosen, copies, seed, kwargs=kwargs, wrappers=wrappers, workers=0)
        with closing(env):
            return _checked(
                env, chosen.name, str(game) if isinstance(game, str | Path) else "", episodes, seed
            )
    made = isinstance(game, gym.Env | VecEnv | VectorEnv)
    if made and kwargs:
        raise UserError(f"kwargs is {dict(kwargs)!r}, but {game!r} is made already: give its name or class.")
    spec = getattr(game, "spec", None)
    registered = spec.id if spec is not None and games.is_game(spec.id) else ""
    env = _copies(game, copies, seed, kwargs or {})
    with nullcontext() if made else closing(env):
        return _checked(wrap(env, wrappers), getattr(env, "name", "the game"), registered, episodes, seed)


def _copies(game: Any, copies: int, seed: int, kwargs: Mapping[str, Any]) -> VecEnv:
    """Copies of an environment that nobody registered; of one that is made, it alone."""
    if isinstance(game, VecEnv):
        return game
    if isinstance(game, VectorEnv):
        return from_vector_env(game, seed=seed)
    if isinstance(game, gym.Env):
        return from_envs([lambda: game], seed=seed)
    if callable(game):
        return from_envs([partial(game, **kwargs)] * copies, seed=seed)
    return games.make_vec(game)  # which says what may be given


def _checked(env: VecEnv, name: str, registered: str, episodes: int, seed: int) -> Check:
    """``registered`` is by what name the game can be trained on; "" for none."""
    sees, does = env.observation_space, env.action_space
    check_supported(sees, does)
    with games_of(env, "the check"):
        first, again, other = (_begin(env, s) for s in (seed, seed, seed + 1_000))
        played = RandomPlay(env, episodes, seed)
        state = state_of(env)
    found: dict[str, Any] = {
        "seeded": first == again,
        "varied": first != other,
        "saved": state is not None,
        "masked": played.masked or any(env.has_attr(word) for word in MASKS),
        "truncated": played.truncated / max(1, len(played.points)),
        "rewards": (float(played.lowest), float(played.highest)),
        "rewarded": played.rewarded / played.steps,
        "steps_per_second": played.steps / played.seconds,
    }
    ended = tuple(played.points), tuple(played.lengths)
    plain = Check(
        name, words(sees), words(does), agents.learners_of(does), *ended, **found, warnings=(), advice=()
    )
    return dataclasses.replace(
        plain, warnings=tuple(_warnings(plain, played)), advice=tuple(_advice(plain, played, registered))
    )


def _begin(env: VecEnv, seed: int) -> bytes:
    """The first steps of all copies, by the same actions for every seed, as bytes."""
    env.seed(seed)
    player = RandomPlayer(env.action_space, env.num_envs, 0)
    player.reset()
    parts = [_bytes(env.reset())]
    for _ in range(COMPARED):
        observations, rewards, ends, _ = env.step(player.act(None))
        parts += [_bytes(observations), np.asarray(rewards).tobytes(), np.asarray(ends).tobytes()]
    return b"".join(parts)


def _bytes(observations: Any) -> bytes:
    return b"".join(np.asarray(part).tobytes() for part in parts_of(observations).values())


def _warnings(found: Check, played: RandomPlay) -> list[str]:
    """What should be mended in the game."""
    said = [f"an observation{f' {key!r}' if key else ''} is {what}" for key, what in played.outside.items()]
    if played.endless:
        said.append(
            f"an episode has not ended after {LONGEST:,} random steps: register the game with "
            "max_episode_steps, or learning and evaluation may wait for ever"
        )
    if not found.seeded:
        said.append(
            "the same seed does not give the same episode: begin reset with super().reset(seed=seed) and "
            "sample from self.np_random, or no score can be repeated"
        )
    if not found.varied:
        said.append("every seed gives the same episode: an agent may learn it by heart")
    if found.points and len(set(found.points)) == 1 and found.rewarded == 0:
        said.append("a random player was never rewarded: much of a training may see no reward at all")
    return said


def _advice(found: Check, played: RandomPlay, registered: str) -> list[str]:
    """What one would set in a recipe, and do next."""
    said = []
    for key, scale in played.scales.items():
        deviation, part = scale.deviation, f" of {key!r}" if key else ""
        still = np.flatnonzero(deviation == 0)
        if 0 < len(still) < len(deviation):
            said.append(f"numbers {', '.join(map(str, still[:10]))}{part} never change: hide may drop them")
        moving = deviation[deviation > 0]
        if len(moving) and (moving.max() > LARGE or moving.min() < SMALL):
            limits = f"{moving.min():.2g} to {moving.max():.2g}"
            said.append(f"numbers{part} deviate by {limits}: set normalize.observations = true")
    if found.points and max(abs(found.mean), found.sd) > LARGE:
        said.append(
            f"points are of the size of {max(abs(found.mean), found.sd):,.0f}: normalize.rewards = true"
        )
    if found.lengths and np.mean(found.lengths) > LONG:
        said.append(
            f"episodes are long ({np.mean(found.lengths):,.0f} steps): where their end decides, try a "
            "ppo.gamma nearer to 1, such as 0.995"
        )
    if not found.saved:
        said.append("its state cannot be saved: a training that is resumed begins fresh episodes")
    if registered:
        said.append(f"to learn it: rlrnn train --game {registered}, and again with --control feedforward")
    else:
        said.append(
            "to learn it by a recipe: gymnasium.register('mine/Game-v0', its class) in a module, then rlrnn "
            "train --game mine/Game-v0 --import module"
        )
    return said
