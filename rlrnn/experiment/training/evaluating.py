"""Evaluations while an agent trains, which change nothing in the training.

They are played between two updates, on copies of the game and with noise of their own, and no statistics
learn from them. Their episodes are the same ones every time, and neither a training's nor those of the final
score: so that whoever chooses an agent by this curve has not chosen it by its score.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from rlrnn.common.noise import undisturbed_noise
from rlrnn.common.settings import check_seed, check_whole, takes_plain
from rlrnn.common.texts import tell
from rlrnn.envs import games
from rlrnn.envs.games import Game
from rlrnn.errors import FileFault, UserError
from rlrnn.experiment.evaluation import Score, evaluate
from rlrnn.experiment.runs.evaluations import Evaluations, read_evaluations

if TYPE_CHECKING:
    from rlrnn.experiment.agents import Agent

SEED = 2_000_000  # of these episodes: apart from final evaluations (1,000,000) and from trainings
EPISODES = 20  # of each evaluation


class EvaluationCallback(BaseCallback):
    """Evaluates the agent every so many steps of a training, with its memory and with the memory wiped.

        agent.learn(200_000, rlrnn.EvaluationCallback("pong", every=20_000))

    At the first update at or after each multiple of ``every``, at the beginning and at the end. The training
    is the same, bit for bit, as without. Logged as ``eval/mean_reward``, ``eval/mean_ep_length``,
    ``eval/mean_reward_wiped`` and, where the game says what winning is, ``eval/success_rate``, in a row of
    their own. No agent is kept for its points: the best of many evaluations is partly luck.

    :param game: a game, its name in the catalogue, the path of its file or a registered id
    :param every: steps of the training between two evaluations
    :param episodes: of each; four times as many halve the noise
    :param deterministic: the most likely action; False: sampled ones, as in training
    :param wiped: also with the memory wiped before every step, at twice the time
    :param seed: of the episodes, which are the same ones every time
    :param path: of the file that keeps all episodes, as SB3's ``evaluations.npz``; None: no file. Where the
        training goes on (``reset_num_timesteps=False``) the file's earlier ones stay.
    """

    model: Agent
    may_be_late = True

    @takes_plain
    def __init__(
        self,
        game: str | Path | Game,
        every: int = 10_000,
        episodes: int = EPISODES,
        *,
        deterministic: bool = True,
        wiped: bool = True,
        seed: int = SEED,
        path: str | Path | None = None,
    ) -> None:
        super().__init__()
        check_whole("every", every, 1)
        check_whole("episodes", episodes, 1)
        check_seed(seed)
        self.game, self.every, self.episodes = games.game(game), every, episodes
        self.deterministic, self.wiped, self.seed = deterministic, wiped, seed
        self.path = None if path is None else Path(path)
        self.evaluations = _none()

    def _on_training_start(self) -> None:
        if not hasattr(self.model, "player"):
            raise UserError(
                f"EvaluationCallback evaluates agents of rlrnn, not a {type(self.model).__name__}."
            )
        if self.num_timesteps == 0:
            self.evaluations = _none()
        elif self.path is not None and self.path.exists():
            self.evaluations = self._kept(self.path)

    def _kept(self, path: Path) -> Evaluations:
        """Of the training that goes on; a file that is damaged is set aside, and begins again."""
        try:
            return read_evaluations(path).before(self.num_timesteps)
        except FileFault as fault:
            aside = path.with_name(f"{path.stem}.damaged{path.suffix}")
            path.replace(aside)
            tell(f"rlrnn: {fault} It begins again; the old file is kept as {aside}.", file=sys.stderr)
            return _none()

    def _on_rollout_start(self) -> None:
        last = self.evaluations.steps[-1] if len(self.evaluations) else None
        if last is None or self.num_timesteps // self.every > last // self.every:
            self._evaluate()

    def _on_training_end(self) -> None:
        if not len(self.evaluations) or self.evaluations.steps[-1] != self.num_timesteps:
            self._evaluate()

    def _on_step(self) -> bool:
        return True

    def _evaluate(self) -> None:
        with undisturbed_noise():
            score = self._play(wiped=False)
            remembers = self.wiped and self.model.policy.network.state_size > 0
            wiped = self._play(wiped=True) if remembers else None
        self.evaluations = self.evaluations.with_one(_one(self.num_timesteps, score, wiped))
        if self.path is not None:
            self.evaluations.write(self.path)
        means: dict[str, Any] = {"mean_reward": score.mean, "mean_ep_length": float(np.mean(score.lengths))}
        if wiped is not None:
            means["mean_reward_wiped"] = wiped.mean
        if score.won is not None:
            means["success_rate"] = score.won
        row = {f"eval/{name}": value for name, value in means.items()}
        row["time/total_timesteps"] = self.num_timesteps
        excluded: dict[str, tuple[str, ...]] = dict.fromkeys(row, ())
        excluded["time/total_timesteps"] = ("tensorboard",)
        for writer in self.logger.output_formats:  # past what the update has recorded, which has its own row
            writer.write(row, excluded, self.num_timesteps)

    def _play(self, wiped: bool) -> Score:
        network = self.model.policy.network
        try:
            return evaluate(
                self.model, self.game, self.episodes, self.deterministic, seed=self.seed, wiped=wiped
            )
        finally:
            network.sample_exploration(0)  # none is left over, so that each evaluation draws its own


def _none() -> Evaluations:
    return Evaluations(np.zeros(0, np.int64), np.zeros((0, 0)), np.zeros((0, 0), np.int64))


def _one(steps: int, score: Score, wiped: Score | None) -> Evaluations:
    points = np.array([score.points])
    return Evaluations(
        np.array([steps]),
        points,
        np.array([score.lengths]),
        None if wiped is None else np.array([wiped.points]),
        None if score.win is None else points >= score.win,
    )
