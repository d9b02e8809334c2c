"""rlrnn record: record whole episodes of an agent's play, to be imitated."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from rlrnn.common.texts import tell
from rlrnn.shell.verbs import options

SHORT = "record an agent's episodes as data, to be imitated"
TEXT = """
Plays whole episodes and writes observations, actions, rewards and lengths as one .npz without pickle:
rlrnn.load_episodes reads it, and rlrnn imitate trains another agent on it. For a film: rlrnn watch.

examples:
  rlrnn record runs/t-maze-100-gru/seed0 --episodes 200 --out t-maze.npz
  rlrnn record logs/best_model.zip --game pong --sampled --out pong.npz
"""


def arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("--out", metavar="FILE", default="episodes.npz", help=".npz (default: episodes.npz)")
    parser.add_argument("--seed", type=options.whole, default=0, help="of the episodes (default: 0)")
    options.add_judged(parser)


def run(arguments: Namespace) -> None:
    """Run the verb."""
    import numpy as np

    from rlrnn.experiment.recording import record
    from rlrnn.learners.sequences.episodes import save_episodes

    agent, game, how = options.opened(arguments)
    choice = options.deterministic(arguments, how)
    episodes = record(agent, game, arguments.episodes or 100, arguments.seed, deterministic=choice)
    path = save_episodes(arguments.out, episodes)
    points = [episode.points for episode in episodes]
    steps = sum(map(len, episodes))
    tell(
        f"{path}: {len(episodes)} episodes of {game.name}, {steps:,} steps, "
        f"{np.mean(points):.2f} on average ({game.points.unit})"
    )
