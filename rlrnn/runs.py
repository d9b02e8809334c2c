"""Run folders: what training leaves behind, written so that nothing is lost and read with clear errors.

runs/<agent>/seed<k>/
    recipe.toml    the recipe as used (beside it game.toml, if the game came from a file of the user's)
    versions.json  seed, command, versions, device, threads, what ran the memory, and how the training ended
    progress.csv   SB3's training log, one row per update
    episodes.csv   step, points and length of every finished training episode
    agent.zip      the agent
    score.json     the evaluation
    curve.png      the learning curve
    checkpoints/   while it trains: what it needs to go on after being killed
"""

from __future__ import annotations

import csv
import errno
import itertools
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rlrnn import catalogue
from rlrnn.catalogue import Game
from rlrnn.errors import FileFault, UserError
from rlrnn.evaluation import Score
from rlrnn.recipes import NetworkRecipe, Recipe, read_recipe, to_toml
from rlrnn.texts import is_name

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from rlrnn.learners import Agent

FORMAT = 1  # of a run folder; raised when an older rlrnn could misread a newer one
VERSIONS, SCORE, AGENT = "versions.json", "score.json", "agent.zip"
EPISODES, PROGRESS, CURVE = "episodes.csv", "progress.csv", "curve.png"
EPISODE_FIELDS = ("step", "points", "length")  # step of the training at which the episode ended
TRAINING, INTERRUPTED, TRAINED, FINISHED = "training", "interrupted", "trained", "finished"


@dataclass(frozen=True)
class Run:
    """One training of one agent, in its folder."""

    folder: Path
    recipe: Recipe
    seed: int
    status: str  # training (or broken off without a word), interrupted, trained, finished (judged, too)
    facts: Mapping[str, Any]  # the rest of versions.json

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}: {self.recipe.name}, seed {self.seed}, {self.status})"

    @property
    def game(self) -> Game:
        """The game as the agent played it."""
        own = self.folder / "game.toml"
        return catalogue.game_of(replace(self.recipe, game=str(own)) if own.exists() else self.recipe)

    def agent(self, device: str = "cpu") -> Agent:
        """The trained agent."""
        from rlrnn import learners

        path = self._file(AGENT, "its training was broken off before the agent was saved: train it again")
        return learners.load(path, device)

    def scores(self) -> dict[str, Score]:
        """The evaluation: with memory, with the memory wiped, and a random player."""
        path = self._file(
            SCORE, f"judge the agent with: rlrnn evaluate {self.folder} --out {self.folder / SCORE}"
        )
        try:
            return {name: Score.from_json(score) for name, score in read_json(path)["scores"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise FileFault(f"{path} is not a score file of rlrnn ({error!r} is amiss in it).") from None

    def end(self, status: str, **facts: Any) -> Run:
        """Note how the training ended."""
        ended = replace(self, status=status, facts={**self.facts, **facts})
        write_json(self.folder / VERSIONS, {"status": status, "seed": self.seed, **ended.facts})
        return ended

    def _file(self, name: str, remedy: str) -> Path:
        path = self.folder / name
        if not path.exists():
            raise FileFault(f"the run {self.folder} holds no {name}; {remedy}.")
        return path


def open_run(
    folder: str | Path,
    recipe: Recipe,
    seed: int,
    command: str | None,
    overwrite: bool,
    device: str = "cpu",
) -> Run:
    """A new run folder; an older run there is refused, or moved aside until the new one is finished."""
    folder = Path(folder)
    facts = {"format": FORMAT, "command": command, **versions(recipe.network, device)}
    aside = None
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not (folder / VERSIONS).exists():
            raise FileFault(f"{folder} holds other things than a run; choose another folder with --out.")
        if not overwrite:
            raise FileFault(
                f"{folder} holds a run already, which is never overwritten silently: choose another --seed "
                "or --out, or say --overwrite."
            )
        names = (folder.with_name(f"old{n}-{folder.name}") for n in itertools.count(1))
        aside = next(path for path in names if not path.exists())
        with held(folder):
            folder.rename(aside)
    if aside is not None:
        facts["replaces"] = aside.name
    run = Run(folder, recipe, seed, TRAINING, facts)
    try:
        _make(run)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and folder.is_dir():
            raise FileFault(
                f"another process has just begun the run {folder}: choose another --seed."
            ) from None
        error.filename = str(folder)
        raise
    return run


def _make(run: Run) -> None:
    """All of it or nothing: a process killed in between leaves no half of a run."""
    folder = run.folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as parts:
        made = Path(parts, folder.name)
        made.mkdir()
        (made / "recipe.toml").write_text(to_toml(run.recipe), encoding="utf-8")
        if run.recipe.game.endswith(".toml"):
            (made / "game.toml").write_text(to_toml(catalogue.game(run.recipe.game)), encoding="utf-8")
        replace(run, folder=made).end(TRAINING)
        made.rename(folder)


def finish(run: Run, **facts: Any) -> Run:
    """Mark a run as finished and drop the older one that it replaces."""
    facts = {**run.facts, **facts}
    replaced = facts.pop("replaces", None)
    run = replace(run, facts=facts).end(FINISHED)
    if replaced is not None:
        shutil.rmtree(run.folder.with_name(replaced))
    return run


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes from training in a run's folder, where the system knows such locks.

    The lock ends with the process, however that ends.
    """
    if sys.platform == "win32":
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileFault(f"the run {folder} is being trained by another process: wait for it.") from None
        yield
    finally:
        os.close(handle)


def tidy(folder: Path) -> None:
    """Remove what a process that was killed left half written."""
    for part in (*folder.glob(".*.part*"), *folder.glob("*/.*.part")):
        part.unlink()


def read_run(folder: str | Path) -> Run:
    """The run in a folder, or in the only one of its seed folders."""
    found = find_runs(folder)
    if len(found) > 1:
        raise UserError(f"{folder} holds {len(found)} runs; give one of {', '.join(map(str, found))}.")
    folder = found[0]
    facts = read_json(folder / VERSIONS)
    told = isinstance(facts, dict) and {"format", "seed", "status"} <= facts.keys()
    if not (told and isinstance(facts["format"], int)):
        raise FileFault(f"{folder / VERSIONS} is damaged: it should tell format, seed and status.")
    if not is_name(facts.get("replaces", "old")):  # a folder beside it, which is removed in the end
        raise FileFault(
            f"{folder / VERSIONS} is damaged: replaces is {facts['replaces']!r}, which is no folder's name."
        )
    if facts["format"] > FORMAT:
        raise FileFault(
            f"the run {folder} was written by rlrnn {facts.get('rlrnn')} (format {facts['format']}), but "
            f"this version reads up to format {FORMAT}: pip install --upgrade rlrnn."
        )
    if not (folder / "recipe.toml").exists():
        raise FileFault(f"the run {folder} is incomplete: it holds no recipe.toml.")
    return Run(folder, read_recipe(folder / "recipe.toml"), facts.pop("seed"), facts.pop("status"), facts)


def write_scores(path: Path, scores: Mapping[str, Score]) -> None:
    """Write an evaluation as JSON, making the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"scores": {name: score.to_json() for name, score in scores.items()}})


def find_runs(folder: str | Path) -> list[Path]:
    """The run folders meant by a path: itself, or runs/<agent> for all of its seeds."""
    folder = Path(folder)
    if not folder.exists():
        raise FileFault(f"there is no run {folder}; train one with: rlrnn train AGENT.")
    found = (
        [folder]
        if (folder / VERSIONS).exists()
        else sorted(p.parent for p in folder.glob(f"seed*/{VERSIONS}"))
    )
    if not found:
        raise FileFault(f"{folder} is not a run folder: it holds no {VERSIONS}; give runs/<agent>/seed<k>.")
    return found


def read_episodes(path: Path) -> NDArray[np.float64]:
    """episodes.csv as [episodes, 3]: step at its end, points, length. A last line cut short is left out."""
    if not path.exists():
        raise FileFault(f"there is no {path}; the run is incomplete.")
    text = path.read_text(encoding="utf-8")
    rows = list(csv.reader(text[: text.rfind("\n") + 1].splitlines()))[1:]
    episodes = []
    for number, row in enumerate(rows, 2):
        try:
            step, points, length = map(float, row)
            episodes.append((step, points, length))
        except ValueError:
            raise FileFault(
                f"{path} is damaged: line {number} is {','.join(row)!r}, but should be step,points,length."
            ) from None
    return np.array(episodes, dtype=np.float64).reshape(-1, 3)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to write to; it takes its place when the block ends well, else it goes."""
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)  # a full disk names none, other failures the part
        raise
    finally:
        with suppress(OSError):
            part.unlink()


def write_json(path: Path, data: Any) -> None:
    """Write JSON at once or not at all, lists of numbers on one line each."""
    text = re.sub(r"\[\n[^]{[]*\]", lambda found: " ".join(found[0].split()), json.dumps(data, indent=1))
    with replacing(path) as part:
        part.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """The data in a JSON file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileFault(f"there is no {path}.") from None
    except ValueError as error:
        raise FileFault(f"{path} is damaged: {error}.") from None


def versions(network: NetworkRecipe, device: str) -> dict[str, Any]:
    """What decides, besides the recipe, what a seed reproduces."""
    import gymnasium
    import stable_baselines3
    import torch

    import rlrnn
    from rlrnn import compiled, processor

    modules = {"rlrnn": rlrnn, "torch": torch, "gymnasium": gymnasium, "stable_baselines3": stable_baselines3}
    return {
        **{name: module.__version__ for name, module in modules.items()},
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor.kind(),
        "device": device,
        "threads": torch.get_num_threads(),
        "recurrence": compiled.what_runs(network.cell, device, network.cell_options),
    }
