"""rlrnn verify: train a verified agent again and check its points."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from rlrnn.common.texts import tell, terminal
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
    options.add_jobs(parser)
    options.add_imports(parser)
    options.add_device(parser)


def run(arguments: Namespace) -> int:
    """Run the verb."""
    from rlrnn.experiment import catalogue
    from rlrnn.experiment.training import verifying
    from rlrnn.experiment.training.side_by_side import cores

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
    return 0 if verdict.verified else 1
