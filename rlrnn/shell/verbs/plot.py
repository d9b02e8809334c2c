"""rlrnn plot: draw learning curves."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace

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
  rlrnn plot runs/a runs/b --x time --y won --labels GRU LSTM --size 5x3 --iqm --out paper.svg
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
    parser.add_argument("--x", choices=("steps", "episodes", "time"), default="steps", help="x axis")
    parser.add_argument("--y", choices=("points", "length", "won"), default="points", help="y axis")
    parser.add_argument("--labels", nargs="+", default=(), metavar="LABEL", help="of the agents, in order")
    parser.add_argument("--window", type=options.count, metavar="N", help="episodes of the running mean")
    parser.add_argument(
        "--size", type=_size, default=(8.0, 4.8), metavar="WxH", help="inches (default: 8x4.8)"
    )
    parser.add_argument(
        "--iqm",
        action="store_true",
        help="seeds as interquartile mean with its 95 %% interval, not as median",
    )
    options.add_imports(parser)


def run(arguments: Namespace) -> None:
    """Run the verb."""
    from rlrnn.experiment.pictures.plotting import plot

    names = "x", "y", "labels", "window", "size", "iqm"
    tell(plot(arguments.runs, arguments.out, **{name: getattr(arguments, name) for name in names}))


def _size(text: str) -> tuple[float, float]:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)x(\d+(?:\.\d+)?)", text)
    width, height = map(float, found.groups()) if found else (0.0, 0.0)
    if not (2 <= width <= 100 and 2 <= height <= 100):  # as plotting does, without loading it
        raise ArgumentTypeError(f"{text!r} is not a size in inches from 2x2 to 100x100, such as 8x4.8")
    return width, height
