"""rlrnn imitate: train an agent's network on recorded episodes."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rlrnn.common.texts import tell
from rlrnn.shell.verbs import options

SHORT = "train an agent to repeat recorded episodes"
TEXT = """
Makes the untrained agent of a recipe and trains its network to repeat the actions of recorded episodes; a
tenth of them is held out, and decides when to stop. The agent is saved, to be evaluated or to go on from.

examples:
  rlrnn imitate t-maze-100-gru t-maze.npz --out begun.zip
  rlrnn evaluate begun.zip --game t-maze-100
  rlrnn train t-maze-100-gru --from begun.zip        and then from reward
"""


def arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("agent", metavar="AGENT", help="an agent of the catalogue, or the path of a recipe")
    parser.add_argument("episodes", metavar="EPISODES", help=".npz, as rlrnn record writes it")
    parser.add_argument("--epochs", type=options.count, default=400, help="at most (default: 400)")
    parser.add_argument("--seed", type=options.whole, default=0, help="of all random numbers (default: 0)")
    parser.add_argument(
        "--out", metavar="FILE", default="imitation.zip", help="the agent's file (default: imitation.zip)"
    )
    options.add_quiet(parser)
    options.add_settings(parser)
    options.add_imports(parser)
    options.add_device(parser)


def run(arguments: Namespace) -> None:
    """Run the verb."""
    from contextlib import closing

    from rlrnn.experiment import agents, catalogue, recipes
    from rlrnn.learners.sequences.episodes import load_episodes
    from rlrnn.learners.sequences.imitation import imitate
    from rlrnn.storage import archive

    recipe = recipes.override(catalogue.agent(arguments.agent), arguments.settings)
    episodes = load_episodes(arguments.episodes)
    with closing(agents.copies(recipe, catalogue.game_of(recipe), arguments.seed, workers=0)) as env:
        agent = agents.learner(recipe, env, arguments.seed, arguments.device)
        how = {"seed": arguments.seed, "progress": not arguments.quiet}
        rows = imitate(agent, episodes, epochs=arguments.epochs, **how)
        path = archive.target(Path(arguments.out))
        agent.save(path)
    said = ", ".join(f"{name} {value:.4g}" for name, value in rows[-1].items())
    tell(f"{path}: {len(episodes)} episodes, {len(rows)} epochs; the last one: {said}")
