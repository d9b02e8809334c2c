"""rlrnn plot: draw learning curves."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from rlrnn.common.texts import tell
from rlrnn.shell.verbs import options

SHORT = "draw learning curves"
TEXT = """
Draws learning curves into one picture: points per episode against environment steps, one colour per agent,
with the game's reference scores. One or two seeds are drawn as episodes and their running mean; three or more
as their median and quartiles.

examples:
  rlrnn plot runs/pong-gru/seed0
  rlrnn plot runs/pong-gru runs/pong-gru-stacked --out pong.pdf      all seeds of two agents
  rlrnn plot logs/monitor.csv logs/progress.csv logs/evaluations.npz
"""


def arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
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
    """Run the verb."""
    from rlrnn.experiment.pictures.plotting import plot

    tell(plot(arguments.runs, arguments.out))
