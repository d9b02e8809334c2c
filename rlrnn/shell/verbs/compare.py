"""rlrnn compare: compare agents over their seeds."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rlrnn.common.texts import tell, tell_json, terminal
from rlrnn.errors import UserError
from rlrnn.shell.verbs import options

SHORT = "compare agents over their seeds"
TEXT = """
Compares agents of one game over all their seeds: mean, 95 % interval, standard deviation, median and
interquartile mean (IQM) of the points; the score normalised between a random player (0) and the game's
ceiling (1); and the probability of improvement, that a seed of one agent wins more than one of another.

examples:
  rlrnn compare runs/pong-gru
  rlrnn compare runs/pong-gru runs/pong-gru-feedforward runs/pong-gru-stacked --out pong.svg
  rlrnn compare runs/pong-gru runs/pong-lstm --csv scores.csv --latex scores.tex
"""


def arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="a run's folder, or an agent's folder (all its seeds)"
    )
    parser.add_argument("--out", metavar="FILE", help="also draw the comparison: .png, .svg or .pdf")
    parser.add_argument(
        "--profile",
        metavar="FILE",
        help="also draw performance profiles: the share of episodes with more points",
    )
    parser.add_argument("--csv", metavar="FILE", help="also write the numbers as CSV")
    parser.add_argument("--latex", metavar="FILE", help="also write them as a table of LaTeX (booktabs)")
    options.add_json(parser)
    options.add_imports(parser)


def run(arguments: Namespace) -> None:
    """Run the verb."""
    from rlrnn.experiment.pictures.scores import draw, draw_profiles
    from rlrnn.experiment.runs import exporting
    from rlrnn.experiment.runs.comparing import compare, table

    files = [path for path in (arguments.out, arguments.profile, arguments.csv, arguments.latex) if path]
    if len({Path(path).resolve() for path in files}) < len(files):
        raise UserError("two of --out, --profile, --csv and --latex name the same file: give each its own.")
    comparison = compare(arguments.runs)
    if arguments.json:
        tell_json(exporting.to_json(comparison), arguments.json)
    else:
        terminal().print(table(comparison))
    written: list[Path] = [draw(comparison, arguments.out)] if arguments.out else []
    written += [draw_profiles(comparison, arguments.profile)] if arguments.profile else []
    written += [exporting.write_csv(comparison, arguments.csv)] if arguments.csv else []
    written += [exporting.write_latex(comparison, arguments.latex)] if arguments.latex else []
    for path in written:
        tell(path)  # with --json on stderr
