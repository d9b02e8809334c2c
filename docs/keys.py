"""Writes docs/keys.md: every key of recipes, studies, game files, cells, wrappers, strategies, from the code.

python docs/keys.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlrnn.cells import CELLS
from rlrnn.common.keys import NOTHING, Key, keys_of, sentence_of
from rlrnn.envs.games import Game
from rlrnn.envs.wrappers import WRAPPERS
from rlrnn.experiment.recipes import Recipe, Schedule
from rlrnn.experiment.search.space import Parameter
from rlrnn.experiment.search.study import Study
from rlrnn.learners.evolution.strategies import STRATEGIES

PATH = Path(__file__).with_suffix(".md")
HEAD = """# Every key

Made by `python docs/keys.py` from the code, which a test compares. Values are written in
[TOML](https://toml.io); a key that is not given has its default. `rlrnn new NAME --game ID` writes a recipe
and a game file with all of them as comments; `rlrnn show NAME` prints one of the catalogue. In the shell any
key of a recipe is set by `--set`, as `--set ppo.learning_rate=1e-3`. Files of a run:
[runs/README.md](../runs/README.md).
"""
OPTIONS = [
    Key("dropout", float, 0.0, "share of a layer's outputs that is left out in learning, between layers"),
    Key("residual", bool, False, "each layer from the second on adds its inputs to its outputs"),
]


def text() -> str:
    """The page."""
    parts = [HEAD, "## A recipe\n\n`game` and `steps` are all that it needs.\n", table(keys_of(Recipe))]
    parts += [tables(Recipe), f"### A schedule\n\nIn the place of a number: {sentence_of(Schedule)}.\n"]
    parts += [
        table(keys_of(Schedule)),
        "## A game file\n\n`id` is all that it needs.\n",
        table(keys_of(Game)),
    ]
    parts.append(tables(Game, "points", "references"))
    parts.append(
        "## Cells\n\n`network.cell` names one, `network.cell_options` has its options, and these of all:\n"
    )
    parts += [table(OPTIONS), each(CELLS)]
    parts += ['## Wrappers\n\nFor `wrappers`, as `{ name = "hide", drop = [1, 3] }`.\n', each(WRAPPERS)]
    parts += [
        "## Strategies\n\n`evolution.strategy` names one, `evolution.settings` has its settings.\n",
        each(STRATEGIES),
    ]
    parts += [
        "## A study\n\nFor `rlrnn search` ([search.md](search.md)); `recipe` is all that it needs.\n",
        table(keys_of(Study)),
        f"### [space]\n\nBy the dotted key of the recipe: {sentence_of(Parameter)}.\n",
        table(keys_of(Parameter)),
    ]
    return "\n".join(parts).replace("``", "`")


def tables(kind: type[Any], *only: str) -> str:
    """The tables within a record, each with its heading."""
    parts = []
    for key in keys_of(kind):
        if key.table is not None:
            parts += [
                f"### [{key.name}]\n\n{capital(key.meaning)}.\n",
                table(keys_of(key.table), "each-of-them"),
            ]
            inner = [each.table for each in keys_of(key.table) if each.table is not None]
            if inner:
                parts += [
                    f"#### Each of them\n\n{capital(sentence_of(inner[0]))}.\n",
                    table(keys_of(inner[0])),
                ]
    return "\n".join(parts)


def each(registry: dict[str, type[Any]]) -> str:
    """The options of each class that is known by name."""
    parts = []
    for name, kind in registry.items():
        parts.append(f"### `{name}`\n\n{capital(sentence_of(kind))}.\n")
        if keys := keys_of(kind):
            parts.append(table(keys))
    return "\n".join(parts)


def table(keys: list[Key], heading: str = "") -> str:
    """Name, type, default and meaning; under which heading tables are explained, if not under their names."""
    rows = ["| key | takes | default | meaning |", "| --- | --- | --- | --- |"]
    for key in keys:
        default = (
            "**required**" if key.default is NOTHING else f"`{key.written}`" if key.written else "not given"
        )
        if key.name == "name":
            default = "the file's"
        if key.table is not None:
            default = f"[below](#{heading or key.name})"
        cells = key.takes if key.table is None else "a table", default, key.meaning
        rows.append(f"| `{key.name}` | {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def capital(sentence: str) -> str:
    """With a capital letter, unless it begins with a formula."""
    return sentence[:1].upper() + sentence[1:] if sentence[1:2].isalpha() else sentence


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
    print(PATH)
