"""The shell: rlrnn list, show, train, verify, evaluate, compare, plot, inspect, draw, watch, report."""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlrnn.common.settings import unknown
from rlrnn.common.texts import tell, terminal
from rlrnn.errors import TRACEBACK, GameExit, UserError, sentences, show_traceback
from rlrnn.experiment.imports import import_module
from rlrnn.shell.arguments import parser

if TYPE_CHECKING:
    from rlrnn.envs.games import Game
    from rlrnn.experiment.agents import Agent
    from rlrnn.experiment.recipes import EvaluationRecipe, Recipe
    from rlrnn.experiment.runs.runs import Run


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and tell its exit status.

    0; 1: the system failed, or an agent was not verified; 2: a mistake to mend; 130: Ctrl-C.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    if not argv:
        parser().print_help()
        return 0
    if (name := next((word for word in argv if not word.startswith("-")), None)) not in (None, *COMMANDS):
        return _fail(UserError(), unknown("command", name, COMMANDS), 2)
    arguments = parser().parse_args(argv)
    arguments.line = shlex.join(["rlrnn", *argv])
    if arguments.traceback:
        os.environ[TRACEBACK] = "1"  # which processes of seeds see, too
    try:
        for module in getattr(arguments, "imports", []):
            import_module(module)
        with _warnings_in_a_line():
            status = COMMANDS[arguments.command](arguments) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # who read along, such as `head`, has heard enough: quiet, as rich is then
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's own last words
        return 1
    except KeyboardInterrupt as error:
        return _fail(error, "interrupted.", 130)
    except UserError as error:
        # The operating system's own failures, a full disk above all, are not the user's mistake, nor is a
        # closed window.
        system = isinstance(error.__cause__, OSError) and not isinstance(error, FileNotFoundError)
        system = system or isinstance(error, GameExit)
        unknown_name = "--import" in str(error)  # which a module would have registered
        remedy = _not_imported(arguments) if unknown_name else ""
        return _fail(error, f"{error}{remedy}", 1 if system else 2)
    except OSError as error:
        from rlrnn.common.files import sentence

        return _fail(error, sentence(error), 1)


@contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    """Show what users are warned of as all else is said here, without this program's own file and line."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
        if issubclass(category, UserWarning):
            tell("rlrnn:", " ".join(str(message).split()), file=sys.stderr)
        else:
            usual(message, category, *place)

    with warnings.catch_warnings():
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def _not_imported(arguments: Namespace) -> str:
    """What a run whose game or cell is not known was trained with: never imported without being told to."""
    from rlrnn.experiment.runs.runs import missing_imports

    given = getattr(arguments, "imports", [])
    named = [getattr(arguments, name, None) for name in ("run", "agent")]
    for folder in (*getattr(arguments, "runs", []), *(name for name in named if name)):
        if missing := missing_imports(folder, given):
            told = " ".join(f"--import {name}" for name in missing)
            return f" {folder} was trained with {told}: say it again."
    return ""


def _fail(error: BaseException, sentence: str, status: int) -> int:
    show_traceback(error)
    # What an environment or a library said may run over several lines.
    texts = [" ".join(text.split()) for text in (sentence, *sentences(error))]
    ended = [text if text.endswith((".", "?", "!")) else f"{text}." for text in texts]
    tell("rlrnn:", *ended, file=sys.stderr)
    return status


def _list(arguments: Namespace) -> None:
    from rich.box import SIMPLE
    from rich.table import Column, Table

    from rlrnn.envs.games import games
    from rlrnn.experiment import catalogue, statistics

    def column(heading: str, names: Iterable[str]) -> Column:
        # Names are typed again by whoever reads them: never cut short.
        return Column(heading, no_wrap=True, min_width=max(map(len, names), default=0))

    known, recipes = games(), catalogue.agents()
    if arguments.word:
        known = {name: game for name, game in known.items() if _has(arguments.word, name, game.remember)}
        recipes = {
            name: recipe for name, recipe in recipes.items() if _has(arguments.word, name, recipe.game)
        }
    if not known and not recipes:
        raise UserError(f"no row of the list has {arguments.word!r} in it: see all of them with rlrnn list.")
    listed = Table(column("game", known), "what must be remembered", box=SIMPLE, pad_edge=False)
    for name, game in known.items():
        listed.add_row(name, game.remember)
    agents = Table(column("agent", recipes), column("game", [r.game for r in recipes.values()]), box=SIMPLE)
    agents.pad_edge, agents.padding = False, (0, 1, 0, 0)
    agents.caption = "verified points: the mean over seeds, and the worst seed"
    for heading in ("steps", "points", "worst"):
        agents.add_column(heading, justify="right", no_wrap=True)
    for name, recipe in recipes.items():
        points = recipe.verified.points if recipe.verified else ()
        shown = (statistics.mean([points]), min(points)) if points else ()
        scores = [f"{number:.{statistics.decimals(*points)}f}" for number in shown] or ["not yet", ""]
        agents.add_row(name, recipe.game, statistics.short(recipe.steps), *scores)
    terminal().print(*([listed] if known else []), *([agents] if recipes else []))


def _has(word: str, *texts: str) -> bool:
    return any(word.lower() in text.lower() for text in texts)


def _show(arguments: Namespace) -> None:
    from rlrnn.experiment import catalogue

    path = catalogue.file(arguments.name)
    tell(f"# {path}", path.read_text(encoding="utf-8").rstrip("\n"), sep="\n")


def _train(arguments: Namespace) -> None:
    from rlrnn.experiment import catalogue, recipes
    from rlrnn.experiment.runs import runs
    from rlrnn.experiment.training.training import resume, train

    if arguments.resume:
        for name in ("settings", "steps", "seed", "seeds", "jobs", "out", "overwrite"):
            if getattr(arguments, name):
                option = "--set" if name == "settings" else f"--{name}"
                raise UserError(
                    f"--resume goes on with a run as it is: leave {option} away, or --resume for another run."
                )
        begun = runs.read_run(arguments.agent).recipe.name
        if arguments.control and not begun.endswith(f"-{arguments.control}"):
            raise UserError(
                f"{arguments.agent} is a run of {begun}, and --resume goes on with it as it is: to train its "
                "control, leave --resume away."
            )
        more = {"workers": arguments.workers, "imports": arguments.imports}
        _say_what_came_of_it(resume(arguments.agent, device=arguments.device, **more))
        return
    settings = [*arguments.settings, *([f"steps={arguments.steps}"] if arguments.steps else [])]
    recipe = recipes.override(catalogue.agent(arguments.agent), settings)
    if arguments.control:
        recipe = recipes.control(recipe, arguments.control)
    if arguments.seeds is not None:
        if arguments.workers:
            raise UserError("--seeds trains one seed per core already: leave --workers away, or --seeds.")
        _train_seeds(arguments, recipe)
        return
    run = train(
        recipe,
        arguments.seed,
        arguments.out,
        overwrite=arguments.overwrite,
        device=arguments.device,
        command=arguments.line,
        workers=arguments.workers,
        imports=arguments.imports,
    )
    _say_what_came_of_it(run)


def _train_seeds(arguments: Namespace, recipe: Recipe) -> None:
    from rlrnn.common.settings import check_seed
    from rlrnn.experiment.runs.comparing import compare, table
    from rlrnn.experiment.training.seeds import Task, cores, train_seeds

    folder = Path(arguments.out or Path("runs", recipe.name))
    numbers = range(arguments.seed, arguments.seed + arguments.seeds)
    check_seed(numbers[-1])
    what = {"device": arguments.device, "overwrite": arguments.overwrite, "imports": tuple(arguments.imports)}
    tasks = [Task(recipe, k, folder / f"seed{k}", command=arguments.line, **what) for k in numbers]
    outcome = train_seeds(tasks, arguments.jobs or cores())
    if outcome.finished:
        terminal().print(table(compare(outcome.finished)))
    tell(f"{len(outcome.finished)} of {len(tasks)} seeds are finished, in {folder}")
    outcome.check()


def _verify(arguments: Namespace) -> int:
    from rlrnn.experiment import catalogue
    from rlrnn.experiment.training import verifying
    from rlrnn.experiment.training.seeds import cores

    verdict = verifying.verify(
        catalogue.agent(arguments.agent),
        arguments.seeds,
        arguments.out,
        retrain=arguments.retrain,
        jobs=arguments.jobs or cores(),
        device=arguments.device,
        command=arguments.line,
        imports=tuple(arguments.imports),
    )
    terminal().print(verifying.table(verdict))
    tell(verdict.sentence())
    return 0 if verdict.kept else 1


def _say_what_came_of_it(run: Run) -> None:
    from rlrnn.experiment.evaluation import table

    terminal().print(table(run.scores(), run.game, run.recipe.network.cell != "none"))
    tell(f"{run.facts['steps']:,} steps in {run.facts['seconds']:.0f} s; all of the run lies in {run.folder}")


def _evaluate(arguments: Namespace) -> None:
    from rlrnn.experiment.evaluation import judge, table
    from rlrnn.experiment.judging import Judging
    from rlrnn.experiment.runs import runs

    agent, game, how = _opened(arguments)
    episodes, deterministic = arguments.episodes or how.episodes, _deterministic(arguments, how)
    with Judging(arguments.run) as told:
        scores = judge(agent, game, episodes, deterministic, progress=told)
    terminal().print(table(scores, game, agent.policy.description.cell != "none"))
    if arguments.out:
        runs.write_scores(Path(arguments.out), scores)


def _plot(arguments: Namespace) -> None:
    from rlrnn.experiment.pictures.plotting import plot

    tell(plot(arguments.runs, arguments.out))


def _compare(arguments: Namespace) -> None:
    from rlrnn.experiment.pictures.scores import draw
    from rlrnn.experiment.runs.comparing import compare, table

    comparison = compare(arguments.runs)
    terminal().print(table(comparison))
    if arguments.out:
        tell(draw(comparison, arguments.out))


def _watch(arguments: Namespace) -> None:
    from rlrnn.experiment.pictures.film import watch

    agent, game, how = _opened(arguments)
    folder = Path(arguments.run) if Path(arguments.run).is_dir() else Path()
    path = Path(arguments.out) if arguments.out else folder / "play.gif"
    deterministic = _deterministic(arguments, how)
    film = watch(agent, game, path, arguments.episodes or 1, deterministic, activations=arguments.activations)
    tell(
        f"{film}: {', '.join(f'{points:g}' for points in film.points)} {game.points.unit}"
        if film.points
        else film
    )


def _inspect(arguments: Namespace) -> None:
    from rlrnn.common.files import write_json
    from rlrnn.experiment.pictures.memory_pictures import draw_activations, draw_profile
    from rlrnn.experiment.pictures.memory_profile import profile
    from rlrnn.network.impulse import impulse_response

    agent, game, how = _opened(arguments)
    given, deterministic = Path(arguments.run), _deterministic(arguments, how)
    folder = Path(arguments.out) if arguments.out else given if given.is_dir() else Path()
    memory = profile(agent, game, arguments.lags, arguments.episodes or 16, deterministic)
    tell(memory.summary())
    tell(f"Impulse response: {impulse_response(agent)}.")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "memory.json", memory.to_json())
    name = " ".join(given.resolve().parts[-2:]) if given.is_dir() else given.stem
    tell(draw_profile({name: memory}, folder / "memory.png"))
    tell(draw_activations(agent, game, folder / "activations.png", deterministic=deterministic))


def _draw(arguments: Namespace) -> None:
    from rlrnn.experiment import agents as learners
    from rlrnn.experiment import catalogue, recipes
    from rlrnn.experiment.pictures.network_drawing import draw_network
    from rlrnn.experiment.runs import runs

    path = Path(arguments.agent)
    known = path.name in catalogue.agents() or path.suffix == ".toml"
    if path.is_dir() or path.suffix == ".zip" or (len(path.parts) > 1 and not known):
        if arguments.settings:
            raise UserError(f"--set changes a recipe, but {path} was trained by its own: leave --set away.")
        run = None if path.suffix == ".zip" else runs.read_run(path)
        agent = learners.load(path, "cpu") if run is None else run.agent()
        title = path.name if run is None else f"{run.recipe.name}, seed {run.seed}"
    else:
        run, recipe = None, recipes.override(catalogue.agent(arguments.agent), arguments.settings)
        agent, title = learners.untrained(recipe), f"{recipe.name}, untrained"
    out = arguments.out or (Path() if run is None else run.folder) / "network.png"
    tell(draw_network(agent, out, title))


def _report(arguments: Namespace) -> None:
    from rlrnn.experiment.pictures.reporting import report

    folder = Path(arguments.run)
    if not folder.exists() and len(folder.parts) == 1:
        folder = Path("runs", folder)  # an agent by its name
    tell(report(folder, arguments.out or folder / "report.html"))


def _opened(arguments: Namespace) -> tuple[Agent, Game, EvaluationRecipe]:
    """The agent, its game and how it is judged, from a run's folder or an agent's file."""
    from rlrnn.envs import games
    from rlrnn.experiment.recipes import EvaluationRecipe
    from rlrnn.experiment.runs import runs

    path = Path(arguments.run)
    if path.is_dir() or (not path.exists() and path.suffix != ".zip" and not arguments.game):
        run = runs.read_run(path)
        game = games.game(arguments.game) if arguments.game else run.game
        return run.agent(arguments.device), game, run.recipe.evaluation
    if not arguments.game:
        raise UserError(f"{path} does not say what it plays: add --game (see: rlrnn list).")
    from rlrnn.experiment import agents as learners

    game = games.game(arguments.game)
    return learners.load(path, arguments.device), game, EvaluationRecipe()


def _deterministic(arguments: Namespace, how: EvaluationRecipe) -> bool:
    return how.deterministic if arguments.deterministic is None else bool(arguments.deterministic)


COMMANDS: dict[str, Callable[[Namespace], int | None]] = {
    "list": _list,
    "show": _show,
    "train": _train,
    "verify": _verify,
    "evaluate": _evaluate,
    "plot": _plot,
    "compare": _compare,
    "inspect": _inspect,
    "draw": _draw,
    "watch": _watch,
    "report": _report,
}
