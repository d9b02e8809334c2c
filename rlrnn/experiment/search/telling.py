"""What a search tells: its table of trials, pictures, optuna's journal, and the verdict for the shell."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rlrnn.common.files import replacing, write_whole
from rlrnn.experiment import catalogue
from rlrnn.experiment.pictures import searching
from rlrnn.experiment.pictures.searching import Row
from rlrnn.experiment.recipes import CONTROLS
from rlrnn.experiment.search import sampling
from rlrnn.experiment.search.folder import JOURNAL, TABLE, StudyFolder
from rlrnn.experiment.search.halving import Piece, Standing
from rlrnn.experiment.search.space import Values
from rlrnn.experiment.search.study import Study
from rlrnn.experiment.search.winners import Candidate

if TYPE_CHECKING:
    from rich.table import Table

AS_IT_IS = "the recipe as it is"


def keep(folder: StudyFolder, now: Standing, candidates: Sequence[Candidate] = ()) -> None:
    """Write the table of trials, the pictures and the journal anew."""
    found = rows(folder, now)
    write_table(folder, now, found)
    known = [row for row in found if row.points is not None]
    if len(known) > 1:
        game = catalogue.game_of(folder.recipe)
        verified = {c.trial: c.verified.points for c in candidates if c.verified is not None}
        searching.draw_search(known, verified, folder.study.rungs, game, folder.path / "search.png")
        importance = sampling.importances(folder.space, folder.recipe, now)
        searching.draw_settings(
            known, folder.space.parameters, importance, folder.study.rungs, game, folder.path / "settings.png"
        )
        if timed := [row for row in known if row.whole]:  # older runs' seconds may be rounded to none
            searching.draw_seconds(timed, folder.study.rungs, game, folder.path / "seconds.png")
    write_journal(folder, now)


def rows(folder: StudyFolder, now: Standing) -> list[Row]:
    """What became of each trial that has played to a rung."""
    found = []
    for trial, drawn in enumerate(now.values):
        came = [r for r, trials in enumerate(now.at) if trial in trials and now.known(trial, r)]
        if not came:
            continue
        rung = now.reached(trial)
        values: Values = drawn if drawn is not None else folder.space.of_recipe(folder.recipe) or {}
        results = [now.results[Piece(trial, seed, came[-1])] for seed in now.study.seeds_of(came[-1])]
        wiped = [result.wiped for result in results if result.wiped is not None]
        steps, seconds = (sum(getattr(result, name) for result in results) for name in ("steps", "seconds"))
        found.append(
            Row(
                trial,
                came[-1] if rung is None else rung,
                None if rung is None else now.score(trial, rung),
                float(np.mean(wiped)) if wiped else None,
                steps,
                seconds,
                seconds / steps * folder.recipe.steps if steps else None,
                next((result.failed for result in results if result.failed), ""),
                values,
            )
        )
    return found


def write_table(folder: StudyFolder, now: Standing, found: Sequence[Row]) -> None:
    """trials.csv: a row for each trial that has come to a rung, at the last one."""
    keys = list(folder.space.parameters)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["trial", "wave", "rung", "seeds", "points", "points_wiped", "steps", "seconds", "failed"]
    writer.writerow([*head, *keys])
    for row in found:
        wave, seeds = row.trial // folder.study.wave + 1, len(folder.study.seeds_of(row.rung))
        numbers = row.points, row.wiped, row.steps, round(row.seconds, 3)
        told = ["" if number is None else number for number in numbers]
        drawn = [row.values.get(key, "") for key in keys]
        writer.writerow([row.trial, wave, row.rung + 1, seeds, *told, row.failed, *drawn])
    write_whole(folder.path / TABLE, text.getvalue().encode())


def write_journal(folder: StudyFolder, now: Standing) -> None:
    """journal.log, which ``optuna-dashboard journal.log`` shows: a view that is made anew."""
    optuna = sampling.the_optuna()
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    with replacing(folder.path / JOURNAL) as part:
        part.write_bytes(b"")
        storage = JournalStorage(JournalFileBackend(str(part)))
        study = optuna.create_study(storage=storage, study_name=folder.study.name, direction="maximize")
        study.add_trials(sampling.trials(folder.space, folder.recipe, now))
        del study, storage


def table(study: Study, candidates: Sequence[Candidate]) -> Table:
    """What the best won in the search and on fresh seeds, the winner first."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    title = f"{study.name}: the best of {study.trials} trials"
    grid = Table(title=title, box=SIMPLE_HEAD, min_width=len(title))
    grid.add_column("trial", no_wrap=True)
    headings = ["in the search"]
    if any(candidate.verified for candidate in candidates):
        headings += ["on fresh seeds", "wiped", "seconds"]
    for heading in headings:
        grid.add_column(heading, justify="right", no_wrap=True)
    for candidate in candidates:
        cells = [str(candidate.trial) if candidate.trial else "0 (as it is)"]
        share = "" if candidate.rung is None else f" at {study.rungs[candidate.rung]:.0%}"
        cells.append(_number(candidate.searched) + share)
        if (won := candidate.verified) is not None:
            wiped = _number(float(np.mean(won.wiped))) if won.wiped else ""
            cells += [_spread(won.points), wiped, f"{won.seconds:.0f}"]
        elif len(headings) > 1:
            cells.append("failed")
        grid.add_row(*cells)
    first = candidates[0].verified
    for kind in CONTROLS:
        if first is not None and (points := getattr(first, kind)):
            grid.add_row(f"{candidates[0].trial}, {kind}", "", _spread(points), "", "", style="dim")
    return grid


def sentence(candidates: Sequence[Candidate], recipe: Path) -> str:
    """The verdict in words."""
    first, rest = candidates[0], candidates[1:]
    if first.verified is None:
        which = AS_IT_IS if first.trial == 0 else f"trial {first.trial}"
        return f"The best in the search is {which}, which was not verified; it is written as {recipe}."
    if first.trial == 0:
        return f"{AS_IT_IS.capitalize()} was not beaten on fresh seeds; it is written as {recipe}."
    before = next(candidate for candidate in rest if candidate.trial == 0)
    wins = _number(before.mean) if before.verified is not None else "could not be trained on them"
    return (
        f"Trial {first.trial} wins {_number(first.mean)} points on fresh seeds, {AS_IT_IS} {wins}; it is "
        f"written as {recipe}."
    )


def _spread(points: Sequence[float]) -> str:
    return f"{np.mean(points):.2f} ({_number(min(points))} to {_number(max(points))})"


def _number(value: float | None) -> str:
    return "failed" if value is None else f"{value:.2f}"
