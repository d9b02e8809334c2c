"""rlrnn plot: draw learning curves."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from rlrnn.common.texts import tell
from rlrnn.shell.verbs import options

SHORT = "draw learning curves"
TEXT = """
Draws learning curves into one picture: points per episode against steps of the game, one colour per agent,
with the game's reference scores. One or two seeds are drawn as they are, with their running mean; three and
more as their median and quartiles.

examples:
  rlrnn plot runs/pong-gru/seed0
  rlrnn plot runs/pong-gru runs/pong-gru-stacked --out pong.pdf      all seeds of two agents
  rlrnn plot logs/monitor.csv logs/progress.csv logs/evaluations.npz
"""


def arguments(parser: ArgumentParser) -> None:
    """What it takes."""
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a run's folder, an agent's folder (all its seeds), or SB3's monitor.csv, "
        "progress.csv or evaluations.npz",
    )
    parser.add_argument(
        "--out", metavar="FILE", default="curves.png", help=".png, .pdf or .svg (default: curves.png)"
    )
    options.add_imports(parser)


def run(arguments: Namespace) -> None:
    """Do it."""
    from rlrnn.experiment.pictures.plotting import plot

    tell(plot(arguments.runs, arguments.out))
