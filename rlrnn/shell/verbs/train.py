"""rlrnn train: train an agent by its recipe."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from rlrnn.common.settings import unknown
from rlrnn.common.texts import tell, terminal
from rlrnn.errors import UserError
from rlrnn.experiment.recipes import CONTROLS
from rlrnn.shell.verbs import options

# Options that the command of a single seed has others for, and how many values each has.
PER_SEED = {"--seeds": 1, "--seed": 1, "--jobs": 1, "--shard": 1, "--print-commands": 0, "--on": 1}
TRACKERS = ("tensorboard", "wandb", "trackio", "mlflow")

if TYPE_CHECKING:
    from rlrnn.experiment.recipes import Recipe
    from rlrnn.experiment.runs.runs import Run


SHORT = "train an agent by its recipe, or on any game"
TEXT = """
Trains an agent by its recipe, evaluates it and draws its learning curve, all in runs/<agent>/seed<k>/.
With --game, any registered Gymnasium game is learned without a recipe: one is chosen by its spaces, and said.
Ctrl-C saves the agent as it is, as does SIGTERM. With --seeds, many processes may be given the same command
at once, on all hosts that share the folder.

examples:
  rlrnn train --game Acrobot-v1                            any game, by a recipe that its spaces choose
  rlrnn train --game Acrobot-v1 --wrapper 'hide, drop = [4, 5]' --steps 500_000
  rlrnn train --game mine/Maze-v0 --import my_games.py --kwargs size=7 fog=true
  rlrnn train pong-gru                                     an agent of the catalogue (see: rlrnn list)
  rlrnn train my-agent.toml --seed 3                       a recipe of your own
  rlrnn train pong-gru --seeds 5 --jobs 2                  seeds 0 to 4, two in parallel
  rlrnn train pong-gru --seeds 50 --shard 3/10             the third of ten parts, as for a job array
  rlrnn train pong-gru --seeds 50 --print-commands         a line per seed, for GNU parallel or a Makefile
  rlrnn train pong-gru --seeds 50 --on slurm:partition=gpu,timeout_min=240     a job for each seed
  rlrnn train --resume runs/pong-gru/seed0                 continue a run that was killed
  rlrnn train pong-gru --set network.cell=lstm --set ppo.learning_rate=1e-3 --out runs/pong-lstm
  rlrnn train pong-gru --set 'ppo.clip_range={start = 0.2, end = 0.0}' --steps 100_000 --out runs/short
  rlrnn train my-agent.toml --import my_games.py           a game or a cell that your module registers
  rlrnn train pong-gru --from runs/pong-gru/seed0 --out runs/longer     begins at what that agent has learned
  rlrnn train pong-gru --control feedforward --seeds 3     its feed-forward baseline, without memory
  rlrnn train pong-gru --control stacked --seeds 3         its baseline with 4 stacked observations
"""


def arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "agent", nargs="?", metavar="AGENT", help="an agent of the catalogue, or the path of a recipe"
    )
    options.add_game(parser)
    parser.add_argument(
        "--resume", action="store_true", help="continue a run that was killed: AGENT is its folder"
    )
    parser.add_argument(
        "--control",
        type=_control,
        metavar=f"{{{','.join(CONTROLS)}}}",
        help="train a baseline without memory by the same recipe: feed-forward, or with the last 4 "
        "observations stacked",
    )
    parser.add_argument(
        "--seed", type=options.whole, default=0, help="seed of all random numbers (default: 0)"
    )
    parser.add_argument(
        "--seeds",
        type=options.count,
        metavar="N",
        help="train N seeds, from --seed on; finished ones are skipped",
    )
    options.add_shard(parser)
    parser.add_argument(
        "--print-commands", action="store_true", help="print a command for each seed, and train none"
    )
    parser.add_argument("--steps", help="environment steps of the training, instead of the recipe's")
    parser.add_argument(
        "--workers",
        type=options.whole,
        metavar="W",
        help="processes that step the game's copies, or play an evolution's population: the same result "
        "for any (default: none for a population, else as many as pay)",
    )
    parser.add_argument(
        "--on",
        metavar="CLUSTER",
        help="the workers are those of a Ray cluster: ray (that of RAY_ADDRESS, or this machine's cores), "
        "ray:ADDRESS or ray://HOST:PORT; or submit a job for each of --seeds: slurm, or with "
        "sbatch's parameters slurm:partition=gpu,timeout_min=60 (local: on this machine). The same result",
    )
    parser.add_argument(
        "--from",
        dest="init",
        metavar="RUN",
        help="begin at what an agent has learned: a run's folder, a .zip, or a verified agent's name",
    )
    parser.add_argument("--out", metavar="FOLDER", help="the run's folder (default: runs/<agent>/seed<k>)")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an older run once the new one is finished"
    )
    parser.add_argument(
        "--snapshots",
        type=options.count,
        metavar="N",
        default=0,
        help="keep N agents along the way: for watch --snapshots and inspect --snapshots",
    )
    parser.add_argument(
        "--log",
        type=_trackers,
        default=(),
        metavar="TRACKERS",
        help="also log to tensorboard, wandb, trackio or mlflow; several with commas between",
    )
    options.add_any_processor(parser)
    options.add_quiet(parser)
    options.add_settings(parser)
    options.add_jobs(parser)
    options.add_imports(parser)
    options.add_device(parser)


def run(arguments: Namespace) -> None:
    """Run the verb."""
    from rlrnn.experiment import recipes
    from rlrnn.experiment.runs import runs
    from rlrnn.experiment.training.jobs import is_scheduler
    from rlrnn.experiment.training.training import resume, train

    options.take_any_processor(arguments)
    if (arguments.agent is None) == (arguments.game is None):
        which = "neither is given" if arguments.agent is None else f"{arguments.agent} and --game are given"
        raise UserError(
            f"train takes an agent of the catalogue (see: rlrnn list), a recipe, or --game GAME; {which}."
        )
    if arguments.resume:
        if arguments.agent is None:
            raise UserError("--resume takes the folder of a run, such as runs/pong-gru/seed0, and no --game.")
        options_of_new = (
            "settings",
            "steps",
            "seed",
            "seeds",
            "jobs",
            "shard",
            "print_commands",
            "out",
            "overwrite",
            "snapshots",
            "init",
            "kwargs",
            "wrappers",
        )
        for name in options_of_new:
            if getattr(arguments, name):
                option = {"settings": "--set", "wrappers": "--wrapper", "init": "--from"}.get(
                    name, f"--{name.replace('_', '-')}"
                )
                raise UserError(
                    f"--resume continues a run as it is: leave out {option}, or --resume for another run."
                )
        begun = runs.read_run(arguments.agent).recipe.name
        if arguments.control and not begun.endswith(f"-{arguments.control}"):
            raise UserError(
                f"{arguments.agent} is a run of {begun}, and --resume continues it as it is: to train its "
                "baseline, leave out --resume."
            )
        more = {"workers": arguments.workers, "imports": arguments.imports, "progress": not arguments.quiet}
        more |= {"log": arguments.log, "on": arguments.on}
        _report(resume(arguments.agent, device=arguments.device, **more))
        return
    recipe = _recipe(arguments)
    if arguments.control:
        recipe = recipes.control(recipe, arguments.control)
    if arguments.init:
        recipe = dataclasses.replace(recipe, init=arguments.init, verified=None)
    if arguments.jobs and arguments.seeds is None:
        raise UserError("--jobs says how many of several seeds are trained at once: add --seeds N.")
    if (arguments.shard or arguments.print_commands) and arguments.seeds is None:
        option = "--shard" if arguments.shard else "--print-commands"
        raise UserError(f"{option} is for several seeds: add --seeds N.")
    if arguments.seeds is not None:
        if arguments.on and not is_scheduler(arguments.on):
            raise UserError(
                f"--on {arguments.on} lets a cluster play for one seed: leave out --seeds, or take --on "
                "slurm, which submits a job for each."
            )
        if arguments.workers:
            raise UserError("--seeds trains one seed per core already: leave out --workers, or --seeds.")
        _train_seeds(arguments, recipe)
        return
    if arguments.on and is_scheduler(arguments.on):
        raise UserError(f"--on {arguments.on} submits a job for each of several seeds: add --seeds N.")
    run = train(
        recipe,
        arguments.seed,
        arguments.out,
        overwrite=arguments.overwrite,
        device=arguments.device,
        command=arguments.line,
        workers=arguments.workers,
        on=arguments.on,
        imports=arguments.imports,
        snapshots=arguments.snapshots,
        progress=not arguments.quiet,
        log=arguments.log,
    )
    _report(run)


def _recipe(arguments: Namespace) -> Recipe:
    """That of the agent, or one that the game's spaces choose, which is said; as the options change it."""
    from rlrnn.experiment import catalogue, recipes
    from rlrnn.experiment.default_recipe import choose

    settings = [*arguments.settings, *([f"steps={arguments.steps}"] if arguments.steps else [])]
    more = options.changes(arguments)
    if arguments.game is not None:
        choice = choose(arguments.game, **more)
        recipe = recipes.override(choice.recipe, settings)
        terminal().print(dataclasses.replace(choice, recipe=recipe).table())
        return recipe
    recipe = recipes.override(catalogue.agent(arguments.agent), settings)
    if not any(more.values()):
        return recipe
    kwargs, wrappers = {**recipe.kwargs, **more["kwargs"]}, (*recipe.wrappers, *more["wrappers"])
    return dataclasses.replace(recipe, kwargs=kwargs, wrappers=wrappers, verified=None)


def _train_seeds(arguments: Namespace, recipe: Recipe) -> None:
    from rlrnn.common.settings import check_seed
    from rlrnn.experiment.runs.comparing import compare, table
    from rlrnn.experiment.training.jobs import submit
    from rlrnn.experiment.training.seeds import Task, train_seeds
    from rlrnn.experiment.training.side_by_side import cores

    folder = Path(arguments.out or Path("runs", recipe.name))
    numbers = range(arguments.seed, arguments.seed + arguments.seeds)
    check_seed(numbers[-1])
    mine = options.shard_of(arguments, numbers)
    if arguments.print_commands:
        for seed in mine:
            tell(_command(arguments.line, seed))
        return
    if arguments.on:
        logs = folder / "jobs"
        commands = [shlex.split(_command(arguments.line, seed))[1:] for seed in mine]
        numbers_of_jobs = submit(arguments.on, commands, logs, recipe.name)
        for seed, number in zip(mine, numbers_of_jobs, strict=True):
            tell(f"seed {seed}: job {number}")
        tell(f"What they print: {logs}/JOB_0_log.out and .err. What has been won: rlrnn compare {folder}")
        return
    what = {"device": arguments.device, "overwrite": arguments.overwrite, "imports": tuple(arguments.imports)}
    what |= {"snapshots": arguments.snapshots, "log": arguments.log}
    tasks = [Task(recipe, k, folder / f"seed{k}", command=arguments.line, **what) for k in mine]
    outcome = train_seeds(tasks, arguments.jobs or cores(), not arguments.quiet)
    if outcome.finished:
        terminal().print(table(compare(outcome.finished)))
    tell(f"{len(outcome.finished)} of {len(tasks)} seeds are finished, in {folder}")
    if outcome.others:
        tell(f"rlrnn: {outcome.sentence()}", file=sys.stderr)
    outcome.check()


def _command(line: str, seed: int) -> str:
    """The command that trains one of the seeds that ``line`` does: skipped if finished, else gone on with."""
    words, kept, k = shlex.split(line), [], 0
    while k < len(words):
        name, equals, _ = words[k].partition("=")
        known = [name] if name in PER_SEED else [full for full in PER_SEED if full.startswith(name)]
        if name[:2] == "--" and name != "--" and known:  # in full or cut short, as argparse takes it
            k += 1 if equals else 1 + PER_SEED[known[0]]
        else:
            kept.append(words[k])
            k += 1
    return shlex.join([*kept, "--seeds", "1", "--seed", str(seed), "--shard", "all"])


def _report(run: Run) -> None:
    from rlrnn.experiment.evaluation import shown

    terminal().print(shown(run.scores(), run.game, run.recipe.network.cell != "none"))
    tell(f"{run.facts['steps']:,} steps in {run.facts['seconds']:.0f} s; the run is in {run.folder}")


def _control(text: str) -> str:
    if text not in CONTROLS:
        raise ArgumentTypeError(unknown("control", text, CONTROLS))
    return text


def _trackers(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if name not in TRACKERS:
            raise ArgumentTypeError(unknown("tracker", name, TRACKERS))
    return names
