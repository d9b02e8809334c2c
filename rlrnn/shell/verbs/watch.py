"""rlrnn watch: record episodes."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rlrnn.common.texts import tell
from rlrnn.errors import UserError
from rlrnn.shell.verbs import options

SHORT = "record episodes as a GIF or an MP4"
TEXT = """
Records episodes: a GIF, or an MP4 with pip install "rlrnn[video]".

examples:
  rlrnn watch pong-gru                               a verified agent, whose weights come along
  rlrnn watch runs/pong-gru/seed0
  rlrnn watch runs/pong-gru/seed0 --episodes 3 --out pong.mp4
  rlrnn watch runs/pong-gru/seed0 --activations      with its hidden units next to the game
  rlrnn watch runs/pong-gru/seed0 --snapshots        a film of its learning (train --snapshots N)
  rlrnn watch logs/best_model.zip --game pong
"""


def arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("--out", metavar="FILE", help=".gif or .mp4 (default: play.gif in the run's folder)")
    parser.add_argument("--activations", action="store_true", help="also show its hidden units")
    parser.add_argument(
        "--snapshots",
        action="store_true",
        help="a film of its learning: the agents that train --snapshots N kept, one after the other",
    )
    options.add_judged(parser)


def run(arguments: Namespace) -> None:
    """Run the verb."""
    from rlrnn.experiment.pictures.film import watch

    if arguments.snapshots:
        _learning(arguments)
        return
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


def _learning(arguments: Namespace) -> None:
    from rlrnn.experiment.pictures.learning import watch_learning
    from rlrnn.experiment.runs import snapshots

    for name in ("episodes", "activations"):
        if getattr(arguments, name):
            raise UserError(f"--snapshots shows some seconds of each agent: leave out --{name}.")
    run, game = options.run_of(arguments)
    path = Path(arguments.out) if arguments.out else run.folder / "learning.gif"
    stages = snapshots.read(run, arguments.device)
    film = watch_learning(stages, game, path, options.deterministic(arguments, run.recipe.evaluation))
    tell(f"{film}: {len(stages)} agents, after {', '.join(f'{steps:,}' for steps, _ in stages)} steps")
