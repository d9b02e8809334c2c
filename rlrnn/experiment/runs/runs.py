"""Run folders: what training leaves behind, written so that nothing is lost and read with clear errors.

runs/<agent>/seed<k>/
    recipe.toml    the recipe as used (beside it game.toml, if the game came from a file of the user's)
    versions.json  seed, command, versions, device, threads, what ran the memory, and how the training ended
    progress.csv   SB3's training log, one row per update
    episodes.csv   step, points and length of every finished training episode
    agent.zip      the agent
    score.json     the evaluation
    evaluations.npz  those made while it trained, where [evaluation] has `every`
    curve.png      the learning curve
    snapshots/     agents kept along the way, where it was asked for
    checkpoints/   while it trains: what it needs to resume after being killed
    lock           while it trains: who does (``leases``)
"""

from __future__ import annotations

import base64
import errno
import glob
import itertools
import os
import platform
import re
import secrets
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlrnn._version import __version__
from rlrnn.common.files import sentence, write_json
from rlrnn.common.texts import html, tell
from rlrnn.envs import games
from rlrnn.envs.games import Game
from rlrnn.errors import FileFault, UserError
from rlrnn.experiment import catalogue
from rlrnn.experiment.evaluation import Score
from rlrnn.experiment.recipes import NetworkRecipe, Recipe, read_recipe, to_toml
from rlrnn.experiment.runs.contents import AGENT, CURVE, GAME, RECIPE, SCORE, VERSIONS
from rlrnn.experiment.runs.facts import FINISHED, FORMAT, TRAINING, read_facts, read_scores
from rlrnn.experiment.runs.leases import LOCK, Held, Lease, check, held, is_held

if TYPE_CHECKING:
    from rlrnn.experiment.agents import Agent


@dataclass(frozen=True)
class Run:
    """One training of one agent, in its folder."""

    folder: Path
    recipe: Recipe
    seed: int
    status: str  # training (or killed), interrupted, trained, finished (evaluated, too)
    facts: Mapping[str, Any]  # the rest of versions.json

    def __repr__(self) -> str:
        first = f"Run({str(self.folder)!r}: {self.recipe.name}, seed {self.seed}, {self.status})"
        try:
            scores = self.scores() if self.status == FINISHED else {}
        except FileFault:  # which whoever asks for the scores is told
            scores = {}
        if not scores:
            return first
        rows = [f"  {name}: {score}" for name, score in scores.items()]
        return "\n".join([first, *rows, f"  {self.facts['steps']:,} steps in {self.facts['seconds']:.1f} s"])

    def _repr_html_(self) -> str | None:
        """The scores and the learning curve, for a notebook."""
        from rlrnn.experiment.evaluation import shown

        if self.status != FINISHED:
            return None
        curve = self.folder / CURVE
        data = base64.b64encode(curve.read_bytes()).decode("ascii") if curve.exists() else ""
        picture = f'<img alt="learning curve" src="data:image/png;base64,{data}">' if data else ""
        return html(shown(self.scores(), self.game, self.recipe.network.cell != "none")) + picture

    @property
    def game(self) -> Game:
        """The game as the agent played it."""
        own = self.folder / GAME
        return catalogue.game_of(replace(self.recipe, game=str(own)) if own.exists() else self.recipe)

    @property
    def resuming(self) -> str:
        """The command that goes on with it."""
        imports = [word for name in self.facts.get("imports", ()) for word in ("--import", name)]
        return shlex.join(["rlrnn", "train", "--resume", str(self.folder), *imports])

    def agent(self, device: str = "cpu") -> Agent:
        """The agent as it was saved; of a training that is running, or was killed, its last checkpoint's."""
        from rlrnn.experiment import agents
        from rlrnn.experiment.runs import checkpoints

        path = self.folder / AGENT
        last = None if path.exists() and self.status != TRAINING else checkpoints.latest(self.folder)[0]
        if last is not None:
            how = "is being trained" if is_held(self.folder) else "was killed"
            tell(
                f"rlrnn: {self.folder} {how}: this is its agent after {last.steps:,} steps.", file=sys.stderr
            )
            return checkpoints.agent_of(last, device)
        if is_held(self.folder):
            remedy = f"it is being trained: its first checkpoint comes after {checkpoints.SECONDS:.0f} s"
        else:
            remedy = f"its training was killed: to resume it, {self.resuming}"
        return agents.load(self._file(AGENT, remedy), device)

    def scores(self) -> dict[str, Score]:
        """The evaluation: with memory, with the memory wiped, and a random player."""
        return read_scores(
            self._file(
                SCORE, f"evaluate the agent with: rlrnn evaluate {self.folder} --out {self.folder / SCORE}"
            )
        )

    def end(self, status: str, **facts: Any) -> Run:
        """Note how the training ended."""
        check(self.folder)
        ended = replace(self, status=status, facts={**self.facts, **facts})
        write_json(self.folder / VERSIONS, {"status": status, "seed": self.seed, **ended.facts})
        return ended

    def _file(self, name: str, remedy: str) -> Path:
        path = self.folder / name
        if not path.exists():
            raise FileFault(f"the run {self.folder} holds no {name}; {remedy}.")
        return path


def place(folder: str | Path) -> Path:
    """Where a run goes: in the place of a link, what it points to."""
    folder = Path(folder)
    if folder.resolve() == Path.cwd():
        raise FileFault(f"{folder} is the folder that you are in: give --out a folder that a run may make.")
    return folder.resolve() if folder.is_symlink() else folder


def check_free(folder: Path, overwrite: bool, init: str = "") -> bool:
    """Refuse a folder that no run may be made in; whether it holds an older run, which may be replaced.

    ``init`` is where the training is to begin: never in the run that it would replace.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if not (folder / VERSIONS).exists():
        raise FileFault(f"{folder} holds other things than a run; choose another folder with --out.")
    if not overwrite:
        raise FileFault(
            f"{folder} holds a run already, which is never overwritten silently: choose another --seed "
            "or --out, or add --overwrite."
        )
    if init and Path(init).exists() and Path(init).resolve().is_relative_to(folder.resolve()):
        raise FileFault(
            f"the training would begin from {init} and replace it, so that it could never be repeated: "
            "choose another --out."
        )
    return True


def open_run(
    folder: str | Path,
    recipe: Recipe,
    seed: int,
    command: str | None,
    overwrite: bool,
    device: str = "cpu",
    imports: Sequence[str] = (),
    more: Mapping[str, Any] | None = None,
) -> Run:
    """A new run folder; an older run there is refused, or moved aside until the new one is finished."""
    folder = place(folder)
    _clear_beside(folder)
    facts = {"format": FORMAT, "command": command, **versions(recipe.network, device), **(more or {})}
    if imports:
        facts["imports"] = list(imports)  # the user's modules, to be named where they are missing
    aside = None
    if check_free(folder, overwrite, recipe.init):
        names = (folder.with_name(f"old{n}-{folder.name}") for n in itertools.count(1))
        aside = next(path for path in names if not path.exists())
        facts["replaces"] = aside.name
    run = Run(folder, recipe, seed, TRAINING, facts)
    try:
        _make(run, aside)
    except FileFault:
        raise
    except OSError as error:
        begun = error.errno in (errno.ENOTEMPTY, errno.EEXIST) and folder.is_dir()
        if begun or (error.errno == errno.ENOENT and folder.parent.is_dir()):
            raise FileFault(
                f"another process has just begun the run {folder}: choose another --seed."
            ) from None
        error.filename = str(folder)
        raise
    if (folder / GAME).exists():
        run = replace(run, recipe=replace(recipe, game=str(folder / GAME)))
    return run


def _make(run: Run, aside: Path | None) -> None:
    """All of it or nothing: a process killed in between leaves no half of a run."""
    folder = run.folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as block:
        part, lease = _begin_part(folder, block)
        try:
            recipe = run.recipe
            if recipe.game.endswith(".toml"):  # the game travels along, and the recipe names it there
                (part / GAME).write_text(to_toml(games.game(recipe.game)), encoding="utf-8")
                recipe = replace(recipe, game=GAME)
            if recipe.init and Path(recipe.init).exists():
                recipe = replace(recipe, init=os.path.relpath(recipe.init, folder))
            (part / RECIPE).write_text(to_toml(recipe), encoding="utf-8")
            replace(run, folder=part).end(TRAINING)
            if aside is not None:
                with held(folder) as older:
                    older.rename(aside)
            try:
                lease.rename(folder)
            except OSError:
                if aside is not None:
                    aside.rename(folder)
                raise
        except BaseException:
            _empty_part(part)
            block.close()
            _remove_part(part)
            raise


def _begin_part(folder: Path, block: ExitStack) -> tuple[Path, Lease]:
    """A folder beside a run's, held until the block ends: others clear such folders that nobody holds."""
    while True:
        part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
        part.mkdir()
        with suppress(Held, FileNotFoundError):  # it is being cleared already
            return part, block.enter_context(held(part))


def put_back(folder: Path) -> None:
    """Mend what a kill in the moment of an overwriting left of a run, or of those in an agent's folder."""
    if not folder.exists():
        _clear_beside(folder)
    elif not (folder / VERSIONS).exists():
        for part in folder.glob(".seed*.*"):
            _clear_beside(folder / part.name[1:].rpartition(".")[0])


def _clear_beside(folder: Path) -> None:
    """Undo what a process that was killed while it made this run left beside it."""
    for part in folder.parent.glob(f".{glob.escape(folder.name)}.*"):
        named = re.fullmatch(r"\.[0-9a-f]{8}", part.name.removeprefix(f".{folder.name}"))
        with suppress(OSError):  # another process makes or removes it just now
            if not named or is_held(part):
                continue
            with held(part):
                if not folder.exists() and (part / VERSIONS).exists():  # killed between the two renames
                    older = _replaced(folder, read_facts(part / VERSIONS))
                    if older is not None and older.is_dir():
                        older.rename(folder)
                        message = f"{folder} was restored: the run that was to replace it never began."
                        tell(f"rlrnn: {message}", file=sys.stderr)
                _empty_part(part)
            _remove_part(part)


def _replaced(folder: Path, facts: Mapping[str, Any]) -> Path | None:
    """The older run that the run in a folder replaces, by its facts.

    Only what ``open_run`` moved aside: a name in a file may be any, and must not be the run's own.
    """
    name = facts.get("replaces") or ""
    return folder.with_name(name) if re.fullmatch(rf"old\d+-{re.escape(folder.name)}", name) else None


def _all_replaced(folder: Path, facts: Mapping[str, Any]) -> list[Path]:
    """The older runs that the run in a folder replaces: that one, and what it was itself to replace."""
    found: list[Path] = []
    older = _replaced(folder, facts)
    while older is not None and older.exists() and older not in found:  # else it was removed by hand
        found.append(older)
        try:
            older = _replaced(folder, read_facts(older / VERSIONS))
        except FileFault:
            break
    return found


def _empty_part(part: Path) -> None:
    """Remove the first files of a run from a folder in which it was being made, while that is held."""
    with suppress(OSError):
        half = part.glob(".*.part*")
        for path in (part / RECIPE, part / GAME, part / VERSIONS, *half, *part.glob(f"{LOCK}.*")):
            path.unlink(missing_ok=True)


def _remove_part(part: Path) -> None:
    """Remove such a folder when it is held no more, but for what is none of ours in it."""
    with suppress(OSError):
        part.rmdir()


def finish(run: Run, **facts: Any) -> Run:
    """Drop the older runs that a run replaces, and mark this one as finished."""
    facts = {**run.facts, **facts}
    replaced = _all_replaced(run.folder, facts)
    facts.pop("replaces", None)
    for older in reversed(replaced):  # so that a kill in between leaves none that no run names
        try:
            shutil.rmtree(older)
        except OSError as error:
            tell(f"rlrnn: the older run {older} could not be removed: {sentence(error)}", file=sys.stderr)
    return replace(run, facts=facts).end(FINISHED)


def missing_imports(folder: str | Path, imports: Sequence[str]) -> list[str]:
    """The modules that a run, or a folder's runs, were trained with and that are not among ``imports``."""
    found: dict[str, None] = {}
    for path in (*Path(folder).glob(VERSIONS), *Path(folder).glob(f"*/{VERSIONS}")):
        with suppress(UserError, AttributeError, TypeError):
            found |= dict.fromkeys(map(str, read_facts(path).get("imports", ())))
    known = {Path(name).stem for name in imports}  # by file or by name
    return [name for name in found if Path(name).stem not in known]


def tidy(folder: Path) -> None:
    """Remove what a process that was killed left half written."""
    _clear_beside(folder)
    for part in (*folder.glob(".*.part*"), *folder.glob("*/.*.part*")):
        part.unlink(missing_ok=True)


def read_run(folder: str | Path) -> Run:
    """The run in a folder, or in the only one of its seed folders."""
    found = find_runs(folder)
    if len(found) > 1:
        raise UserError(f"{folder} holds {len(found)} runs; give one of {', '.join(map(str, found))}.")
    folder = found[0]
    facts = read_facts(folder / VERSIONS)
    if not (folder / RECIPE).exists():
        raise FileFault(f"the run {folder} is incomplete: it holds no {RECIPE}.")
    return Run(folder, read_recipe(folder / RECIPE), facts.pop("seed"), facts.pop("status"), facts)


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a run that was trained and evaluated."""
    path = folder / VERSIONS
    return path.exists() and read_facts(path)["status"] == FINISHED


def write_scores(path: Path, scores: Mapping[str, Score]) -> None:
    """Write an evaluation as JSON, making the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"scores": {name: score.to_json() for name, score in scores.items()}})


def find_runs(folder: str | Path) -> list[Path]:
    """The run folders meant by a path: itself, or runs/<agent> for all of its seeds."""
    folder = Path(folder)
    put_back(folder)
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


def versions(network: NetworkRecipe, device: str) -> dict[str, Any]:
    """What decides, besides recipe and seed, the result of a run."""
    import gymnasium
    import stable_baselines3
    import torch

    from rlrnn.common import processor
    from rlrnn.network import paths

    modules = {"torch": torch, "gymnasium": gymnasium, "stable_baselines3": stable_baselines3}
    return {
        "rlrnn": __version__,
        **{name: module.__version__ for name, module in modules.items()},
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor.kind(),
        "device": device,
        "threads": torch.get_num_threads(),
        "recurrence": paths.what_runs(network.cell, device, network.cell_options),
    }
