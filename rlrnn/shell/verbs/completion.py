"""rlrnn completion: print what lets a shell complete rlrnn's commands, options and names."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from rlrnn.errors import MissingExtraError

SHORT = "print a shell's completion of commands, options and names"
TEXT = """
Prints a script that lets bash or zsh complete rlrnn's commands, options, and names of agents and games
with the tab key. It needs an extra: pip install "rlrnn[completion]".

examples:
  rlrnn completion bash > ~/.local/share/bash-completion/completions/rlrnn
  rlrnn completion zsh > ~/.zfunc/_rlrnn
"""
FUNCTIONS = {  # of the shell: each completes names of its kind, and files
    "bash": '_rlrnn_{kind}() {{ compgen -W "{names}" -- "$1"; compgen -f -- "$1"; }}',
    "zsh": '_rlrnn_{kind}() {{ _alternative "names:name:({names})" "files:file:_files" }}',
}
KINDS = {  # by metavar, else dest
    "AGENT": "agents",
    "RUN": "agents",
    "GAME": "games",
    "game": "games",
    "GAME|AGENT": "names",
}


def arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("shell", choices=list(FUNCTIONS), help="whose completion")


def run(arguments: Namespace) -> None:
    """Run the verb."""
    try:
        import shtab
    except ImportError:
        raise MissingExtraError('completion needs an extra: pip install "rlrnn[completion]".') from None
    from rlrnn.experiment import catalogue

    agents, games = list(catalogue.list_agents()), list(catalogue.list_games())
    functions = [
        FUNCTIONS[arguments.shell].format(kind=kind, names=" ".join(names))
        for kind, names in {"agents": agents, "games": games, "names": agents + games}.items()
    ]
    _mark(arguments.whole)
    script = shtab.complete(arguments.whole, arguments.shell, preamble="\n".join(functions))
    sys.stdout.write(script + "\n")  # a script, not words


def _mark(parser: ArgumentParser) -> None:
    """Tell shtab which arguments of this command, and of those below it, are names or files."""
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for command in action.choices.values():
                _mark(command)
        elif (kind := KINDS.get(str(action.metavar or action.dest))) is not None:
            action.complete = dict.fromkeys(FUNCTIONS, f"_rlrnn_{kind}")  # type: ignore[attr-defined]
