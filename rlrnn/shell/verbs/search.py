"""rlrnn search: find settings for a game, and verify them on fresh seeds."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from rlrnn.common.texts import tell, terminal
from rlrnn.errors import UserError
from rlrnn.shell.verbs import options

if TYPE_CHECKING:
    from rlrnn.experiment.recipes import Recipe
    from rlrnn.experiment.search.study import Study

SHORT = "find settings for a game, and verify them on fresh seeds"
TEXT = """
Tries settings of a recipe in waves of trials. Those among the best play on from where they paused, on one
more seed with every rung; the best few are trained again on fresh seeds beside the recipe as it is, and the
winner is written as a recipe with what it was measured to reach. Needs the extra rlrnn[search].

A study's file names the recipe, the space and how long to search (docs/search.md); without one the learner's
own space is searched. The answer is the same for any number of jobs. Killed, the same command goes on;
several processes that are given the same study share its trials.

examples:
  rlrnn search --game Acrobot-v1 --steps 100_000 --trials 32
  rlrnn search my-study.toml --jobs 8
  rlrnn search pong-gru --trials 16 --wave 4 --out runs/pong-search
"""


def arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "study",
        metavar="STUDY",
        nargs="?",
        help="a study's TOML file, an agent of the catalogue, or a recipe's file",
    )
    options.add_game(parser)
    parser.add_argument("--steps", type=options.count, help="of the game in a whole training")
    parser.add_argument("--trials", type=options.count, metavar="N", help="how many to try (default: 64)")
    parser.add_argument(
        "--wave", type=options.count, metavar="N", help="trials that are drawn at once (default: 8)"
    )
    parser.add_argument("--seed", type=options.whole, metavar="K", help="of the draws (default: 0)")
    parser.add_argument(
        "--verify", type=options.whole, metavar="N", help="seeds that verify the best (default: 5); 0: none"
    )
    parser.add_argument("--out", metavar="FOLDER", help="the study's folder (default: runs/<study>)")
    options.add_settings(parser)
    options.add_jobs(parser)
    options.add_any_processor(parser)
    options.add_imports(parser)
    options.add_device(parser)
    options.add_quiet(parser)


def run(arguments: Namespace) -> None:
    """Run the verb."""
    from rlrnn.common.progress import duration
    from rlrnn.experiment.search import telling
    from rlrnn.experiment.search.search import search

    options.take_any_processor(arguments)
    study, recipe = _study(arguments)
    if not arguments.quiet:
        rungs = ", ".join(f"{share:.0%}" for share in study.rungs)
        tell(
            f"{study.name}: {study.trials} trials in waves of {study.wave}, compared after {rungs} of "
            f"{recipe.steps:,} steps; at most {study.steps_at_most(recipe):,} steps in all, then "
            f"{len(study.verify)} fresh seeds of the best {study.best}."
        )
    found = search(
        study,
        arguments.out,
        recipe=recipe,
        jobs=arguments.jobs,
        device=arguments.device,
        command=arguments.line,
        imports=arguments.imports,
        progress=not arguments.quiet,
    )
    terminal().print(found.table())
    tell(telling.sentence(found.candidates, found.recipe))
    spent = sum(candidate.verified.seconds or 0.0 for candidate in found.candidates if candidate.verified)
    if spent:
        tell(
            f"A training takes about {duration(spent / len(found.candidates))}; "
            f"the study is in {found.folder}"
        )


def _study(arguments: Namespace) -> tuple[Study, Recipe]:
    """The study and its recipe, as the options change them."""
    import dataclasses

    from rlrnn.experiment import catalogue, recipes
    from rlrnn.experiment.default_recipe import choose
    from rlrnn.experiment.search.search import study_of
    from rlrnn.experiment.search.study import is_study, read_study

    if (arguments.study is None) == (arguments.game is None):
        raise UserError("give what to search: a study's file or an agent, or else --game ID.")
    settings = [*arguments.settings, *([f"steps={arguments.steps}"] if arguments.steps else [])]
    more = options.changes(arguments)
    if arguments.game is not None:
        choice = choose(arguments.game, **more)
        recipe = recipes.override(choice.recipe, settings)
        if not arguments.quiet:
            terminal().print(dataclasses.replace(choice, recipe=recipe).table())
        study = study_of(recipe)
    else:
        if any(more.values()):
            raise UserError("--kwargs and --wrapper change a game: give --game, or say them in the recipe.")
        if str(arguments.study).endswith(".toml") and is_study(arguments.study):
            study, recipe = read_study(arguments.study)
            recipe = recipes.override(recipe, settings)
        else:
            recipe = recipes.override(catalogue.agent(arguments.study), settings)
            study = study_of(recipe)
    changes = {name: getattr(arguments, name) for name in ("trials", "wave", "seed")}
    changes = {name: value for name, value in changes.items() if value is not None}
    if arguments.verify is not None:
        changes["verify"] = tuple(range(arguments.verify))
    return dataclasses.replace(study, **changes), recipe
