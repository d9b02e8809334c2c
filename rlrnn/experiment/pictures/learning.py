"""Pictures of a learning, from the agents that a training kept on its way: a film, and the memory profile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw, ImageFont

from rlrnn.common.files import replacing
from rlrnn.common.threads import one_thread
from rlrnn.envs import games
from rlrnn.envs.games import Game
from rlrnn.errors import UserError
from rlrnn.experiment.evaluation import EVALUATION_SEED, copies_for
from rlrnn.experiment.pictures import film
from rlrnn.experiment.pictures.film import GIF_SECONDS, GIF_WIDTH, Moment
from rlrnn.experiment.pictures.memory_profile import Profile, mean
from rlrnn.experiment.pictures.plotting import TITLE, canvas, save
from rlrnn.experiment.pictures.showing import Picture, Pixels

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

    from rlrnn.experiment.agents import Agent

LEAST, MOST = 3.0, 8.0  # seconds of play that are shown of each agent
STRIP, LETTERS = 28, 16  # pixels: height of the strip with the words, and of its letters
GROUND, INK = "#202020", "#f0f0f0"


def watch_learning(
    stages: Sequence[tuple[int, Agent]],
    game: str | Path | Game,
    path: str | Path,
    deterministic: bool = True,
    seed: int = EVALUATION_SEED,
) -> Picture:
    """A film of agents one after the other, each with the steps of its training beneath: a GIF or an MP4.

    All begin at the same start. Of each 3 to 8 seconds are shown, whole episodes where these are short. The
    path that is returned has the mean ``points`` of what each one played to the end, NaN where that is none.
    """
    path, chosen = Path(path), games.game(game)
    if path.suffix not in (".gif", ".mp4"):
        raise UserError(f"{path} should end in .gif or .mp4.")
    if not film.draws(stages[0][1], chosen, seed):
        raise UserError(f"{chosen.name} draws no pictures: its metadata name no render_mode rgb_array.")
    with closing(copies_for(stages[0][1], chosen, 1, seed)) as env:
        rate = film.rate_of(env)
    gif = path.suffix == ".gif"
    most = min(MOST, GIF_SECONDS / len(stages)) if gif else MOST
    shown = _Stages(stages, chosen, deterministic, seed, rate, most, GIF_WIDTH if gif else None)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        (film.write_gif if gif else film.write_mp4)(part, shown.look, shown.play(), rate)
    result = Picture(path)
    result.points = tuple(float(np.mean(each)) if each else np.nan for each in shown.points)
    return result


class _Stages:
    """Agents that play one after the other, and what is to be seen of the one whose turn it is."""

    def __init__(
        self,
        stages: Sequence[tuple[int, Agent]],
        game: Game,
        deterministic: bool,
        seed: int,
        rate: float,
        most: float,
        width: int | None,
    ) -> None:
        self.stages, self.game, self.deterministic, self.seed = stages, game, deterministic, seed
        self.rate, self.most, self.width = rate, most, width
        self.points: list[list[float]] = [[] for _ in stages]
        self.env: VecEnv
        self.words = ""

    def play(self) -> Iterator[Moment]:
        """The steps of all, counted through."""
        count = 0
        for (steps, agent), points in zip(self.stages, self.points, strict=True):
            self.words = f"after {steps:,} steps"
            env = copies_for(agent, self.game, 1, self.seed, "rgb_array")
            with closing(env) as self.env, one_thread(agent.device):
                player = agent.player(1, deterministic=self.deterministic, seed=self.seed)
                begun, whole = count, 0
                for moment in film.steps(player, self.env, 2**31, points):
                    seconds = (count - begun) / self.rate
                    if seconds >= self.most or (len(points) > whole and seconds >= LEAST):
                        break
                    whole = len(points)
                    yield Moment(count, moment.last)
                    count += moment.last is None

    def look(self, moment: Moment) -> Pixels:
        """The game, and beneath it how long the agent has learned."""
        pixels = film.picture(self.env, self.width, moment)
        image = Image.new("RGB", (pixels.shape[1], pixels.shape[0] + STRIP), GROUND)
        image.paste(Image.fromarray(pixels), (0, 0))
        middle = (pixels.shape[1] / 2, pixels.shape[0] + STRIP / 2)
        font = ImageFont.load_default(LETTERS)
        ImageDraw.Draw(image).text(middle, self.words, INK, font, anchor="mm")
        return np.asarray(image)


def draw_learning(profiles: Mapping[int, Profile], path: str | Path) -> Picture:
    """Draw memory profiles by the steps of training: when did it learn to remember, and how far back?"""
    if len(profiles) < 2:
        raise UserError("there is nothing to draw: give memory profiles of two times of a training.")
    steps = np.array(sorted(profiles))
    rows = [mean(profiles[step].replacement) for step in steps.tolist()]
    table = np.full((len(rows), max(map(len, rows))), np.nan)  # [N, K + 1]; short episodes have fewer lags
    for row, values in zip(table, rows, strict=True):
        row[: len(values)] = values
    reach = np.array([profiles[step].reach() for step in steps.tolist()])
    last = int(min(table.shape[1] - 1, max(4, 1.2 * reach.max() + 2)))
    figure, axes = canvas(8, 4.8)
    middles = (steps[1:] + steps[:-1]) / 2
    edges = [steps[0] - (middles[0] - steps[0]), *middles, steps[-1] + (steps[-1] - middles[-1])]
    lags = np.arange(last + 2) - 0.5
    style: dict[str, Any] = {"cmap": "Blues", "vmin": 0.0, "vmax": max(np.nanmax(table), 1e-9)}
    mesh = axes.pcolormesh(edges, lags, np.ma.masked_invalid(table[:, : last + 1]).T, **style)
    label = "share of actions that change when the\nobservation so many steps before is replaced"
    figure.colorbar(mesh, ax=axes, pad=0.02).set_label(label, fontsize=9)
    words = "over 1 % of the peak up to here"
    axes.plot(steps, reach, "o-", color="#D55E00", linewidth=1.6, markersize=4, label=words)
    played = profiles[int(steps[0])].game
    axes.set_title(f"When did it learn to remember?  {played}", loc="left", fontsize=TITLE)
    axes.set_xlabel("environment steps of the training")
    axes.set_ylabel("lag: steps from an observation to the action")
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", frameon=False)
    return save(figure, path)
