"""Files for a user to edit: a recipe and its game, with every key, its default and its meaning beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlrnn.common.files import replacing
from rlrnn.common.keys import NOTHING, Key, inline, keys_of
from rlrnn.common.records import to_mapping
from rlrnn.common.texts import check_name
from rlrnn.envs import games
from rlrnn.errors import FileFault
from rlrnn.experiment import catalogue
from rlrnn.experiment.default_recipe import choose
from rlrnn.experiment.recipes import Recipe, without_unused

LEFT_OUT = "name", "verified"  # the file's own name; what only a measurement may say
HEAD = """# {what}
# A line that begins with # is a default, or a key that is not given: remove the # to change it.

"""


def write(
    name: str,
    game: str | Path,
    *,
    like: str | Path | None = None,
    kwargs: Mapping[str, Any] | None = None,
    wrappers: Sequence[Mapping[str, Any]] = (),
    folder: str | Path = ".",
) -> tuple[Path, Path]:
    """Write ``agents/NAME.toml`` and ``envs/NAME.toml``, which run as they are; nothing is written over.

    The settings are those that the game's spaces choose, or of the agent that is named by ``like``.
    """
    check_name(name, "an agent")
    paths = Path(folder, "agents", f"{name}.toml"), Path(folder, "envs", f"{name}.toml")
    for path in paths:
        if path.exists():
            raise FileFault(f"{path} is there already: give another name, or move it away.")
    recipe = choose(game, kwargs=kwargs, wrappers=wrappers, name=name).recipe
    plain = games.game(game)
    played = dataclasses.replace(
        plain, kwargs={**plain.kwargs, **(kwargs or {})}, wrappers=(*plain.wrappers, *map(dict, wrappers))
    )
    own: dict[str, Any] = {
        "game": f"../envs/{name}.toml",
        "kwargs": {},
        "wrappers": recipe.wrappers[len(wrappers) :],
    }
    if like is not None:
        recipe = dataclasses.replace(catalogue.agent(like), name=name, description="", verified=None)
    recipe = dataclasses.replace(recipe, **own)
    what = f"{name}, an agent for {plain.name}: rlrnn train {paths[0]}", f"The game of {paths[0].name}."
    for path, record, title in zip(paths, (recipe, played), what, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.write_text(HEAD.format(what=title) + text(record), encoding="utf-8")
    return paths


def text(record: Any) -> str:
    """The TOML of a dataclass that reads back as the same, with a comment for every key."""
    values = to_mapping(record)
    if isinstance(record, Recipe):
        values = without_unused(values)
    keys = [key for key in keys_of(type(record)) if key.name not in LEFT_OUT]
    lines = [_line(key, values.get(key.name)) for key in keys if key.table is None]
    for key in keys:
        if key.table is not None and not (key.name == "ppo" and "ppo" not in values):
            lines += [
                "",
                f"# {_meaning(key)[:1].upper()}{_meaning(key)[1:]}.",
                *_table(key, values.get(key.name)),
            ]
    return "\n".join(lines) + "\n"


def _table(key: Key, value: Mapping[str, Any] | None) -> list[str]:
    """A table; one that is not given is a comment as a whole."""
    assert key.table is not None
    given = value is not None
    values = value if value is not None else {}
    lines = [_line(inner, values.get(inner.name)) for inner in keys_of(key.table)]
    return [f"[{key.name}]" if given else f"# [{key.name}]", *lines]


def _line(key: Key, value: Any) -> str:
    """A key with its value, or, where that is the default, as a comment."""
    meaning = _meaning(key)
    default = to_plain(key.default)
    if value is None and key.written:
        value = default
    if value is None:
        inner = ' = { points = , source = "" }' if key.table is not None else " ="
        return f"# {key.name}{inner}  # {meaning} ({key.takes})"
    if value == default:
        return f"# {key.name} = {inline(value)}  # {meaning}"
    told = f"; default: {key.written}" if key.default and key.default is not NOTHING else ""
    return f"{key.name} = {inline(value)}  # {meaning}{told}"


def _meaning(key: Key) -> str:
    return key.meaning.replace("``", "")


def to_plain(value: Any) -> Any:
    """Tuples as lists, as files hold them."""
    return [to_plain(each) for each in value] if isinstance(value, tuple | list) else value
