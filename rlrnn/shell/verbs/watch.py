"""rlrnn watch: record games played."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rlrnn.common.texts import tell
from rlrnn.shell.verbs import options

SHORT = "record games played"
TEXT = """
Records games played: a GIF, or an MP4 with pip install "rlrnn[video]".

examples:
  rlrnn watch runs/pong-gru/seed0
  rlrnn watch runs/pong-gru/seed0 --episodes 3 --out pong.mp4
  rlrnn watch runs/pong-gru/seed0 --activations      with its hidden units beside it
  rlrnn watch logs/best_model.zip --game pong
"""


def arguments(parser: ArgumentParser) -> None:
    """What it takes."""
    parser.add_argument("--out", metavar="FILE", help=".gif or .mp4 (default: play.gif in the run's folder)")
    parser.add_argument("--activations", action="store_true", help="its hidden units beside the game")
    options.add_judged(parser)
    options.add_imports(parser)
    options.add_device(parser)


def run(arguments: Namespace) -> None:
    """Do it."""
    from rlrnn.experiment.pictures.film import watch

    agent, game, how = options.opened(arguments)
    folder = Path(arguments.run) if Path(arguments.run).is_dir() else Path()
    path = Path(arguments.out) if arguments.out else folder / "play.gif"
    deterministic = options.deterministic(arguments, how)
    film = watch(agent, game, path, arguments.episodes or 1, deterministic, activations=arguments.activations)
    tell(
        f"{film}: {', '.join(f'{points:g}' for points in film.points)} {game.points.unit}"
        if film.points
        else film
    )
