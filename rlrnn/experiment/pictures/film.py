"""Episodes as a small GIF or as an MP4."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from PIL import Image

from rlrnn.common import arrays
from rlrnn.common.files import replacing
from rlrnn.common.settings import check_whole, is_number, takes_plain
from rlrnn.envs import games
from rlrnn.envs.games import Game
from rlrnn.errors import MissingExtraError, UserError
from rlrnn.experiment.evaluation import EVALUATION_SEED, copies_for
from rlrnn.experiment.pictures.showing import Picture, Pixels, rgb
from rlrnn.experiment.players import Player

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

    from rlrnn.experiment.agents import Agent


class Moment(NamedTuple):
    """A step of a film."""

    step: int  # that is about to be played
    last: Any = None  # what the game drew after an episode's last step, which stays for a while


Look: TypeAlias = Callable[[Moment], Pixels]  # what is to be seen then

GIF_RATE = 25  # pictures per second of a GIF, at most; viewers slow down faster ones
GIF_FRAMES = 800  # pictures of a GIF, at most
GIF_SECONDS = 120  # of play that a GIF shows, at most
GIF_WIDTH = 400  # pixels, at most
GIF_COLOURS, GROUNDS = 64, 16  # colours in all; the most frequent ones, which are kept as they are
HOLD = 1.0  # seconds that an episode's end stays
USUAL_RATE = 30.0  # steps per second of a game that does not say


@takes_plain
def watch(
    agent: Agent,
    game: str | Path | Game,
    path: str | Path,
    episodes: int = 1,
    deterministic: bool = True,
    seed: int = EVALUATION_SEED,
    activations: bool = False,
) -> Picture:
    """Record episodes of an agent: a GIF by its suffix, or an MP4 (needs the extra ``video``).

    The picture moves at the game's own speed. A GIF leaves out pictures, so that its file stays small, and
    ends after two minutes of play. Small pictures are enlarged. The path that is returned has the ``points``
    of the episodes, and is displayed as a picture in a notebook.
    ``activations`` adds the hidden units, a row each and ordered by correlation, over the last 46 steps,
    drawn as an oscilloscope does: the newest column stands left of the gap, which runs to the right.
    """
    from rlrnn.common.threads import one_thread

    path = Path(path)
    if path.suffix not in (".gif", ".mp4"):
        raise UserError(f"{path} should end in .gif or .mp4.")
    check_whole("episodes", episodes, 1)
    chosen = games.game(game)
    if not draws(agent, chosen, seed):
        raise UserError(f"{chosen.name} draws no pictures: its metadata name no render_mode rgb_array.")
    points: list[float] = []
    with closing(copies_for(agent, chosen, 1, seed, "rgb_array")) as env, one_thread(agent.device):
        player = agent.player(1, deterministic=deterministic, seed=seed)
        look: Look = partial(picture, env, GIF_WIDTH if path.suffix == ".gif" else None)
        if activations:
            from rlrnn.experiment.pictures.activations import ActivationRecorder, Strip

            recorder, strip = ActivationRecorder(player), Strip(agent, chosen, deterministic, seed)
            played, look = (
                strip.follow(steps(recorder, env, episodes, points), recorder),
                strip.beside(look),
            )
        else:
            played = steps(player, env, episodes, points)
        rate = rate_of(env)
        if path.suffix == ".gif":
            played = islice(played, int(GIF_SECONDS * rate))
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            (write_gif if path.suffix == ".gif" else write_mp4)(part, look, played, rate)
    film = Picture(path)
    film.points = tuple(points)
    return film


def draws(agent: Agent, game: Game, seed: int) -> bool:
    """Whether a game says that it draws pictures."""
    with closing(copies_for(agent, game, 1, seed)) as env:
        return "rgb_array" in ((env.get_attr("metadata")[0] or {}).get("render_modes") or ())


def rate_of(env: VecEnv) -> float:
    """Steps per second, as the game says."""
    rate = env.get_attr("metadata")[0].get("render_fps")
    return float(rate) if is_number(rate) and rate > 0 else USUAL_RATE


def steps(player: Player, env: VecEnv, episodes: int, points: list[float] | None = None) -> Iterator[Moment]:
    """Play some episodes in one copy, and yield before every step, once its action is chosen.

    Also after the last step of an episode. The points of the episodes are added to ``points``.
    """
    player.reset()
    observations, starts = env.reset(), np.ones(1, np.bool_)
    count = begun = 0
    while episodes > 0:
        actions = player.act(observations, starts)
        yield Moment(count)
        observations, _, starts, infos = env.step(actions)
        count += 1
        if starts[0]:
            episodes, begun = episodes - 1, count
            if (
                points is not None and "episode" in infos[0]
            ):  # else only a life is lost, as a Monitor inside knows
                points.append(float(infos[0]["episode"]["r"]))
            if infos[0].get("terminal_picture") is not None:
                yield Moment(count, infos[0]["terminal_picture"])
        arrays.check_length(count - begun, "the game")


def write_gif(path: Path, look: Look, played: Iterable[Moment], rate: float) -> None:
    """Write a GIF of thinned pictures that share one palette; ``rate`` is in steps per second."""
    every = max(1, int(np.ceil(rate / GIF_RATE)))  # steps from one picture to the next
    shown: list[tuple[Moment, float, Image.Image]] = []  # with the seconds at which it is shown
    held = 0.0  # seconds so far
    for moment in played:
        if moment.last is not None or moment.step % every == 0:
            shown.append((moment, moment.step / rate + held, Image.fromarray(look(moment))))
        held += HOLD * (moment.last is not None)
        if len(shown) > GIF_FRAMES:
            every *= 2
            shown = [one for one in shown if one[0].last is not None or one[0].step % every == 0]
    palette = _palette([image for _, _, image in shown])
    flat = [image.quantize(palette=palette, dither=Image.Dither.NONE) for _, _, image in shown]
    end = shown[-1][1] + (every / rate if shown[-1][0].last is None else HOLD)
    # GIF counts time in hundredths of a second: rounding the ends, not the lengths, keeps the speed right.
    ends = np.rint(np.array([*(begin for _, begin, _ in shown[1:]), end]) * 100).astype(int)
    lengths = np.diff(ends, prepend=0) * 10  # ms
    flat[0].save(
        path, save_all=True, append_images=flat[1:], duration=lengths.tolist(), loop=0, optimize=True
    )


def write_mp4(path: Path, look: Look, played: Iterable[Moment], rate: float) -> None:
    """Write an MP4 of every step."""
    try:
        imageio = importlib.import_module("imageio.v2")
        importlib.import_module("imageio_ffmpeg")  # imageio finds it by itself, but fails late without it
    except ImportError:
        raise MissingExtraError(
            'an MP4 needs an extra: pip install "rlrnn[video]", or record a .gif.'
        ) from None
    with imageio.get_writer(path, fps=rate, macro_block_size=2) as writer:
        for moment in played:
            for _ in range(1 if moment.last is None else round(HOLD * rate)):
                writer.append_data(look(moment))


def picture(env: VecEnv, width: int | None, moment: Moment) -> Pixels:
    """What the first copy looks like, not wider than ``width``; a small picture by a whole number larger."""
    pixels = env.get_images()[0] if moment.last is None else moment.last
    if pixels is None:
        raise UserError("this game draws no pictures: its render() returns None.")
    image = Image.fromarray(rgb(pixels))
    times = GIF_WIDTH // max(image.size)
    if times > 1:
        image = image.resize((times * image.width, times * image.height), Image.Resampling.NEAREST)
    if width is not None and width < image.width:
        height = max(1, round(image.height * width / image.width))
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _palette(images: Sequence[Image.Image]) -> Image.Image:
    """The colours of up to 32 pictures, rare ones (a ball) included; those of grounds as they are."""
    chosen = [images[i] for i in np.unique(np.linspace(0, len(images) - 1, 32).astype(int))]
    strip = Image.new("RGB", (chosen[0].width, len(chosen) * chosen[0].height))
    for row, image in enumerate(chosen):
        strip.paste(image, (0, row * image.height))
    counts: Any = strip.getcolors(strip.width * strip.height)
    grounds = [colour for _, colour in sorted(counts, reverse=True)[:GROUNDS]]
    others = strip.quantize(GIF_COLOURS - len(grounds), method=Image.Quantize.MAXCOVERAGE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette(
        [*(part for colour in grounds for part in colour), *others[: 3 * (GIF_COLOURS - len(grounds))]]
    )
    return palette
