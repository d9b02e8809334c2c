"""What the shell understands: its commands and their arguments."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from rlrnn._version import __version__
from rlrnn.common.settings import unknown
from rlrnn.common.texts import tell
from rlrnn.experiment.recipes import CONTROLS
from rlrnn.shell import manual

DEVICES = ("cpu", "cuda", "cuda:<number>", "mps", "auto")
RUN_HELP = "a run's folder, or a saved agent (.zip) with --game"


class Parser(argparse.ArgumentParser):
    """Tells a mistake in one sentence, as all else is told in the shell, and the name that was meant."""

    def parse_known_args(  # type: ignore[override]
        self, args: Any = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As usual, but an option that nobody knows is told before anything that is missing."""
        words = sys.argv[1:] if args is None else list(args)
        self._check_options(words)
        return super().parse_known_args(words, namespace)

    def _check_options(self, words: Sequence[str]) -> None:
        known = [text for action in self._actions for text in action.option_strings if text[:2] == "--"]
        for word in words:
            commands = self._subparsers is not None  # whose own options stand behind their names
            if word == "--" or (commands and word[:1] != "-"):
                return
            name = word.partition("=")[0]
            if name[:2] == "--" and " " not in word and not any(text.startswith(name) for text in known):
                self.error(unknown("option", name, known))

    def error(self, message: str) -> NoReturn:
        """End with status 2."""
        tell("rlrnn:", f"{message.removesuffix('.')}; see: {self.prog} --help.", file=sys.stderr)
        self.exit(2)


def parser() -> Parser:
    """The parser of all commands; ``command`` is the name of the one given."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = Parser("rlrnn", description=manual.DESCRIPTION, epilog=manual.FIRST_STEPS, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"rlrnn {__version__}")
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")

    def command(name: str, text: str, short: str) -> Any:
        added = commands.add_parser(name, help=short, description=text, formatter_class=raw)
        added.add_argument(
            "--traceback",
            action="store_true",
            help="with an error, show where it arose (as RLRNN_TRACEBACK=1)",
        )
        return added

    listing = command("list", manual.LIST, "the games and agents of the catalogue")
    listing.add_argument("word", nargs="?", metavar="WORD", help="only those with this word in a column")

    show = command("show", manual.SHOW, "print the file of a game or an agent")
    show.add_argument("name", metavar="NAME", help="a game or an agent of the catalogue (see: rlrnn list)")

    train = command("train", manual.TRAIN, "train an agent by its recipe")
    train.add_argument("agent", metavar="AGENT", help="an agent of the catalogue, or the path of a recipe")
    train.add_argument(
        "--resume", action="store_true", help="go on with a run that was killed: AGENT is its folder"
    )
    train.add_argument(
        "--control",
        type=_control,
        metavar=f"{{{','.join(CONTROLS)}}}",
        help="train its control: the same without memory",
    )
    train.add_argument("--seed", type=_whole, default=0, help="decides everything random (default: 0)")
    train.add_argument(
        "--seeds", type=_count, metavar="N", help="train N seeds, from --seed on; finished ones are skipped"
    )
    train.add_argument("--steps", help="how many steps of the game to train for, instead of the recipe's")
    train.add_argument(
        "--workers",
        type=_whole,
        metavar="W",
        default=0,
        help="processes that share the playing of an evolution; the result is the same (default: none)",
    )
    train.add_argument("--out", metavar="FOLDER", help="where the run goes (default: runs/<agent>/seed<k>)")
    train.add_argument(
        "--overwrite", action="store_true", help="replace an older run once the new one is finished"
    )

    verify = command("verify", manual.VERIFY, "train a verified agent again: does it keep its word?")
    verify.add_argument("agent", metavar="AGENT", help="a verified agent of the catalogue (see: rlrnn list)")
    verify.add_argument("--seeds", type=_count, metavar="N", help="only the first N of its verified seeds")
    verify.add_argument("--retrain", action="store_true", help="train, even where weights are attached")
    verify.add_argument(
        "--out", metavar="FOLDER", help="where the new runs go (default: runs/<agent>-again/seed<k>)"
    )

    evaluate = command("evaluate", manual.EVALUATE, "judge an agent by the points it wins")
    evaluate.add_argument("--out", metavar="FILE", help="write the scores as JSON, too")

    plot = command("plot", manual.PLOT, "draw learning curves")
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

    compare = command("compare", manual.COMPARE, "compare agents over their seeds")
    compare.add_argument(
        "runs", nargs="+", metavar="RUN", help="a run's folder, or an agent's folder (all its seeds)"
    )
    compare.add_argument("--out", metavar="FILE", help="draw it, too: .png, .svg or .pdf")

    inspect = command("inspect", manual.INSPECT, "ask how far back an agent remembers")
    inspect.add_argument("--lags", type=_whole, default=64, help="how many steps back at most (default: 64)")
    inspect.add_argument("--out", metavar="FOLDER", help="where to write (default: the run's folder)")

    draw = command("draw", manual.DRAW, "draw a network: its units and their connections")
    draw.add_argument(
        "agent",
        metavar="AGENT",
        help="a run's folder, a saved agent (.zip), an agent of the catalogue, or the path of a recipe",
    )
    draw.add_argument(
        "--out", metavar="FILE", help=".png, .svg or .pdf (default: network.png in the run's folder, or here)"
    )

    report = command("report", manual.REPORT, "write one HTML file on an agent")
    report.add_argument(
        "run", metavar="AGENT", help="an agent's folder (all its seeds), its name, or a run's folder"
    )
    report.add_argument("--out", metavar="FILE", help="default: report.html in that folder")

    watch = command("watch", manual.WATCH, "record games played")
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
    for changing in (train, draw):
        changing.add_argument(
            "--set",
            dest="settings",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="change one setting of the recipe; may be given several times; KEY= alone means the default",
        )
    for training in (train, verify):
        training.add_argument(
            "--jobs",
            type=_count,
            metavar="J",
            help="how many seeds at a time (default: one per processor core)",
        )
    for playing in (train, verify, evaluate, compare, plot, inspect, draw, watch, report):
        playing.add_argument(
            "--import",
            dest="imports",
            action="append",
            default=[],
            metavar="MODULE",
            help="a module or .py file that registers games or cells of yours",
        )
    for computing in (train, verify, evaluate, inspect, watch):
        computing.add_argument(
            "--device", type=_device, default="cpu", help="cpu, cuda or auto (default: cpu)"
        )
    return parser


def _control(text: str) -> str:
    if text not in CONTROLS:
        raise argparse.ArgumentTypeError(unknown("control", text, CONTROLS))
    return text


def _device(text: str) -> str:
    if not re.fullmatch(r"cpu|auto|mps|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(unknown("device", text, DEVICES))
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
    number = int(text) if re.fullmatch("[0-9]{1,18}(_[0-9]{1,18})*", text) else -1
    if number < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return number
