"""rlrnn verify: train a verified agent again and check its points."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from rlrnn.common.texts import tell, terminal
from rlrnn.errors import UserError
from rlrnn.experiment.training.shards import in_words
from rlrnn.shell.verbs import options

SHORT = "train a verified agent again and check its points"
TEXT = """
Checks the points of a verified agent: trains it again by its recipe, on the same seeds, into new runs, or
evaluates its saved weights where these are included. The agent is verified if the mean over seeds is not
below the 95 % prediction interval of the recorded seeds. The exit status is 0, or 1 if it is not verified.

examples:
  rlrnn verify cartpole-gru
  rlrnn verify pong-gru --seeds 2 --jobs 2        only the first two seeds, in parallel
  rlrnn verify pong-gru --retrain --out runs/check
  rlrnn verify pong-gru --retrain --shard 1/3     a third of the seeds: the verdict comes when all are trained
"""


def arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("agent", metavar="AGENT", help="a verified agent of the catalogue (see: rlrnn list)")
    parser.add_argument(
        "--seeds", type=options.count, metavar="N", help="only the first N of its verified seeds"
    )
    parser.add_argument("--retrain", action="store_true", help="train, even where saved weights are included")
    parser.add_argument(
        "--out", metavar="FOLDER", help="folder of the new runs (default: runs/<agent>-again/seed<k>)"
    )
    options.add_shard(parser)
    options.add_jobs(parser)
    options.add_any_processor(parser)
    options.add_imports(parser)
    options.add_device(parser)


def run(arguments: Namespace) -> int:
    """Run the verb."""
    from rlrnn.experiment import catalogue
    from rlrnn.experiment.training import verifying
    from rlrnn.experiment.training.seeds import train_seeds
    from rlrnn.experiment.training.side_by_side import cores

    options.take_any_processor(arguments)
    recipe, jobs = catalogue.agent(arguments.agent), arguments.jobs or cores()
    how = {"device": arguments.device, "command": arguments.line, "imports": tuple(arguments.imports)}
    seeds = verifying.trained_again(recipe, arguments.seeds, arguments.retrain)
    if arguments.shard and not seeds:
        raise UserError(f"the saved weights of {recipe.name} are evaluated again: --shard needs --retrain.")
    mine = options.shard_of(arguments, seeds) if seeds else []
    kept = arguments.shard is not None or len(mine) < len(seeds)  # of other processes, and of this one before
    if kept:
        outcome = train_seeds(verifying.tasks(recipe, mine, arguments.out, overwrite=False, **how), jobs)
        outcome.check()
        left = verifying.unfinished(recipe, seeds, arguments.out)
        if left:
            missing = f"{in_words(left)} of {len(seeds)} {'are' if len(left) > 1 else 'is'} not finished"
            tell(f"{missing}: the verdict comes by rlrnn verify {recipe.name} --shard all, when all are.")
            return 0
    verdict = verifying.verify(
        recipe,
        arguments.seeds,
        arguments.out,
        retrain=arguments.retrain,
        jobs=jobs,
        overwrite=not kept,
        **how,
    )
    terminal().print(verifying.table(verdict))
    tell(verdict.sentence())
    return 0 if verdict.verified else 1
