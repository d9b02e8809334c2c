"""rlrnn verify: train a verified agent again: does it keep its word?."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from rlrnn.common.texts import tell, terminal
from rlrnn.shell.verbs import options

SHORT = "train a verified agent again: does it keep its word?"
TEXT = """
Says whether a verified agent keeps its word: trains it again by its recipe, on the same seeds, into new runs,
or judges it again where its weights are attached. The mean of what it wins should lie where the mean of new
trainings falls 19 times in 20. Better is no failure. The exit status is 0, or 1 if it wins less.

examples:
  rlrnn verify cartpole-gru
  rlrnn verify pong-gru --seeds 2 --jobs 2        the first two seeds alone, side by side
  rlrnn verify pong-gru --retrain --out runs/check
"""


def arguments(parser: ArgumentParser) -> None:
    """What it takes."""
    parser.add_argument("agent", metavar="AGENT", help="a verified agent of the catalogue (see: rlrnn list)")
    parser.add_argument(
        "--seeds", type=options.count, metavar="N", help="only the first N of its verified seeds"
    )
    parser.add_argument("--retrain", action="store_true", help="train, even where weights are attached")
    parser.add_argument(
        "--out", metavar="FOLDER", help="where the new runs go (default: runs/<agent>-again/seed<k>)"
    )
    options.add_jobs(parser)
    options.add_imports(parser)
    options.add_device(parser)


def run(arguments: Namespace) -> int:
    """Do it."""
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
