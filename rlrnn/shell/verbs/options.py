"""Options that several verbs share, and the types of their values."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlrnn.common.settings import unknown
from rlrnn.common.texts import tell
from rlrnn.errors import UserError
from rlrnn.experiment.training import shards
from rlrnn.experiment.training.shards import Shard

if TYPE_CHECKING:
    from rlrnn.envs.games import Game
    from rlrnn.experiment.agents import Agent
    from rlrnn.experiment.recipes import EvaluationRecipe
    from rlrnn.experiment.runs.runs import Run

DEVICES = ("cpu", "cuda", "cuda:<number>", "mps", "auto")
RUN_HELP = "a run's folder, a verified agent whose weights come along, or a saved agent (.zip) with --game"


def add_judged(parser: ArgumentParser) -> None:
    """Which agent plays which game, how many episodes and how: see ``opened`` and ``deterministic``."""
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument("--game", help="a game of the catalogue, its TOML file, or a Gymnasium id")
    parser.add_argument("--episodes", type=count, help="how many episodes to play")
    actions = parser.add_mutually_exclusive_group()
    actions.add_argument(
        "--deterministic",
        action="store_true",
        default=None,
        help="the most likely actions (default: as the recipe says)",
    )
    actions.add_argument(
        "--sampled", dest="deterministic", action="store_false", help="sampled actions, as in training"
    )
    add_imports(parser)
    add_device(parser)


def add_json(parser: ArgumentParser) -> None:
    """One JSON document instead of tables; ``json`` is then the stream that it goes to."""
    parser.add_argument("--json", action="store_true", help="print one JSON document, and nothing else")


def add_quiet(parser: ArgumentParser) -> None:
    """No progress."""
    parser.add_argument("--quiet", action="store_true", help="show no progress; errors and results alone")


def add_settings(parser: ArgumentParser) -> None:
    """Overrides of a recipe's settings."""
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one setting of the recipe; may be repeated; KEY= alone restores the default",
    )


def add_game(parser: ArgumentParser, required: bool = False) -> None:
    """A game, and what is changed of it: see ``changes``."""
    parser.add_argument(
        "--game",
        required=required,
        metavar="GAME",
        help="a game of the catalogue, its TOML file, or any registered Gymnasium id",
    )
    add_changes(parser)


def add_changes(parser: ArgumentParser) -> None:
    """Keyword arguments and wrappers of a game."""
    parser.add_argument(
        "--kwargs",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="keyword arguments with which the game is made",
    )
    parser.add_argument(
        "--wrapper",
        dest="wrappers",
        action="append",
        default=[],
        metavar="NAME[, KEY = VALUE]",
        help="one of our wrappers, such as 'hide, drop = [1, 3]'; may be repeated, innermost first",
    )


def changes(arguments: Namespace) -> dict[str, Any]:
    """``kwargs`` and ``wrappers`` as those options name them."""
    from rlrnn.experiment.recipes import read_value

    pairs = [text.partition("=") for text in arguments.kwargs]
    for text, (key, equals, _) in zip(arguments.kwargs, pairs, strict=True):
        if not (key.strip() and equals):
            raise UserError(f"--kwargs takes KEY=VALUE, such as length=8, not {text!r}.")
    kwargs = {key.strip(): read_value(value.strip()) for key, _, value in pairs}
    return {"kwargs": kwargs, "wrappers": [_wrapper(text) for text in arguments.wrappers]}


def _wrapper(text: str) -> dict[str, Any]:
    """A wrapper as game files say it, or its name first: "hide, drop = [1, 3]"."""
    name, comma, rest = text.partition(",")
    table = text if text.startswith("{") else f"{{ name = '{name.strip()}'{comma}{rest} }}"
    try:
        return {"name": "", **tomllib.loads(f"wrapper = {table}")["wrapper"]}
    except tomllib.TOMLDecodeError:
        raise UserError(
            f"--wrapper takes a name and what that wrapper takes, as 'hide, drop = [1, 3]', not {text!r}."
        ) from None


def add_jobs(parser: ArgumentParser) -> None:
    """How many seeds run in parallel."""
    parser.add_argument(
        "--jobs",
        type=count,
        metavar="J",
        help="how many seeds to run in parallel (default: one per processor core)",
    )


def add_any_processor(parser: ArgumentParser) -> None:
    """Whether runs go on where they end in other bytes: see ``take_any_processor``."""
    parser.add_argument(
        "--any-processor",
        action="store_true",
        help="go on with a run on another kind of processor than it began on, although it then ends in other "
        "bytes (as RLRNN_ANY_PROCESSOR=1)",
    )


def take_any_processor(arguments: Namespace) -> None:
    """Let all processes that are started here know."""
    from rlrnn.experiment.training.rounding import ANY

    if arguments.any_processor:
        os.environ[ANY] = "1"


def add_shard(parser: ArgumentParser) -> None:
    """Which part of the seeds this process trains."""
    parser.add_argument(
        "--shard",
        type=shard,
        metavar="I/N",
        help="only part I of N of the seeds, counted from 1, or all (default: as a job array of SLURM or "
        "Grid Engine says, else all). All may be trained by many processes at once, too: each takes the next "
        "run that nobody holds",
    )


def shard(text: str) -> Shard:
    """A part, such as 3/10, or all."""
    try:
        return shards.parse(text)
    except UserError as error:
        raise ArgumentTypeError(str(error)) from None


def shard_of(arguments: Namespace, seeds: Sequence[int]) -> list[int]:
    """The seeds that this process is to train; what a scheduler says about that is printed."""
    chosen: Shard = arguments.shard or shards.scheduled()
    mine = chosen.of(seeds)
    if chosen.source:
        words = f"shard {chosen}, from {chosen.source}: {shards.in_words(mine)} of {len(seeds)}"
        tell(f"rlrnn: {words}; --shard all trains all.", file=sys.stderr)
    return mine


def add_imports(parser: ArgumentParser) -> None:
    """The user's own modules, which ``cli`` imports."""
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module or .py file that registers games or cells of yours",
    )


def add_device(parser: ArgumentParser) -> None:
    """Where to compute."""
    parser.add_argument("--device", type=device, default="cpu", help="cpu, cuda or auto (default: cpu)")


def opened(arguments: Namespace) -> tuple[Agent, Game, EvaluationRecipe]:
    """The agent, its game and its evaluation settings: of a run, a verified agent, or an agent's file."""
    from rlrnn.envs import games
    from rlrnn.experiment import catalogue, weights
    from rlrnn.experiment.recipes import EvaluationRecipe
    from rlrnn.experiment.runs import runs

    path = Path(arguments.run)
    if not path.exists() and games.is_game(arguments.run):
        raise catalogue.no_agent(arguments.run)
    if not path.exists() and catalogue.is_agent(arguments.run):
        agent, recipe = weights.trained(arguments.run, arguments.device)
        game = games.game(arguments.game) if arguments.game else catalogue.game_of(recipe)
        return agent, game, recipe.evaluation
    if path.is_dir() or (not path.exists() and path.suffix != ".zip" and not arguments.game):
        run = runs.read_run(path)
        game = games.game(arguments.game) if arguments.game else run.game
        return run.agent(arguments.device), game, run.recipe.evaluation
    if not arguments.game:
        raise UserError(f"{path} does not name its game: add --game (see: rlrnn list).")
    from rlrnn.experiment import agents

    game = games.game(arguments.game)
    return agents.load(path, arguments.device), game, EvaluationRecipe()


def run_of(arguments: Namespace) -> tuple[Run, Game]:
    """The run in a folder, where the agent of a file will not do, and the game that it is to play."""
    from rlrnn.envs import games
    from rlrnn.experiment.runs import runs

    run = runs.read_run(arguments.run)
    return run, games.game(arguments.game) if arguments.game else run.game


def deterministic(arguments: Namespace, how: EvaluationRecipe) -> bool:
    """Whether actions are deterministic, as the options or else the recipe say."""
    return how.deterministic if arguments.deterministic is None else bool(arguments.deterministic)


def device(text: str) -> str:
    """The name of a torch device that is available."""
    if not re.fullmatch(r"cpu|auto|mps|cuda(:\d+)?", text):
        raise ArgumentTypeError(unknown("device", text, DEVICES))
    if text.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            raise ArgumentTypeError("torch finds no CUDA device here: choose cpu or auto")
    return text


def whole(text: str) -> int:
    """A whole number from 0 on."""
    return _at_least(text, 0)


def count(text: str) -> int:
    """A whole number from 1 on."""
    return _at_least(text, 1)


def _at_least(text: str, least: int) -> int:
    number = int(text) if re.fullmatch("[0-9]{1,18}(_[0-9]{1,18})*", text) else -1
    if number < least:
        raise ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return number
