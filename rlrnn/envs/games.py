"""Games by name, as data (envs/*.toml), and ``make_vec``: any game as a batch of copies."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlrnn.common.package_data import toml_files
from rlrnn.common.records import Count, build, read_toml
from rlrnn.common.settings import several, takes_plain, unknown
from rlrnn.errors import UserError

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv


@dataclass(frozen=True)
class Points:
    """How a game is counted."""

    unit: str = "points"  # what one point is
    win: float | None = None  # an episode of at least this many points counts as won


@dataclass(frozen=True)
class Reference:
    """The mean points per episode that somebody else reached."""

    points: float  # in the game's unit
    source: str  # who measured it, and how


@dataclass(frozen=True)
class References:
    """Scores to stand beside an agent's."""

    random: Reference | None = None  # actions drawn evenly
    memoryless: Reference | None = None  # the best without memory that is known
    best: Reference | None = None  # the best published, or a script's
    ceiling: Reference | None = None  # what perfect memory can reach

    def items(self) -> list[tuple[str, Reference]]:
        """Those that are known, with their names."""
        named = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))
        return [(name, reference) for name, reference in named if reference is not None]


@dataclass(frozen=True)
class Game:
    """A game: an environment, what the agent may see of it, and how it is counted."""

    name: str  # a file's own name if not given
    id: str  # registered with Gymnasium
    title: str = ""  # one line
    remember: str = ""  # what must be remembered, one sentence
    kwargs: dict[str, Any] = field(default_factory=dict)  # keyword arguments of the id
    wrappers: tuple[dict[str, Any], ...] = ()  # ours or registered, by name, innermost first
    episodes: Count = 100  # of an evaluation
    points: Points = Points()
    references: References = References()


def games() -> dict[str, Game]:
    """The games of the catalogue by name."""
    return {name: _read_game(path) for name, path in toml_files("envs").items()}


def game(name: str | Path | Game) -> Game:
    """A game by its name in the catalogue, the path of its TOML file, or a registered Gymnasium id."""
    if isinstance(name, Game):
        return name
    if not isinstance(name, str | Path):
        raise UserError(
            f"{name!r} names no game: give the name of one (rlrnn.list_games()), a game file's path, an id; "
            "an environment of your own has one after gymnasium.register('mine/Game-v0', its class)."
        )
    files, text = toml_files("envs"), str(name)
    if text.endswith(".toml") or text in files:
        return _read_game(files.get(text, Path(text)))
    from rlrnn.envs.engines.ids import closest, find_spec, is_registered

    if not re.search(r"-v\d+$", text) and "/" not in text and not is_registered(text):
        sentence = unknown("game", text, files).removesuffix(".")
        raise UserError(
            f"{sentence}; or give the path of a game's TOML file, or a registered Gymnasium id"
            f"{closest(text)}; one of your own is registered by the module that --import names."
        )
    return Game(name=text, id=find_spec(text).id, title=text)


def is_game(name: str) -> bool:
    """Whether it is the name of a game of the catalogue, or registered by now."""
    from rlrnn.envs.engines.ids import is_registered

    return name in toml_files("envs") or is_registered(name)


@takes_plain
def make_vec(
    game_or_id: str | Path | Game,
    n_envs: int = 1,
    seed: int | None = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    wrappers: Mapping[str, Any] | Sequence[Mapping[str, Any]] = (),
    workers: int | None = None,
    render_mode: str | None = None,
    on: str | None = None,
    imports: str | Sequence[str] = (),
) -> VecEnv:
    """Copies of a game, stepped as one batch by the fastest way that it offers, behind SB3's VecEnv.

    ``kwargs`` and ``wrappers`` are added to the game's own (``{"name": "stack", ...}``, innermost first);
    ``workers`` is the number of processes for games that step one by one. ``on`` names a Ray cluster whose
    machines step them instead: "ray", "ray:ADDRESS" or "ray://HOST:PORT"; 0 workers are then one for each
    CPU, and each imports the modules ``imports``, by name or file, first. The same bytes for any.
    """
    from rlrnn.envs.vec import vectorize
    from rlrnn.envs.wrappers import wrap

    entry = game(game_or_id)
    if not isinstance(kwargs or {}, Mapping):
        raise UserError(f"kwargs is {kwargs!r}, but must be a dict of the game's keyword arguments.")
    env = vectorize(
        entry.id,
        n_envs,
        seed=seed,
        kwargs={**entry.kwargs, **(kwargs or {})},
        workers=workers,
        render_mode=render_mode,
        on=on,
        imports=several(imports),
    )
    try:
        return wrap(wrap(env, entry.wrappers), wrappers)
    except UserError:
        env.close()
        raise


def _read_game(path: Path) -> Game:
    return build(Game, {"name": path.stem, **read_toml(path)}, str(path))
