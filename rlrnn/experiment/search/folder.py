"""The folder of a study: what lies where, and nothing of it ever twice.

runs/<study>/
    study.toml, recipe.toml     what is searched (and game.toml, if the game came from a file)
    trials/<number>/values.json what was drawn
    trials/<number>/seed<k>/    the run of a trial on a seed, with what it had won at each rung (rungs.json)
    trials.csv                  a row for each trial
    search.png, settings.png, seconds.png
    journal.log                 the same for optuna's dashboard
    verified/<number>/seed<k>/  the best, trained again on fresh seeds, and its controls
    <study>.toml                the recipe that was found, with [verified]

The runs are the truth: trials.csv, the pictures and the journal are made of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlrnn.common.files import read_json, write_json, write_whole
from rlrnn.common.records import build, leaves, read_toml
from rlrnn.envs import games
from rlrnn.errors import FileFault, UserError
from rlrnn.experiment import catalogue
from rlrnn.experiment.recipes import Recipe, read_recipe, to_toml
from rlrnn.experiment.runs import contents
from rlrnn.experiment.runs.facts import decides, difference
from rlrnn.experiment.search.halving import Piece, Result
from rlrnn.experiment.search.playing import folder_of, result_in
from rlrnn.experiment.search.space import Space, Values
from rlrnn.experiment.search.study import Study, settings, with_space

FORMAT = 1  # of a study's folder; raised when an older rlrnn could misread a newer one
STUDY, TRIALS, VALUES, TABLE, JOURNAL, VERIFIED = (
    "study.toml",
    "trials",
    "values.json",
    "trials.csv",
    "journal.log",
    "verified",
)


class StudyFolder:
    """A study on the disk, which it may share with other processes that search the same."""

    def __init__(self, path: Path, study: Study, recipe: Recipe, space: Space) -> None:
        """Make it, or go on with what is there; that of another study is refused."""
        self.path, self.study, self.recipe, self.space = path, with_space(study, space), recipe, space
        if (path / STUDY).exists():
            self._check_same()
        elif path.exists() and any(path.iterdir()):
            raise FileFault(f"{path} holds other things than a study; choose another folder with --out.")
        else:
            self._write_recipe()
        write_whole(path / STUDY, f"format = {FORMAT}\n{to_toml(self.study)}".encode())

    @property
    def trials(self) -> Path:
        """Where the trials lie."""
        return self.path / TRIALS

    def run_of(self, piece: Piece) -> Path:
        """Where the run of a piece lies."""
        return folder_of(self.trials, piece)

    def recipe_of(self, trial: int, values: Values | None) -> Recipe:
        """The recipe of a trial."""
        drawn = replace(self.recipe, verified=None)
        if values is not None:
            drawn = self.space.apply(self.recipe, values, f"trial {trial}")
        return replace(drawn, name=f"{self.study.name}-{trial:03}")

    def results(self) -> dict[Piece, Result]:
        """All that was won so far."""
        found = {}
        for path in sorted(self.trials.glob("[0-9][0-9][0-9]*")):
            for rung in range(len(self.study.rungs)):
                for seed in self.study.seeds_of(rung):
                    piece = Piece(int(path.name), seed, rung)
                    result = result_in(self.run_of(piece), self.study.steps_of(rung, self.recipe))
                    if result is not None:
                        found[piece] = result
        return found

    def drawn(self, numbers: Sequence[int]) -> list[Values | None] | None:
        """The values of trials; None where not all of them were drawn."""
        paths = [self._values(number) for number in numbers]
        return [self._read(path) for path in paths] if all(path.exists() for path in paths) else None

    def keep(self, first: int, values: Sequence[Values | None]) -> None:
        """Note what was drawn for trials from a number on."""
        for number, drawn in enumerate(values, first):
            self._values(number).parent.mkdir(parents=True, exist_ok=True)
            write_json(self._values(number), drawn)

    def _read(self, path: Path) -> Values | None:
        values, known = read_json(path), self.space.parameters
        if values is None or (
            isinstance(values, dict)
            and values.keys() <= known.keys()
            and all(known[key].holds(value) for key, value in values.items())
        ):
            return values
        raise FileFault(f"{path} is damaged: it should hold settings that the study's space draws.")

    def _values(self, number: int) -> Path:
        return self.trials / f"{number:03}" / VALUES

    def _write_recipe(self) -> None:
        recipe = self.recipe
        if recipe.game.endswith(".toml"):  # the game travels along, and the recipe names it there
            write_whole(self.path / contents.GAME, to_toml(games.game(recipe.game)).encode())
            recipe = replace(recipe, game=contents.GAME)
        write_whole(self.path / contents.RECIPE, to_toml(recipe).encode())

    def _check_same(self) -> None:
        """Refuse the folder of another study, with the first thing in which it differs."""
        table = read_toml(self.path / STUDY)
        number = table.pop("format", None)
        if not isinstance(number, int):
            raise FileFault(f"{self.path / STUDY} is damaged: it should hold its format.")
        if number > FORMAT:
            raise FileFault(
                f"the study {self.path} was written by a newer rlrnn (format {number}), but this version "
                f"reads up to format {FORMAT}: pip install --upgrade rlrnn."
            )
        there = build(Study, table, str(self.path / STUDY))
        older = read_recipe(self.path / contents.RECIPE)
        pairs: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = [
            (settings(there), settings(self.study)),
            (dict(leaves(there.space, "space.")), dict(leaves(self.study.space, "space."))),
            (decides(older, catalogue.game_of(older)), decides(self.recipe, catalogue.game_of(self.recipe))),
        ]
        for old, new in pairs:
            if (what := difference(old, new)) is not None:
                raise UserError(
                    f"{self.path} holds another study ({what}): choose another folder with --out, or remove "
                    "that one."
                )
