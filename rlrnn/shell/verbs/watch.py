"""rlrnn watch: record episodes."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rlrnn.common.texts import tell
from rlrnn.shell.verbs import options

SHORT = "record episodes as a GIF or an MP4"
TEXT = """
Records episodes: a GIF, or an MP4 with pip install "rlrnn[video]".

examples:
  rlrnn watch pong-gru                               a verified agent, whose weights come along
  rlrnn watch runs/pong-gru/seed0
  rlrnn watch runs/pong-gru/seed0 --episodes 3 --out pong.mp4
  rlrnn watch runs/pong-gru/seed0 --activations      with its hidden units next to the game
  rlrnn watch logs/best_model.zip --game pong
"""


def arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("--out", metavar="FILE", help=".gif or .mp4 (default: play.gif in the run's folder)")
    parser.add_argument("--activations", action="store_true", help="also show its hidden units")
    options.add_judged(parser)


def run(arguments: Namespace) -> None:
    """Run the verb."""
    from rlrnn.experiment.pictures.film import watch

    agent, game, how = options.opened(arguments)
    folder = Path(arguments.run) if Path(arguments.run).is_dir() else Path()
    path = Path(arguments.out) if arguments.out else folder / "play.gif"
    deterministic = options.deterministic(arguments, how)
    film = watch(agent, game, path, arguments.episodes or 1, deterministic, activations=arguments.activations)
    tell(
        f"{film}: {', '.join(f'{points:g}' for points in film.points)} ({game.points.unit})"
        if film.points
        else film
    )
