"""The evaluation: undiscounted points per episode, with memory, with the memory wiped, and at random."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from rlrnn.common import arrays
from rlrnn.common.settings import check_seed, check_whole, takes_plain
from rlrnn.common.texts import printable
from rlrnn.envs import games
from rlrnn.envs.games import Game
from rlrnn.errors import UserError
from rlrnn.experiment import statistics
from rlrnn.experiment.players import Player, RandomPlayer

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv

    from rlrnn.experiment.agents import Agent

EVALUATION_SEED = 1_000_000  # of the evaluation episodes; training seeds are small numbers
BATCH = 100  # episodes played at once
PLAYERS = WITH_MEMORY, WIPED, RANDOM = "with memory", "memory wiped", "random player"
WITHOUT = "without memory"  # how a network that has none is listed
Progress: TypeAlias = Callable[[int, int, int], None]  # episodes that ended, of so many, after so many steps


@dataclass(frozen=True)
class Score:
    """What was won in a number of episodes."""

    points: tuple[float, ...]  # undiscounted, one number per episode
    lengths: tuple[int, ...]  # steps, in the same order
    win: float | None = None  # points from which an episode counts as won

    @property
    def episodes(self) -> int:
        """How many were played."""
        return len(self.points)

    @property
    def mean(self) -> float:
        """Mean points per episode."""
        return statistics.mean([self.points])

    @property
    def sd(self) -> float:
        """Standard deviation over episodes (n in the denominator, as in SB3's ``evaluate_policy``)."""
        return statistics.sd([self.points])

    @property
    def median(self) -> float:
        """Median points per episode."""
        return statistics.median([self.points])

    @property
    def iqm(self) -> float:
        """Mean points per episode without the worst and the best quarter of the episodes."""
        return statistics.iqm([self.points])

    @property
    def won(self) -> float | None:
        """Fraction of the episodes that were won, where the game says what winning is."""
        return None if self.win is None else float(np.mean(np.asarray(self.points) >= self.win))

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean over other episodes: percentile bootstrap (Efron 1979)."""
        return statistics.bootstrap([self.points])

    def __repr__(self) -> str:
        low, high = self.interval
        won = "" if self.won is None else f", {self.won:.0%} won"
        return (
            f"{self.mean:.2f} points (95 % interval {low:.2f} to {high:.2f}), "
            f"{self.episodes} episode{'s' * (self.episodes > 1)}{won}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data: the summary for readers, the episodes for ``from_json``."""
        low, high = self.interval
        return {
            "mean": self.mean,
            "sd": self.sd,
            "median": self.median,
            "iqm": self.iqm,
            "interval": [low, high],
            "won": self.won,
            "episodes": self.episodes,
            "points": list(self.points),
            "lengths": list(self.lengths),
            "win": self.win,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Score:
        """The score that ``to_json`` wrote."""
        return cls(tuple(data["points"]), tuple(data["lengths"]), data["win"])


@takes_plain
def evaluate(
    agent: Agent,
    game: str | Path | Game,
    episodes: int | None = None,
    deterministic: bool = True,
    n_envs: int | None = None,
    seed: int = EVALUATION_SEED,
    wiped: bool = False,
    progress: Progress | None = None,
) -> Score:
    """Play a game with an agent and count its points.

    :param agent: one of ours; it learns nothing by playing
    :param game: a game, its name in the catalogue or the path of its file
    :param episodes: to play; default: the game's own number. Four times as many halve the interval.
    :param deterministic: the most likely action; False: sampled ones, as in training
    :param n_envs: copies played at once; default: one per episode, at most 100. More are faster and take more
        memory.
    :param seed: of the starts and of sampled actions; by default apart from those of trainings
    :param wiped: clear the memory before every step: what remains is what the agent wins without it
    :param progress: called after each step with the episodes that ended, of so many, after so many steps
    """
    from rlrnn.common.threads import one_thread

    if not hasattr(agent, "player"):
        raise UserError(
            f"agent is {agent!r}: give one of rlrnn's; rlrnn.experiment.evaluation.play lets any player play."
        )
    check_seed(seed)
    chosen, episodes, n_envs = _sizes(game, episodes, n_envs)
    with closing(copies_for(agent, chosen, n_envs, seed)) as env, one_thread(agent.device):
        player = agent.player(n_envs, deterministic=deterministic, wiped=wiped, seed=seed)
        return _count(player, env, episodes, chosen, progress)


@takes_plain
def judge(
    agent: Agent,
    game: str | Path | Game,
    episodes: int | None = None,
    deterministic: bool = True,
    n_envs: int | None = None,
    seed: int = EVALUATION_SEED,
    progress: Callable[[str, int, int, int], None] | None = None,
) -> dict[str, Score]:
    """The agent with its memory, the same with the memory wiped before each step, and a random player.

    ``progress`` is called after each step with the player's name and the arguments of a ``Progress``.
    """
    chosen, episodes, n_envs = _sizes(game, episodes, n_envs)
    random_player = RandomPlayer(agent.action_space, n_envs, seed)
    show = {name: None if progress is None else partial(progress, name) for name in PLAYERS}
    common = episodes, deterministic, n_envs, seed
    return {
        WITH_MEMORY: evaluate(agent, chosen, *common, progress=show[WITH_MEMORY]),
        WIPED: evaluate(agent, chosen, *common, wiped=True, progress=show[WIPED]),
        RANDOM: play(random_player, chosen, episodes, n_envs, seed, show[RANDOM]),
    }


@takes_plain
def play(
    player: Player,
    game: str | Path | Game,
    episodes: int | None = None,
    n_envs: int | None = None,
    seed: int = EVALUATION_SEED,
    progress: Progress | None = None,
) -> Score:
    """Evaluate any player, which acts for a batch of ``n_envs`` copies of the game."""
    chosen, episodes, n_envs = _sizes(game, episodes, n_envs)
    with closing(games.make_vec(chosen, n_envs, seed)) as env:
        return _count(player, env, episodes, chosen, progress)


def _count(player: Player, env: VecEnv, episodes: int, game: Game, progress: Progress | None = None) -> Score:
    """Play a fixed number of episodes in every copy: taking the first that end would favour short ones."""
    n = env.num_envs
    quota = np.full(n, episodes // n) + (np.arange(n) < episodes % n)  # [B] episodes
    played: list[list[tuple[float, int]]] = [[] for _ in range(n)]  # (points, steps) per episode
    player.reset()
    observations, starts = env.reset(), np.ones(n, np.bool_)
    steps, begun = 0, np.zeros(n, np.int64)  # [B] after so many steps of a copy its episode began
    while quota.any():
        observations, _, starts, infos = env.step(player.act(observations, starts))
        steps += 1
        for b in np.flatnonzero(starts & (quota > 0)):
            if "episode" not in infos[b]:  # a lost life: SB3's Monitor, inside, has not seen the game end
                continue
            quota[b], begun[b] = quota[b] - 1, steps
            played[b].append((float(infos[b]["episode"]["r"]), int(infos[b]["episode"]["l"])))
        arrays.check_length(steps - int(begun[quota > 0].min(initial=steps)), game.name)
        if progress is not None:
            progress(episodes - int(quota.sum()), episodes, steps)
    points, lengths = zip(*chain.from_iterable(played), strict=True)
    return Score(points, lengths, game.points.win)


def copies_for(
    agent: Agent | BaseAlgorithm, game: Game, n_envs: int, seed: int, render_mode: str | None = None
) -> VecEnv:
    """Copies of a game for an agent of ours or SB3's to play, normalised as those it learned in.

    Refused if it was made for other observations or actions, or if its parameters are not finite.
    """
    from rlrnn.experiment.agents import spoiled
    from rlrnn.learners.files.surroundings import as_in_training, warn_of_others

    if (name := spoiled(agent)) is not None:
        raise UserError(
            f"the agent cannot play, as its training diverged (not all numbers of {name} are finite): give "
            "one that was saved before, or train it again with a smaller learning_rate."
        )
    env = games.make_vec(game, n_envs, seed, render_mode=render_mode)
    try:
        env = as_in_training(agent, env)
        if env.observation_space != agent.observation_space:  # as in training: images with channels first
            env = agent._wrap_env(env, verbose=0, monitor_wrapper=False)
        for what in ("observation_space", "action_space"):
            has, needs = getattr(agent, what), getattr(env, what)
            if has != needs:
                words = what.replace("_", " ")
                raise UserError(
                    f"the agent's {words} is {has}, but {game.name} has {needs}: give the game it learned."
                )
        warn_of_others(agent, env, game.name)
    except BaseException:
        env.close()
        raise
    return env


def shown(scores: Mapping[str, Score], game: Game, memory: bool = True) -> Group:
    """The table of scores, and below it where the game's reference scores come from."""
    from rich.console import Group
    from rich.text import Text

    sources = "\n".join(f"{name}: {reference.source}" for name, reference in game.references.items())
    below = [Text(printable(sources), style="table.caption")] if sources else []
    return Group(table(scores, game, memory), *below)


def table(scores: Mapping[str, Score], game: Game, memory: bool = True) -> Table:
    """The scores, and the game's reference scores below them, for the shell.

    A network without ``memory`` has none to be wiped, and one row instead of two.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    counted = next(iter(scores.values()))
    grid = Table(
        title=f"{game.title or game.name}: {game.points.unit}, {counted.episodes} episodes",
        box=SIMPLE_HEAD,
    )
    wins = game.points.win is not None
    grid.add_column("player", min_width=len("reference:"))
    for heading in ("mean", "sd", "95 % interval", *(["won"] if wins else []), "steps"):
        grid.add_column(heading, justify="right", no_wrap=True)
    if not memory:
        scores = {WITHOUT if n == WITH_MEMORY else n: score for n, score in scores.items() if n != WIPED}
    for name, score in scores.items():
        low, high = score.interval
        won = [] if score.won is None else [f"{score.won:.0%}"]
        row = f"{score.mean:.2f}", f"{score.sd:.2f}", f"{low:.2f} to {high:.2f}", *won
        grid.add_row(name, *row, f"{np.mean(score.lengths):.0f}")
    grid.add_section()
    for name, reference in game.references.items():
        grid.add_row(f"reference: {name}", f"{reference.points:.2f}", style="dim")
    return grid


def _sizes(game: str | Path | Game, episodes: int | None, n_envs: int | None) -> tuple[Game, int, int]:
    chosen = games.game(game)
    episodes = chosen.episodes if episodes is None else episodes
    check_whole("episodes", episodes, 1)
    n_envs = min(episodes, BATCH) if n_envs is None else n_envs
    check_whole("n_envs", n_envs, 1)
    return chosen, episodes, n_envs
