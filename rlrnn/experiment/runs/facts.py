"""What a run's files hold: status, points, and all that decides the result; each checked as it is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rlrnn.common.files import read_json
from rlrnn.common.records import leaves, to_mapping
from rlrnn.common.texts import is_name
from rlrnn.envs.games import Game
from rlrnn.errors import FileFault
from rlrnn.experiment.evaluation import Score
from rlrnn.experiment.recipes import Recipe, without_unused

FORMAT = 1  # of a run folder; raised when an older rlrnn could misread a newer one
TRAINING, INTERRUPTED, TRAINED, FINISHED = "training", "interrupted", "trained", "finished"
STATUSES = (TRAINING, INTERRUPTED, TRAINED, FINISHED)
LARGEST = 1e300  # number in a file; sums of such ones are still numbers


def read_facts(path: Path) -> dict[str, Any]:
    """What versions.json holds: format, seed, status, and, once a training has ended, steps and seconds."""
    facts: dict[str, Any] = read_json(path)
    complete = isinstance(facts, dict) and {"format", "seed", "status"} <= facts.keys()
    if not (complete and is_count(facts["format"])):
        raise FileFault(f"{path} is damaged: it should hold format, seed and status.")
    if facts["format"] > FORMAT:
        raise FileFault(
            f"the run {path.parent} was written by rlrnn {facts.get('rlrnn')} (format {facts['format']}), "
            f"but this version reads up to format {FORMAT}: pip install --upgrade rlrnn."
        )
    checks: dict[str, tuple[Callable[[Any], bool], str]] = {
        "seed": (is_count, "a whole number"),
        "status": (lambda status: status in STATUSES, f"one of {', '.join(STATUSES)}"),
        "command": (lambda text: text is None or isinstance(text, str), "text"),
        "replaces": (lambda text: text is None or is_name(text), "a folder's name"),
        "snapshots": (lambda count: count is None or is_count(count), "a whole number"),
        "lost": (lambda names: names is None or isinstance(names, list), "a list"),
        "imports": (lambda names: names is None or is_texts(names), "a list of texts"),
    }
    if facts["status"] != TRAINING:
        checks |= {"steps": (is_count, "a whole number"), "seconds": (is_number, "a number")}
    for name, (is_right, allowed) in checks.items():
        if not is_right(facts.get(name)):
            raise FileFault(f"{path} is damaged: its {name} is {facts.get(name)!r}, and not {allowed}.")
    return facts


def read_scores(path: Path) -> dict[str, Score]:
    """The scores of an evaluation, by the way of playing."""
    try:
        return {name: _score(score) for name, score in read_json(path)["scores"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise FileFault(f"{path} is not a score file of rlrnn: {error!r}.") from None


def _score(data: Mapping[str, Any]) -> Score:
    points, lengths, win = (data[name] for name in ("points", "lengths", "win"))
    if not (isinstance(points, list) and isinstance(lengths, list) and len(points) == len(lengths) > 0):
        raise TypeError("points and lengths should be lists of one number per episode")
    for name, numbers, is_right in (("points", points, is_number), ("lengths", lengths, is_count)):
        wrong = [number for number in numbers if not is_right(number)]
        if wrong:
            raise TypeError(f"{wrong[0]!r} among {name}")
    if not (win is None or is_number(win)):
        raise TypeError(f"{win!r} as win")
    return Score.from_json(data)


def is_count(value: Any) -> bool:
    """Whether this is a whole number that may count something."""
    return type(value) is int and 0 <= value < 2**63


def is_texts(value: Any) -> bool:
    """Whether this is a list of texts."""
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def is_number(value: Any) -> bool:
    """Whether this is a number that can be counted with."""
    return type(value) in (int, float) and abs(value) <= LARGEST


def decides(recipe: Recipe, game: Game) -> dict[str, Any]:
    """All that decides a run's result besides its seed, by dotted name: without its name and description."""
    table, played = to_mapping(recipe), to_mapping(game)
    for name in ("name", "description", "verified", "game", "kwargs", "wrappers"):
        table.pop(name, None)
    init = table.pop("init", "")
    table |= {"init": os.path.realpath(init) if os.path.exists(init) else init} if init else {}
    for name in ("every", "episodes_each"):  # which only look on
        table["evaluation"].pop(name, None)
    table = without_unused(table)
    own = {name: played[name] for name in ("id", "kwargs", "wrappers", "episodes")}
    return dict(leaves({"game": {**own, "win": game.points.win}, **table}))


def difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    """The first thing in which a run is not what is asked for (see ``decides``); None if there is none."""
    for name in dict.fromkeys([*here, *there]):
        was, now = (side.get(name, "not given") for side in (there, here))
        if was != now:
            return f"{name} is {was} in it, and {now} is asked for"
    return None
