"""Agents by name, as recipes (agents/*.toml), and the games that they play."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TypeVar

from rlrnn.common.package_data import toml_files
from rlrnn.common.settings import unknown
from rlrnn.envs.games import Game, References, game, games, is_game
from rlrnn.errors import UserError
from rlrnn.experiment import recipes
from rlrnn.experiment.recipes import Recipe

T = TypeVar("T", Game, Recipe)


def agents() -> dict[str, Recipe]:
    """The recipes of the catalogue by name."""
    return {name: recipes.read_recipe(path) for name, path in toml_files("agents").items()}


class Listing(dict[str, T]):
    """Games or agents by name, which print as a line each."""

    def __repr__(self) -> str:
        width = max(map(len, self), default=0)
        return "\n".join(f"{name:{width}}  {line_of(thing)}" for name, thing in self.items())


def line_of(thing: Game | Recipe) -> str:
    """What a game or an agent is, in a line."""
    if isinstance(thing, Game):
        return thing.remember or thing.title
    points = thing.verified.points if thing.verified else ()
    won = f"{min(points):g} to {max(points):g} points" if points else "not verified"
    return f"{thing.game}: {won}, {thing.network.cell}, {thing.steps:,} steps"


def list_games(*words: str) -> Listing[Game]:
    """The games of the catalogue by name; with words, those that have all of them in name or description."""
    found = games().items()
    return Listing(
        {name: game for name, game in found if _has(words, name, game.id, game.title, game.remember)}
    )


def list_agents(*words: str) -> Listing[Recipe]:
    """The agents of the catalogue by name; with words, those that have all of them in name, game or cell."""
    found = agents().items()
    return Listing(
        {
            name: recipe
            for name, recipe in found
            if _has(words, name, recipe.game, recipe.network.cell, recipe.table)
        }
    )


def _has(words: tuple[str, ...], *texts: str) -> bool:
    return all(any(word.lower() in text.lower() for text in texts) for word in words)


def is_agent(name: str) -> bool:
    """Whether the catalogue has a recipe of that name."""
    return name in toml_files("agents")


def no_agent(game: str) -> UserError:
    """What to say where the name of a game stands for a trained agent."""
    learned = [name for name, recipe in agents().items() if recipe.game == game]
    those = f"; {', '.join(learned)} learn it" if learned else ""
    return UserError(
        f"{game} is a game and no agent{those}: rlrnn train --game {game} makes one, rlrnn play {game} "
        "--by-hand lets you play."
    )


def agent(name: str | Path) -> Recipe:
    """A recipe by its name in the catalogue or the path of its TOML file."""
    files, text = toml_files("agents"), str(name)
    if not text.endswith(".toml") and text not in files:
        if is_game(text):
            raise UserError(
                f"{text} is a game and no agent: rlrnn train --game {text} learns it by a recipe that its "
                "spaces choose."
            )
        sentence = unknown("agent", text, files)
        raise UserError(f"{sentence.removesuffix('.')}; or give the path of a recipe's TOML file.")
    return recipes.read_recipe(files.get(text, Path(text)))


read_recipe = agent  # as the package offers it


def file(name: str) -> Path:
    """Where the file of a game or of a recipe of the catalogue lies."""
    files = {**toml_files("envs"), **toml_files("agents")}
    if name not in files:
        raise UserError(unknown("game or agent", name, files, "games and agents"))
    return files[name]


def game_of(recipe: Recipe) -> Game:
    """The game as a recipe plays it: with the recipe's keyword arguments and wrappers added."""
    plain = game(recipe.game)
    changes = ", ".join(f"{name}={value}" for name, value in recipe.kwargs.items())
    return dataclasses.replace(
        plain,
        title=f"{plain.name} with {changes}" if changes else plain.title,  # which may describe the game's own
        kwargs={**plain.kwargs, **recipe.kwargs},
        wrappers=(*plain.wrappers, *recipe.wrappers),
        # The reference scores were measured with the game's own arguments.
        references=References() if recipe.kwargs else plain.references,
    )
