"""rlrnn evaluate: judge an agent by the points it wins."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rlrnn.common.texts import terminal
from rlrnn.shell.verbs import options

SHORT = "judge an agent by the points it wins"
TEXT = """
Plays the evaluation games and prints the points: with memory, with the memory wiped before every step,
and of a random player. The run's own score.json stays as it is. An agent's file (.zip) of a script that
normalised with VecNormalize lacks those statistics and plays worse than it did there.

examples:
  rlrnn evaluate runs/pong-gru/seed0
  rlrnn evaluate runs/pong-gru/seed0 --episodes 1000 --sampled
  rlrnn evaluate logs/best_model.zip --game pong --out score.json
"""


def arguments(parser: ArgumentParser) -> None:
    """What it takes."""
    parser.add_argument("--out", metavar="FILE", help="write the scores as JSON, too")
    options.add_judged(parser)
    options.add_imports(parser)
    options.add_device(parser)


def run(arguments: Namespace) -> None:
    """Do it."""
    from rlrnn.experiment.evaluation import judge, table
    from rlrnn.experiment.judging import Judging
    from rlrnn.experiment.runs import runs

    agent, game, how = options.opened(arguments)
    episodes, deterministic = arguments.episodes or how.episodes, options.deterministic(arguments, how)
    with Judging(arguments.run) as told:
        scores = judge(agent, game, episodes, deterministic, progress=told)
    terminal().print(table(scores, game, agent.policy.description.cell != "none"))
    if arguments.out:
        runs.write_scores(Path(arguments.out), scores)
