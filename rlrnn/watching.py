"""Games played, as a small GIF or as an MP4."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rlrnn import arrays, catalogue, runs
from rlrnn.catalogue import Game
from rlrnn.errors import MissingExtraError, UserError
from rlrnn.evaluation import EVALUATION_SEED, Player, copies_for
from rlrnn.settings import takes_plain

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

    from rlrnn.learners import Agent

Look: TypeAlias = Callable[[], NDArray[np.uint8]]  # what is to be seen now, [height, width, 3]

GIF_RATE = 25  # pictures per second of a GIF, at most; viewers slow down faster ones
GIF_FRAMES = 800  # pictures of a GIF, at most
GIF_SECONDS = 120  # of play that a GIF shows, at most
GIF_WIDTH = 400  # pixels, at most
GIF_COLOURS = 64


@takes_plain
def watch(
    agent: Agent,
    game: str | Path | Game,
    path: str | Path,
    episodes: int = 1,
    deterministic: bool = True,
    seed: int = EVALUATION_SEED,
    activations: bool = False,
) -> Path:
    """Record an agent at play: a GIF by its suffix, or an MP4 (needs the extra ``video``).

    The picture moves at the game's own speed. A GIF leaves out pictures, so that its file stays small, and
    ends after two minutes of play.
    ``activations`` puts the hidden units beside it, a row each and alike beside alike, over the last 46
    steps, drawn as an oscilloscope does: the newest column stands left of the gap, which runs to the right.
    """
    from rlrnn.threads import one_thread

    path = Path(path)
    if path.suffix not in (".gif", ".mp4"):
        raise UserError(f"{path} should end in .gif or .mp4.")
    if episodes < 1:
        raise UserError(f"episodes is {episodes}; it must be at least 1.")
    chosen = catalogue.game(game)
    with closing(copies_for(agent, chosen, 1, seed, "rgb_array")) as env, one_thread(agent.device):
        player = agent.player(1, deterministic=deterministic, seed=seed)
        look: Look = partial(picture, env, GIF_WIDTH if path.suffix == ".gif" else None)
        if activations:
            from rlrnn.activations import Overheard, Strip

            overheard, strip = Overheard(player), Strip(agent, chosen, deterministic, seed)
            played, look = strip.follow(steps(overheard, env, episodes), overheard), strip.beside(look)
        else:
            played = steps(player, env, episodes)
        rate = float(env.get_attr("metadata")[0].get("render_fps", 30))
        if path.suffix == ".gif":
            played = islice(played, int(GIF_SECONDS * rate))
        path.parent.mkdir(parents=True, exist_ok=True)
        with runs.replacing(path) as part:
            (write_gif if path.suffix == ".gif" else write_mp4)(part, look, played, rate)
    return path


def steps(player: Player, env: VecEnv, episodes: int) -> Iterator[int]:
    """Play some episodes in one copy, and stop to be looked at before every step that has been decided on."""
    player.reset()
    observations, starts = env.reset(), np.ones(1, np.bool_)
    count = begun = 0
    while episodes > 0:
        actions = player.act(observations, starts)
        yield count
        observations, _, starts, _ = env.step(actions)
        count += 1
        if starts[0]:
            episodes, begun = episodes - 1, count
        arrays.check_length(count - begun, "the game")


def write_gif(path: Path, look: Look, played: Iterable[int], rate: float) -> None:
    """Write a GIF of thinned pictures that share one palette; ``rate`` is in steps per second."""
    every = max(1, int(np.ceil(rate / GIF_RATE)))  # steps from one picture to the next
    images: list[Image.Image] = []
    for count in played:
        if count % every == 0:
            images.append(Image.fromarray(look()))
        if len(images) > GIF_FRAMES:
            images, every = images[::2], 2 * every
    palette = _palette(images)
    flat = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    # GIF counts time in hundredths of a second: rounding the ends, not the lengths, keeps the speed right.
    ends = np.rint(np.arange(1, len(flat) + 1) * every / rate * 100).astype(int)
    lengths = np.diff(ends, prepend=0) * 10  # ms
    flat[0].save(
        path, save_all=True, append_images=flat[1:], duration=lengths.tolist(), loop=0, optimize=True
    )


def write_mp4(path: Path, look: Look, played: Iterable[int], rate: float) -> None:
    """Write an MP4 of every step."""
    try:
        imageio = importlib.import_module("imageio.v2")
        importlib.import_module("imageio_ffmpeg")  # imageio finds it by itself, but fails late without it
    except ImportError:
        raise MissingExtraError(
            'an MP4 needs an extra: pip install "rlrnn[video]", or record a .gif.'
        ) from None
    with imageio.get_writer(path, fps=rate, macro_block_size=2) as writer:
        for _ in played:
            writer.append_data(look())


def picture(env: VecEnv, width: int | None = None) -> NDArray[np.uint8]:
    """What the first copy looks like, [height, width, 3], not wider than ``width``."""
    pixels = env.get_images()[0]
    if pixels is None:
        raise UserError("this game draws no pictures: it has no render_mode rgb_array.")
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    if width is not None and width < image.width:
        height = round(image.height * width / image.width)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _palette(images: Sequence[Image.Image]) -> Image.Image:
    """The colours of up to 32 pictures from beginning to end, rare ones (a ball) included."""
    chosen = [images[i] for i in np.unique(np.linspace(0, len(images) - 1, 32).astype(int))]
    strip = Image.new("RGB", (chosen[0].width, len(chosen) * chosen[0].height))
    for row, image in enumerate(chosen):
        strip.paste(image, (0, row * image.height))
    return strip.quantize(GIF_COLOURS, method=Image.Quantize.MAXCOVERAGE)
