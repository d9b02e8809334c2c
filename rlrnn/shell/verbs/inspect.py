"""rlrnn inspect: measure how far back an agent remembers."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rlrnn.common.texts import tell
from rlrnn.errors import UserError
from rlrnn.shell.verbs import options

SHORT = "measure how far back an agent remembers"
TEXT = """
Measures how far back an agent remembers: how much its action depends on the observation k steps before, by
gradient and by replacing that observation with another. Writes memory.png, memory.json, and activations.png
with the hidden units over the first steps of an episode, into the run's folder.

examples:
  rlrnn inspect runs/pong-gru/seed0
  rlrnn inspect runs/pong-gru/seed0 --lags 100 --out pong-memory
  rlrnn inspect runs/pong-gru/seed0 --snapshots      over its training: when did it learn to remember?
  rlrnn inspect runs/pong-gru/seed0 --data units.npz      hidden units as arrays, for studies of your own
"""


def arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "--lags", type=options.whole, default=64, help="the largest k, in steps (default: 64)"
    )
    parser.add_argument(
        "--data",
        metavar="FILE",
        help="write units, state, observations, actions, points and starts, [steps, episodes, ...], as .npz",
    )
    parser.add_argument(
        "--snapshots",
        action="store_true",
        help="measure the agents that train --snapshots N kept: writes learning.png and learning.json",
    )
    parser.add_argument("--out", metavar="FOLDER", help="where to write (default: the run's folder)")
    options.add_judged(parser)


def run(arguments: Namespace) -> None:
    """Run the verb."""
    from rlrnn.common.files import write_json
    from rlrnn.experiment.pictures.memory_pictures import draw_activations, draw_profile
    from rlrnn.experiment.pictures.memory_profile import profile
    from rlrnn.network.impulse import impulse_response

    if arguments.data and (arguments.snapshots or arguments.out):
        other = "--snapshots" if arguments.snapshots else "--out"
        raise UserError(f"--data writes that one file and nothing else: leave out {other}, or --data.")
    if arguments.snapshots:
        _learning(arguments)
        return
    agent, game, how = options.opened(arguments)
    if arguments.data:
        from rlrnn.experiment.pictures.units import record_units

        choice = options.deterministic(arguments, how)
        shapes = record_units(agent, game, arguments.data, arguments.episodes or 16, deterministic=choice)
        tell(f"{arguments.data}: {', '.join(f'{name} {list(shape)}' for name, shape in shapes.items())}")
        return
    given, deterministic = Path(arguments.run), options.deterministic(arguments, how)
    folder = Path(arguments.out) if arguments.out else given if given.is_dir() else Path()
    memory = profile(agent, game, arguments.lags, arguments.episodes or 16, deterministic)
    tell(memory.summary())
    tell(f"Impulse response: {impulse_response(agent)}.")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "memory.json", memory.to_json())
    name = " ".join(given.resolve().parts[-2:]) if given.is_dir() else given.stem
    tell(draw_profile({name: memory}, folder / "memory.png"))
    tell(draw_activations(agent, game, folder / "activations.png", deterministic=deterministic))


def _learning(arguments: Namespace) -> None:
    from rlrnn.common.files import write_json
    from rlrnn.experiment.pictures.learning import draw_learning
    from rlrnn.experiment.pictures.memory_profile import profile
    from rlrnn.experiment.runs import snapshots

    run, game = options.run_of(arguments)
    deterministic = options.deterministic(arguments, run.recipe.evaluation)
    folder = Path(arguments.out) if arguments.out else run.folder
    profiles = {}
    for steps, agent in snapshots.read(run, arguments.device):
        profiles[steps] = profile(agent, game, arguments.lags, arguments.episodes or 16, deterministic)
        tell(f"after {steps:,} steps: {profiles[steps].summary()}")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "learning.json", {str(steps): one.to_json() for steps, one in profiles.items()})
    tell(draw_learning(profiles, folder / "learning.png"))
