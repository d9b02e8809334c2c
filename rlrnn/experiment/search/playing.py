"""A trial's training to a rung, in its run's folder, and what it has won there."""

from __future__ import annotations

import math
import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlrnn.common.files import read_json, write_json
from rlrnn.common.modules import import_module
from rlrnn.common.settings import is_number
from rlrnn.envs import games
from rlrnn.envs.wrappers.base import state_of
from rlrnn.errors import EnvironmentFault, FileFault, MissingExtraError, PartFault, UserError
from rlrnn.experiment import catalogue
from rlrnn.experiment.evaluation import evaluate
from rlrnn.experiment.recipes import Recipe
from rlrnn.experiment.runs import checkpoints, contents, leases, runs
from rlrnn.experiment.runs.facts import FINISHED, TRAINED
from rlrnn.experiment.search.halving import Piece, Result
from rlrnn.experiment.training import training
from rlrnn.experiment.training.evaluating import SEED
from rlrnn.experiment.training.rounding import OtherProcessor
from rlrnn.experiment.training.side_by_side import Messenger

RUNGS = "rungs.json"  # in a run's folder: what it had won at each rung
# A trial is not to blame for these: they end the search.
OTHERS_FAULTS = EnvironmentFault, PartFault, FileFault, MissingExtraError, leases.LostLease, OtherProcessor


_NOTHING = object()


@dataclass(frozen=True)
class Work:
    """A piece, and all that its process needs to play it."""

    piece: Piece
    recipe: Recipe
    folder: Path  # of the run
    until: int  # steps of the training
    episodes: int
    device: str = "cpu"
    command: str | None = None
    imports: tuple[str, ...] = ()
    threads: int = 1

    def __call__(self) -> None:
        """Play it, and note the result."""
        import torch

        torch.set_num_threads(self.threads)
        for module in self.imports:
            import_module(module)
        try:
            result = self._result()
        except OTHERS_FAULTS:
            raise
        except UserError as error:  # settings that contradict each other, or with which the training diverged
            result = Result(None, failed=str(error))
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / RUNGS, {**_table(self.folder), str(self.until): _written(result)})

    def done(self) -> bool:
        """Whether it was played already, here or by another process."""
        return result_in(self.folder, self.until) is not None

    def _result(self) -> Result:
        run = self._run()
        agent = run.agent(self.device)
        how = self.recipe.evaluation
        common: dict[str, Any] = {"deterministic": how.deterministic, "seed": SEED}
        score = evaluate(agent, run.game, self.episodes, **common)
        remembers = agent.policy.network.state_size > 0
        wiped = evaluate(agent, run.game, self.episodes, **common, wiped=True).mean if remembers else None
        return Result(score.mean, wiped, int(run.facts["steps"]), float(run.facts["seconds"]))

    def _run(self) -> runs.Run:
        """The training, as far as it is to go now."""
        how: dict[str, Any] = {
            "device": self.device,
            "progress": False,
            "callback": Messenger(self.recipe.steps),
            "until": self.until,
            "imports": self.imports,
        }
        if not _keeps_games(self.recipe):
            how["checkpoint_seconds"] = math.inf
            self._go_back()
        if not (self.folder / contents.VERSIONS).exists():
            return training.train(self.recipe, self.piece.seed, self.folder, command=self.command, **how)
        run = runs.read_run(self.folder)
        return run if run.status == FINISHED else training.resume(self.folder, **how)

    def _go_back(self) -> None:
        """To the last rung, where a training that was killed since would begin other episodes of its game."""
        if not (self.folder / contents.VERSIONS).exists() or runs.read_run(self.folder).status in (
            TRAINED,
            FINISHED,
        ):
            return
        rungs = [result_in(self.folder, int(until)) for until in _table(self.folder)]
        with leases.held(self.folder):
            if not checkpoints.go_back(self.folder, max((rung.steps for rung in rungs if rung), default=0)):
                shutil.rmtree(self.folder)


def _keeps_games(recipe: Recipe) -> bool:
    """Whether a training goes on to the same bytes from wherever it was killed."""
    if recipe.evolution is not None:
        return True
    with closing(games.make_vec(catalogue.game_of(recipe), 1, workers=0)) as env:
        env.reset()
        return state_of(env) is not None


def _table(folder: Path) -> dict[str, Any]:
    """What a run had won, by the steps of each rung."""
    path = folder / RUNGS
    table = read_json(path) if path.exists() else {}
    if not (isinstance(table, dict) and all(key.isdigit() for key in table)):
        raise FileFault(f"{path} is damaged: it should hold points by steps of the training.")
    return table


def result_in(folder: Path, until: int) -> Result | None:
    """What a run had won at a rung; None: it did not come there."""
    path, known = folder / RUNGS, _table(folder).get(str(until), _NOTHING)
    if known is _NOTHING:
        return None
    names = Result.__dataclass_fields__.keys()
    if not (isinstance(known, dict) and "points" in known and known.keys() <= names):
        raise FileFault(
            f"{path} is damaged: it should hold points, steps and seconds by steps of the training."
        )
    if not (known["points"] is None or is_number(known["points"])):
        raise FileFault(f"{path} is damaged: its points are {known['points']!r}, and no number.")
    return Result(**known)


def _written(result: Result) -> dict[str, Any]:
    return {
        name: value for name, value in vars(result).items() if value not in (None, "") or name == "points"
    }


def folder_of(trials: Path, piece: Piece) -> Path:
    """Where the run of a piece lies, of whatever rung."""
    return trials / f"{piece.trial:03}" / f"seed{piece.seed}"
