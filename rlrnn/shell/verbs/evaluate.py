"""rlrnn evaluate: evaluate an agent."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from contextlib import nullcontext
from pathlib import Path

from rlrnn.common.texts import tell_json, terminal
from rlrnn.shell.verbs import options

SHORT = "evaluate an agent: its points per episode"
TEXT = """
Plays evaluation episodes and prints the points per episode (undiscounted return): of the agent with memory,
with its memory wiped (reset) before every step, and of a random player. The run's own score.json stays as it
is. An agent trained behind VecNormalize is evaluated with the statistics saved in its file, or, as files of
sb3-contrib have none, with those in the vecnormalize.pkl beside it.

examples:
  rlrnn evaluate pong-gru                        a verified agent, whose weights come along
  rlrnn evaluate runs/pong-gru/seed0
  rlrnn evaluate runs/pong-gru/seed0 --episodes 1000 --sampled
  rlrnn evaluate logs/best_model.zip --game pong --out score.json
"""


def arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("--out", metavar="FILE", help="also write the scores as JSON")
    options.add_json(parser)
    options.add_quiet(parser)
    options.add_judged(parser)


def run(arguments: Namespace) -> None:
    """Run the verb."""
    from rlrnn.experiment.evaluation import judge, shown
    from rlrnn.experiment.judging import Judging
    from rlrnn.experiment.runs import runs

    agent, game, how = options.opened(arguments)
    episodes, deterministic = arguments.episodes or how.episodes, options.deterministic(arguments, how)
    with nullcontext() if arguments.quiet else Judging(arguments.run) as progress:
        scores = judge(agent, game, episodes, deterministic, progress=progress)
    if arguments.json:
        found = {name: score.to_json() for name, score in scores.items()}
        tell_json({"game": game.name, "scores": found}, arguments.json)
    else:
        terminal().print(shown(scores, game, agent.policy.description.cell != "none"))
    if arguments.out:
        runs.write_scores(Path(arguments.out), scores)
