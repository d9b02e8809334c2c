"""rlrnn compare: compare agents over their seeds."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from rlrnn.common.texts import tell, terminal
from rlrnn.shell.verbs import options

SHORT = "compare agents over their seeds"
TEXT = """
Compares agents of one game over all their seeds: mean, 95 % interval, standard deviation, median and
interquartile mean (IQM) of the points; the score normalised between a random player (0) and the game's
ceiling (1); and the probability of improvement, that a seed of one agent wins more than one of another.

examples:
  rlrnn compare runs/pong-gru
  rlrnn compare runs/pong-gru runs/pong-gru-feedforward runs/pong-gru-stacked --out pong.svg
"""


def arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="a run's folder, or an agent's folder (all its seeds)"
    )
    parser.add_argument("--out", metavar="FILE", help="also draw the comparison: .png, .svg or .pdf")
    options.add_imports(parser)


def run(arguments: Namespace) -> None:
    """Run the verb."""
    from rlrnn.experiment.pictures.scores import draw
    from rlrnn.experiment.runs.comparing import compare, table

    comparison = compare(arguments.runs)
    terminal().print(table(comparison))
    if arguments.out:
        tell(draw(comparison, arguments.out))
