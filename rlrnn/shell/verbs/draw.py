"""rlrnn draw: draw a network, its units and their connections."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rlrnn.common.texts import tell
from rlrnn.errors import UserError
from rlrnn.shell.verbs import options

SHORT = "draw a network: its units and their connections"
TEXT = """
Draws the network of an agent, trained or as initialised by its recipe: inputs on the left, actions on the
right, between them every unit and connection of a small network, or the layers of a large one. The width of
a line is the size of its weight; delayed (recurrent) connections are dashed. The caption says how many
parameters the network has and whether its impulse response is finite.

examples:
  rlrnn draw runs/t-maze-20-evolved/seed0
  rlrnn draw runs/t-maze-20-evolved/seed0 --out network.svg
  rlrnn draw logs/best_model.zip
  rlrnn draw pong-gru --set network.cell=lstm --set network.hidden_size=4
"""


def arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "agent",
        metavar="AGENT",
        help="a run's folder, a saved agent (.zip), an agent of the catalogue, or the path of a recipe",
    )
    parser.add_argument(
        "--out", metavar="FILE", help=".png, .svg or .pdf (default: network.png in the run's folder, or here)"
    )
    options.add_settings(parser)
    options.add_imports(parser)


def run(arguments: Namespace) -> None:
    """Run the verb."""
    from rlrnn.experiment import agents, catalogue, recipes
    from rlrnn.experiment.pictures.network_drawing import draw_network
    from rlrnn.experiment.runs import runs

    path = Path(arguments.agent)
    known = path.name in catalogue.agents() or path.suffix == ".toml"
    if path.is_dir() or path.suffix == ".zip" or (len(path.parts) > 1 and not known):
        if arguments.settings:
            raise UserError(f"--set changes a recipe, but {path} was trained by its own: leave out --set.")
        run = None if path.suffix == ".zip" else runs.read_run(path)
        agent = agents.load(path, "cpu") if run is None else run.agent()
        title = path.name if run is None else f"{run.recipe.name}, seed {run.seed}"
    else:
        run, recipe = None, recipes.override(catalogue.agent(arguments.agent), arguments.settings)
        agent, title = agents.untrained(recipe), f"{recipe.name}, untrained"
    out = arguments.out or (Path() if run is None else run.folder) / "network.png"
    tell(draw_network(agent, out, title))
