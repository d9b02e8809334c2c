"""The shell's parser: verbs and their arguments; a mistake is reported in one sentence."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from rlrnn._version import __version__
from rlrnn.common.settings import unknown
from rlrnn.common.texts import tell
from rlrnn.shell.verbs import VERBS

DESCRIPTION = "Recurrent networks that learn games from reward: train an agent, evaluate it, watch it."

FIRST_STEPS = """
first steps:
  rlrnn play pong-gru                    a trained agent at play: in a window, or as a film
  rlrnn train --game Acrobot-v1          learns any Gymnasium game, and prints an evaluation
  rlrnn list                             the games and agents of the catalogue
  rlrnn train cartpole-gru               trains one of them
  rlrnn new my-agent --game Acrobot-v1   writes a recipe for you to edit
  rlrnn train --help                     every command has its own help

exit status: 0; 1: the system failed, or an agent was not verified; 2: a mistake to mend; 130: Ctrl-C;
143: SIGTERM, as schedulers send it.
"""


class Parser(argparse.ArgumentParser):
    """Reports a mistake in one sentence, as the shell reports every error, with the closest known name."""

    def parse_known_args(  # type: ignore[override]
        self, args: Any = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse does, but an unknown option is reported before a missing argument."""
        words = sys.argv[1:] if args is None else list(args)
        self._check_options(words)
        return super().parse_known_args(words, namespace)

    def _check_options(self, words: Sequence[str]) -> None:
        known = [text for action in self._actions for text in action.option_strings if text[:2] == "--"]
        for before, word in itertools.pairwise(["", *words]):
            commands = self._subparsers is not None  # whose own options stand behind their names
            if word == "--" or (commands and word[:1] != "-"):
                return
            name, equals, value = word.partition("=")
            if word == "" or (name in known and equals and not value):  # none means the same as no option
                given = f"{name or before} is" if (name or before)[:2] == "--" else "an argument is"
                self.error(f"{given} an empty text, as a variable is that was not set")
            if name[:2] == "--" and " " not in word and not any(text.startswith(name) for text in known):
                self.error(unknown("option", name, known))

    def error(self, message: str) -> NoReturn:
        """End with status 2."""
        tell("rlrnn:", f"{message.removesuffix('.')}; see: {self.prog} --help.", file=sys.stderr)
        self.exit(2)


def parser() -> Parser:
    """The parser of all verbs; ``command`` is the name of the one given."""
    raw = argparse.RawDescriptionHelpFormatter
    whole = Parser("rlrnn", description=DESCRIPTION, epilog=FIRST_STEPS, formatter_class=raw)
    whole.add_argument("--version", action="version", version=f"rlrnn {__version__}")
    whole.set_defaults(whole=whole)  # of which completion makes its script
    commands = whole.add_subparsers(required=True, dest="command", metavar="COMMAND")
    for name, verb in VERBS.items():
        added = commands.add_parser(name, help=verb.SHORT, description=verb.TEXT, formatter_class=raw)
        added.add_argument(
            "--traceback",
            action="store_true",
            help="show the traceback of an error (as RLRNN_TRACEBACK=1)",
        )
        verb.arguments(added)
    return whole
