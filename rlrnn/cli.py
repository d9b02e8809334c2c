"""The shell: rlrnn list, train, evaluate, compare, plot, inspect, watch, report."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlrnn import __version__, manual
from rlrnn.errors import UserError

if TYPE_CHECKING:
    from rlrnn.catalogue import Game
    from rlrnn.ppo import RecurrentPPO
    from rlrnn.recipes import EvaluationRecipe, Recipe
    from rlrnn.runs import Run

RUN_HELP = "a run's folder, or a saved agent (.zip) with --game"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, 1 (the system failed), 2 (a mistake to mend) or 130 (Ctrl-C)."""
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = _parser().parse_args(argv)
    arguments.line = shlex.join(["rlrnn", *argv])
    try:
        for module in getattr(arguments, "imports", []):
            import_module(module)
        arguments.command(arguments)
    except KeyboardInterrupt as error:
        return _fail(error, "interrupted.", 130)
    except UserError as error:
        # The operating system's own failures, a full disk above all, are not the user's mistake.
        system = isinstance(error.__cause__, OSError) and not isinstance(error, FileNotFoundError)
        return _fail(error, str(error), 1 if system else 2)
    except OSError as error:
        about = f" ({error.filename})" if error.filename else ""
        return _fail(
            error, f"{error.strerror or error}{about}: make room, or choose another place with --out.", 1
        )
    return 0


def _fail(error: BaseException, sentence: str, status: int) -> int:
    # What an environment or a library said may run over several lines.
    texts = [" ".join(text.split()) for text in (sentence, *getattr(error, "__notes__", []))]
    ended = [text if text.endswith((".", "?", "!")) else f"{text}." for text in texts]
    print("rlrnn:", *ended, file=sys.stderr)
    return status


def import_module(name: str) -> None:
    """Import a user's module, by its dotted name or as a file, so that it can register games and cells."""
    path = Path(name)
    sys.path.insert(0, str(path.parent.resolve() if path.suffix == ".py" else Path.cwd()))
    if path.suffix != ".py":
        if importlib.util.find_spec(name.partition(".")[0]) is None:
            raise UserError(f"--import {name}: there is no such module; give a file (.py) or a dotted name.")
        _execute(name, name)
        return
    if not path.exists():
        raise UserError(f"--import {name}: there is no such file; check the path.")
    loaded = sys.modules.get(path.stem)
    if loaded is not None and Path(loaded.__file__ or "").resolve() != path.resolve():
        raise UserError(f"--import {name}: another module is called {path.stem}; rename the file.")
    _execute(path.stem, name)


def _execute(module: str, name: str) -> None:
    try:
        importlib.import_module(module)
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        # A SyntaxError says by itself where it is.
        place = "" if isinstance(error, SyntaxError) else f" ({frame.filename}, line {frame.lineno})"
        raise UserError(f"--import {name} raised {type(error).__name__}: {error}{place}.") from None


def _list(arguments: argparse.Namespace) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Column, Table

    from rlrnn import catalogue

    def column(heading: str, names: Iterable[str]) -> Column:
        # Names are typed again by whoever reads them: never cut short.
        return Column(heading, no_wrap=True, min_width=max(map(len, names)))

    known = catalogue.games()
    games = Table(column("game", known), "what must be remembered", box=SIMPLE, pad_edge=False)
    for name, game in known.items():
        games.add_row(name, game.remember)
    recipes = catalogue.agents()
    agents = Table(column("agent", recipes), column("game", [r.game for r in recipes.values()]), box=SIMPLE)
    agents.pad_edge = False
    agents.caption = "verified points: the mean over seeds, and the worst seed"
    for heading in ("steps", "points", "worst"):
        agents.add_column(heading, justify="right", no_wrap=True)
    for name, recipe in recipes.items():
        points = recipe.verified.points if recipe.verified else ()
        scores = (f"{sum(points) / len(points):.1f}", f"{min(points):.1f}") if points else ("not yet", "")
        agents.add_row(name, recipe.game, f"{recipe.steps:,}", *scores)
    Console().print(games, agents)


def _train(arguments: argparse.Namespace) -> None:
    from rlrnn import catalogue, recipes
    from rlrnn.training import resume, train

    if arguments.resume:
        _say_what_came_of_it(resume(arguments.agent, device=arguments.device))
        return
    settings = [*arguments.settings, *([f"steps={arguments.steps}"] if arguments.steps else [])]
    recipe = recipes.override(catalogue.agent(arguments.agent), settings)
    if arguments.seeds is not None:
        _train_seeds(arguments, recipe)
        return
    run = train(
        recipe,
        arguments.seed,
        arguments.out,
        overwrite=arguments.overwrite,
        device=arguments.device,
        command=arguments.line,
    )
    _say_what_came_of_it(run)


def _train_seeds(arguments: argparse.Namespace, recipe: Recipe) -> None:
    from rich.console import Console

    from rlrnn.comparing import compare, table
    from rlrnn.seeds import Task, cores, train_seeds

    folder = Path(arguments.out or Path("runs", recipe.name))
    numbers = range(arguments.seed, arguments.seed + arguments.seeds)
    what = {"device": arguments.device, "overwrite": arguments.overwrite, "imports": tuple(arguments.imports)}
    tasks = [Task(recipe, k, folder / f"seed{k}", command=arguments.line, **what) for k in numbers]
    outcome = train_seeds(tasks, arguments.jobs or cores())
    if outcome.finished:
        Console().print(table(compare(outcome.finished)))
    print(f"{len(outcome.finished)} of {len(tasks)} seeds are finished, in {folder}")
    if outcome.failed:
        raise UserError(" ".join(f"Seed {seed} failed: {why}" for seed, why in outcome.failed.items()))


def _say_what_came_of_it(run: Run) -> None:
    from rich.console import Console

    from rlrnn.evaluation import table

    Console().print(table(run.scores(), run.game))
    print(
        f"{run.facts['steps']:,} steps in {run.facts['seconds']:.0f} s; all of the run lies in {run.folder}"
    )


def _evaluate(arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from rlrnn import runs
    from rlrnn.evaluation import judge, judging, table

    agent, game, how = _opened(arguments)
    with judging(arguments.run):
        scores = judge(agent, game, arguments.episodes or how.episodes, _deterministic(arguments, how))
    Console().print(table(scores, game))
    if arguments.out:
        runs.write_scores(Path(arguments.out), scores)


def _plot(arguments: argparse.Namespace) -> None:
    from rlrnn.plotting import plot

    print(plot(arguments.runs, arguments.out))


def _compare(arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from rlrnn.comparing import compare, draw, table

    comparison = compare(arguments.runs)
    Console().print(table(comparison))
    if arguments.out:
        print(draw(comparison, arguments.out))


def _watch(arguments: argparse.Namespace) -> None:
    from rlrnn.watching import watch

    agent, game, how = _opened(arguments)
    folder = Path(arguments.run) if Path(arguments.run).is_dir() else Path()
    path = Path(arguments.out) if arguments.out else folder / "play.gif"
    deterministic = _deterministic(arguments, how)
    print(watch(agent, game, path, arguments.episodes or 1, deterministic, activations=arguments.activations))


def _inspect(arguments: argparse.Namespace) -> None:
    from rlrnn import runs
    from rlrnn.inspecting import profile
    from rlrnn.pictures import draw_activations, draw_profile

    agent, game, how = _opened(arguments)
    given, deterministic = Path(arguments.run), _deterministic(arguments, how)
    folder = Path(arguments.out) if arguments.out else given if given.is_dir() else Path()
    memory = profile(agent, game, arguments.lags, arguments.episodes or 16, deterministic)
    print(memory.summary())
    folder.mkdir(parents=True, exist_ok=True)
    runs.write_json(folder / "memory.json", memory.to_json())
    name = " ".join(given.resolve().parts[-2:]) if given.is_dir() else given.stem
    print(draw_profile({name: memory}, folder / "memory.png"))
    print(draw_activations(agent, game, folder / "activations.png", deterministic=deterministic))


def _report(arguments: argparse.Namespace) -> None:
    from rlrnn.reporting import report

    folder = Path(arguments.run)
    if not folder.exists() and len(folder.parts) == 1:
        folder = Path("runs", folder)  # an agent by its name
    print(report(folder, arguments.out or folder / "report.html"))


def _opened(arguments: argparse.Namespace) -> tuple[RecurrentPPO, Game, EvaluationRecipe]:
    """The agent, its game and how it is judged, from a run's folder or an agent's file."""
    from rlrnn import catalogue, runs
    from rlrnn.recipes import EvaluationRecipe

    path = Path(arguments.run)
    if path.is_dir() or (not path.exists() and path.suffix != ".zip" and not arguments.game):
        run = runs.read_run(path)
        game = catalogue.game(arguments.game) if arguments.game else run.game
        return run.agent(arguments.device), game, run.recipe.evaluation
    if not arguments.game:
        raise UserError(f"{path} does not say what it plays: add --game (see: rlrnn list).")
    from rlrnn.ppo import RecurrentPPO

    game = catalogue.game(arguments.game)
    return RecurrentPPO.load(path, device=arguments.device), game, EvaluationRecipe()


def _deterministic(arguments: argparse.Namespace, how: EvaluationRecipe) -> bool:
    return how.deterministic if arguments.deterministic is None else bool(arguments.deterministic)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "rlrnn",
        description=manual.DESCRIPTION,
        epilog=manual.FIRST_STEPS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"rlrnn {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], None], text: str, short: str) -> Any:
        raw = argparse.RawDescriptionHelpFormatter
        added = commands.add_parser(name, help=short, description=text, formatter_class=raw)
        added.set_defaults(command=run)
        return added

    command("list", _list, manual.LIST, "the games and agents of the catalogue")

    train = command("train", _train, manual.TRAIN, "train an agent by its recipe")
    train.add_argument("agent", metavar="AGENT", help="an agent of the catalogue, or the path of a recipe")
    train.add_argument(
        "--resume", action="store_true", help="go on with a run that was killed: AGENT is its folder"
    )
    train.add_argument("--seed", type=_whole, default=0, help="decides everything random (default: 0)")
    train.add_argument(
        "--seeds", type=_count, metavar="N", help="train N seeds, from --seed on; finished ones are skipped"
    )
    train.add_argument(
        "--jobs", type=_count, metavar="J", help="how many seeds at a time (default: one per processor core)"
    )
    train.add_argument("--steps", help="how many steps of the game to train for, instead of the recipe's")
    train.add_argument("--out", metavar="FOLDER", help="where the run goes (default: runs/<agent>/seed<k>)")
    train.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change one setting of the recipe; may be given several times; KEY= alone means the default",
    )
    train.add_argument(
        "--overwrite", action="store_true", help="replace an older run once the new one is finished"
    )

    evaluate = command("evaluate", _evaluate, manual.EVALUATE, "judge an agent by the points it wins")
    evaluate.add_argument("--out", metavar="FILE", help="write the scores as JSON, too")

    plot = command("plot", _plot, manual.PLOT, "draw learning curves")
    plot.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a run's folder, an agent's folder (all its seeds), or SB3's monitor.csv, "
        "progress.csv or evaluations.npz",
    )
    plot.add_argument(
        "--out", metavar="FILE", default="curves.png", help=".png, .pdf or .svg (default: curves.png)"
    )

    compare = command("compare", _compare, manual.COMPARE, "compare agents over their seeds")
    compare.add_argument(
        "runs", nargs="+", metavar="RUN", help="a run's folder, or an agent's folder (all its seeds)"
    )
    compare.add_argument("--out", metavar="FILE", help="draw it, too: .png, .svg or .pdf")

    inspect = command("inspect", _inspect, manual.INSPECT, "ask how far back an agent remembers")
    inspect.add_argument("--lags", type=_whole, default=64, help="how many steps back at most (default: 64)")
    inspect.add_argument("--out", metavar="FOLDER", help="where to write (default: the run's folder)")

    report = command("report", _report, manual.REPORT, "write one HTML file on an agent")
    report.add_argument(
        "run", metavar="AGENT", help="an agent's folder (all its seeds), its name, or a run's folder"
    )
    report.add_argument("--out", metavar="FILE", help="default: report.html in that folder")

    watch = command("watch", _watch, manual.WATCH, "record games played")
    watch.add_argument("--out", metavar="FILE", help=".gif or .mp4 (default: play.gif in the run's folder)")

    watch.add_argument("--activations", action="store_true", help="its hidden units beside the game")

    for judged in (evaluate, inspect, watch):
        judged.add_argument("run", metavar="RUN", help=RUN_HELP)
        judged.add_argument("--game", help="a game of the catalogue, its TOML file, or a Gymnasium id")
        judged.add_argument("--episodes", type=_count, help="how many to play")
        actions = judged.add_mutually_exclusive_group()
        actions.add_argument(
            "--deterministic",
            action="store_true",
            default=None,
            help="the most likely action (else as the recipe says)",
        )
        actions.add_argument("--sampled", dest="deterministic", action="store_false", help="sampled actions")
    for playing in (train, evaluate, compare, plot, inspect, watch, report):
        playing.add_argument(
            "--import",
            dest="imports",
            action="append",
            default=[],
            metavar="MODULE",
            help="a module or .py file that registers games or cells of yours",
        )
    for computing in (train, evaluate, inspect, watch):
        computing.add_argument(
            "--device", type=_device, default="cpu", help="cpu, cuda or auto (default: cpu)"
        )
    return parser


def _device(text: str) -> str:
    if not re.fullmatch(r"cpu|auto|mps|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not one of cpu, cuda, cuda:<number>, mps, auto")
    if text.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            raise argparse.ArgumentTypeError("torch finds no CUDA device here: choose cpu or auto")
    return text


def _whole(text: str) -> int:
    return _at_least(text, 0)


def _count(text: str) -> int:
    return _at_least(text, 1)


def _at_least(text: str, least: int) -> int:
    if not text.replace("_", "").isdigit() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return int(text)
