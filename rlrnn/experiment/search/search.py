"""The search for the settings of a recipe: trials in waves, which play on while they are among the best."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlrnn.common.modules import import_module
from rlrnn.common.progress import ProgressDisplay
from rlrnn.common.settings import check_whole, several
from rlrnn.common.texts import html
from rlrnn.errors import UserError
from rlrnn.experiment import catalogue
from rlrnn.experiment.recipes import Recipe
from rlrnn.experiment.runs import leases
from rlrnn.experiment.runs.leases import Held
from rlrnn.experiment.search import sampling, telling
from rlrnn.experiment.search.folder import StudyFolder
from rlrnn.experiment.search.halving import Draw, Piece, Standing, standing
from rlrnn.experiment.search.playing import Work
from rlrnn.experiment.search.space import Values
from rlrnn.experiment.search.study import Study, is_study, read_study, space_of
from rlrnn.experiment.search.waiting import Waiting
from rlrnn.experiment.search.winners import Candidate, verify, write_recipe
from rlrnn.experiment.training.rounding import OtherProcessor
from rlrnn.experiment.training.side_by_side import Job, capital, cores, work
from rlrnn.experiment.training.stopping import terminable

if TYPE_CHECKING:
    from rich.table import Table

LOOK = 30.0  # seconds at least between two pictures for who looks on


@dataclass(frozen=True)
class Found:
    """What a search has found: the best trials, the best first, and what they won on fresh seeds."""

    study: Study
    folder: Path
    recipe: Path  # of the winner
    candidates: tuple[Candidate, ...]

    def table(self) -> Table:
        """What each won in the search and on fresh seeds, for the shell."""
        return telling.table(self.study, self.candidates)

    def __repr__(self) -> str:
        return telling.sentence(self.candidates, self.recipe)

    def _repr_html_(self) -> str:
        return html(self.table())


@terminable()
def search(
    what: str | Path | Study,
    out: str | Path | None = None,
    *,
    recipe: Recipe | None = None,
    jobs: int | None = None,
    device: str = "cpu",
    command: str | None = None,
    imports: str | Sequence[str] = (),
    progress: bool = True,
) -> Found:
    """Search the settings of a recipe, verify the best on fresh seeds, and write them as a recipe.

    The answer is a function of the study and its recipe: the same for any number of jobs, and where the
    search was killed and called again; on processors of one kind, where a network's bytes depend on that.
    Several processes may search one study in one folder: each takes what no other plays.

    :param what: a study, the path of its file, or an agent or its recipe, whose learner has a space of its
        own
    :param out: the study's folder; default ``runs/<study>``
    :param recipe: what is searched, instead of the recipe that the study names
    :param jobs: trainings at once; default: one for each processor core
    :param device: of the networks
    :param command: recorded in the runs as the command that made them
    :param imports: modules, by name or file, that register games and cells of yours
    :param progress: show the progress
    """
    imports = several(imports)
    for module in imports:
        import_module(module)
    study, recipe = _given(what, recipe)
    jobs = cores() if jobs is None else jobs
    check_whole("jobs", jobs, 1)
    sampling.the_optuna()
    path = Path("runs", study.name) if out is None else Path(out)
    folder = StudyFolder(path, study, recipe, space_of(study, recipe, f"the study {study.name}"))
    how: dict[str, Any] = {"device": device, "command": command, "imports": imports}
    with ProgressDisplay(quiet=not progress) as display:
        now = _play(folder, jobs, SearchProgress(folder, display), how)
    candidates = verify(folder, now, jobs, progress=progress, **how)
    telling.keep(folder, now, candidates)
    return Found(folder.study, path, write_recipe(folder, candidates), candidates)


def study_of(recipe: Recipe, **changes: Any) -> Study:
    """A study of a recipe by its learner's own space."""
    return Study(f"{recipe.name}-searched", recipe.name, **changes)


def _given(what: str | Path | Study, recipe: Recipe | None) -> tuple[Study, Recipe]:
    if isinstance(what, Study):
        return what, catalogue.agent(what.recipe) if recipe is None else recipe
    if str(what).endswith(".toml") and is_study(what):
        study, named = read_study(what)
        return study, named if recipe is None else recipe
    recipe = catalogue.agent(what) if recipe is None else recipe
    return study_of(recipe), recipe


def drawing(folder: StudyFolder) -> Draw:
    """What is drawn for a wave: what was drawn before, where it lies on the disk."""

    def draw(wave: int, now: Standing) -> Sequence[Values | None]:
        first = len(now.values)
        numbers = range(first, min(first + folder.study.wave, folder.study.trials))
        if (known := folder.drawn(numbers)) is not None:
            return known
        drawn = sampling.draw(folder.study, folder.space, folder.recipe, wave, now)
        folder.keep(first, drawn)
        return drawn

    return draw


def _play(folder: StudyFolder, jobs: int, shown: SearchProgress, how: dict[str, Any]) -> Standing:
    """Play all trials, each as far as it goes."""
    told, shown_at = 0, time.perf_counter()  # the wave of which files and pictures tell, and since when
    elsewhere: dict[Piece, OtherProcessor] = {}  # pieces that only another kind of processor may go on with
    waiting = Waiting()
    while True:
        now = standing(folder.study, drawing(folder), folder.results())
        if not now.missing:
            return now
        if now.wave > told and time.perf_counter() - shown_at >= LOOK:
            told, shown_at = now.wave, time.perf_counter()
            telling.keep(folder, now)
        here = [piece for piece in now.missing if piece not in elsewhere]
        held, left = _play_pieces(folder, now, here, jobs, shown, how) if here else (0, {})
        for why in left.values():
            waiting.leave(why)
        elsewhere |= left
        if held + len(left) == len(here):  # nothing was to be done
            theirs = [piece for piece in now.missing if piece in elsewhere]
            others = held > 0 or any(leases.is_held(folder.run_of(piece)) for piece in theirs)
            waiting.pause(tuple(now.missing), [elsewhere[piece] for piece in theirs], others)


def _play_pieces(
    folder: StudyFolder,
    now: Standing,
    pieces: Sequence[Piece],
    jobs: int,
    shown: SearchProgress,
    how: dict[str, Any],
) -> tuple[int, dict[Piece, OtherProcessor]]:
    """Play these; how many other processes play, and which must be left to another kind of processor."""
    shown.batch(now, pieces)
    threads = max(1, cores() // min(jobs, len(pieces)))
    works = [_work(folder, now, piece, threads, how) for piece in pieces]
    tasks = [
        Job(f"trial {each.piece.trial}, seed {each.piece.seed}", each.folder, each, each.done, each.device)
        for each in works
    ]
    passed: dict[int, Held | OtherProcessor] = {}
    failed = work(tasks, jobs, shown, passed.__setitem__)
    for k, why in failed.items():
        raise UserError(f"{capital(tasks[k].name)}: {why} The same command goes on with the search.")
    left = {pieces[k]: why for k, why in passed.items() if isinstance(why, OtherProcessor)}
    return len(passed) - len(left), left


def _work(folder: StudyFolder, now: Standing, piece: Piece, threads: int, how: dict[str, Any]) -> Work:
    return Work(
        piece,
        folder.recipe_of(piece.trial, now.values[piece.trial]),
        folder.run_of(piece),
        folder.study.steps_of(piece.rung, folder.recipe),
        folder.study.episodes,
        threads=threads,
        **how,
    )


class SearchProgress:
    """One bar for a search: the steps that its trials have played, of those that they may."""

    def __init__(self, folder: StudyFolder, display: ProgressDisplay) -> None:
        self.study, self.recipe, self.display = folder.study, folder.recipe, display
        name = "" if display.narrow else folder.study.name
        self.bar = display.add(self.study.steps_at_most(self.recipe), name, "beginning")
        self.played, self.words = 0, ""
        self.pieces: Sequence[Piece] = ()
        self.steps: dict[int, int] = {}

    def batch(self, now: Standing, pieces: Sequence[Piece]) -> None:
        """What is played next."""
        last: dict[tuple[int, int], int] = {}
        for piece, result in now.results.items():
            key = piece.trial, piece.seed
            last[key] = max(last.get(key, 0), result.steps)
        self.played, self.pieces, self.steps = sum(last.values()), pieces, {}
        self.begun_at = [last.get((piece.trial, piece.seed), 0) for piece in pieces]
        rung, waves = pieces[0].rung, -(-self.study.trials // self.study.wave)
        self.words = f"wave {now.wave + 1} of {waves}, rung {rung + 1} of {len(self.study.rungs)}"
        scores = [
            now.score(trial, rung)
            for rung, at in enumerate(now.at)
            for trial in at
            if now.reached(trial) == rung
        ]
        known = [score for score in scores if score is not None]
        self.best = f", best so far {max(known):.2f} points" if known else ""
        self._show()

    def begun(self, k: int) -> None:
        """As ``side_by_side.Shown``."""

    def show(self, k: int, steps: int, words: str) -> None:
        """As ``side_by_side.Shown``."""
        self.steps[k] = max(0, steps - self.begun_at[k])
        self._show()

    def said(self, line: str) -> None:
        """As ``side_by_side.Shown``."""
        self.display.say(line)

    def ended(self, k: int, well: bool) -> None:
        """As ``side_by_side.Shown``."""
        piece = self.pieces[k]
        self.steps[k] = self.study.steps_of(piece.rung, self.recipe) - self.begun_at[k]
        self._show()

    def _show(self) -> None:
        done = self.played + sum(self.steps.values())
        state = f"{self.words}, {done:,} steps{self.best}"
        self.display.show(self.bar, state, done)
