"""Where labs look: a run's log, recipe, scores, picture and agent in TensorBoard, W&B, Trackio or MLflow.

Each is a package of its own, imported when it is named. A tracker that fails on the way, as a network does,
ends no training: it is said once, and the run's own files hold all of it.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stable_baselines3.common.logger import KVWriter, filter_excluded_keys

from rlrnn.common.noise import undisturbed_noise
from rlrnn.common.records import leaves, to_mapping
from rlrnn.common.settings import unknown
from rlrnn.common.texts import tell
from rlrnn.errors import MissingExtraError, UserError
from rlrnn.experiment.evaluation import Score
from rlrnn.experiment.recipes import Recipe, to_toml
from rlrnn.experiment.runs.contents import AGENT, CURVE, RECIPE

PROJECT = "rlrnn"


class Tracker(KVWriter):
    """SB3's log to one of them: a row of what was recorded, at a step of the training.

    A subclass says how it begins, writes, attaches and ends; whatever these raise is told here.
    """

    package = ""  # that must be installed, as it is imported

    def __init__(self, recipe: Recipe, seed: int, folder: Path) -> None:
        self.recipe, self.seed, self.folder = recipe, seed, folder
        self.name = f"{recipe.name}-seed{seed}"
        self.settings = {**to_mapping(recipe), "seed": seed}
        self.works = True
        try:
            self.module: Any = importlib.import_module(self.package)
        except ImportError as error:
            distribution = self.package.partition(".")[0]
            # It may be there and lack something of its own.
            lacks = "" if error.name in (None, distribution) else f", which lacks {error.name}"
            raise MissingExtraError(
                f"--log {_name(self)} needs the package {distribution}{lacks}: pip install {distribution}."
            ) from None
        try:
            with undisturbed_noise():
                self.begin()
        except Exception as error:
            why = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"--log {_name(self)} cannot begin: {why.rstrip('.')}.") from error

    def begin(self) -> None:
        """Before the training: the recipe's settings and the seed, under the run's name."""

    def log(self, numbers: dict[str, float], step: int) -> None:
        """Numbers of one step."""

    def attach(self, path: Path) -> None:
        """A file of the run that is finished."""

    def end(self, success: bool) -> None:
        """The training is over."""

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        """A row of SB3's log."""
        values = filter_excluded_keys(key_values, key_excluded, "tensorboard")
        numbers = {name: float(value) for name, value in values.items() if _is_number(value)}
        self.attempt("log", numbers, step)

    def finish(self, scores: Mapping[str, Score], steps: int) -> None:
        """The evaluation, and the files of the run."""
        self.attempt("log", {f"score/{name}": score.mean for name, score in scores.items()}, steps)
        for name in (RECIPE, CURVE, AGENT):
            if (self.folder / name).exists():
                self.attempt("attach", self.folder / name)

    def close(self) -> None:
        """The logger's; the run is ended by ``end``, when it is evaluated."""

    def attempt(self, what: str, *arguments: Any) -> None:
        """Do it, if all has worked so far."""
        if not self.works:
            return
        try:
            with undisturbed_noise():
                getattr(self, what)(*arguments)
        except Exception as error:
            self.works = False
            why = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
            sentence = f"rlrnn: --log {_name(self)} fails and is left out from now on ({why}): the run's own"
            tell(f"{sentence} files in {self.folder} hold all of it.", file=sys.stderr)


class TensorBoard(Tracker):
    """Event files in the run's folder: tensorboard --logdir runs."""

    package = "tensorboard.compat.proto"

    def begin(self) -> None:
        self.writer: Any = None  # the folder is not there yet

    def _open(self, step: int = 0) -> Any:
        if self.writer is None:
            summary: Any = importlib.import_module("torch.utils.tensorboard").SummaryWriter
            self.writer = summary(str(self.folder / "tensorboard"), purge_step=step)
            self.writer.add_text("recipe", f"```toml\n{to_toml(self.recipe)}```", 0)
        return self.writer

    def log(self, numbers: dict[str, float], step: int) -> None:
        writer = self._open(step)
        for name, number in numbers.items():
            writer.add_scalar(name, number, step)
        writer.flush()

    def attach(self, path: Path) -> None:
        if path.name == CURVE:
            import numpy as np
            from PIL import Image

            self._open().add_image("curve", np.asarray(Image.open(path).convert("RGB")), dataformats="HWC")

    def end(self, success: bool) -> None:
        if self.writer is not None:
            self.writer.close()


class WandB(Tracker):
    """A run of Weights & Biases, in the project of WANDB_PROJECT, else rlrnn; seeds are a group."""

    package = "wandb"

    def begin(self) -> None:
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        how: dict[str, Any] = {"group": self.recipe.name, "config": self.settings}
        self.run = self.module.init(project=project, name=self.name, **how)

    def log(self, numbers: dict[str, float], step: int) -> None:
        self.run.log(numbers, step=step)

    def attach(self, path: Path) -> None:
        if path.name == CURVE:
            self.run.log({"curve": self.module.Image(str(path))})
            return
        artifact = self.module.Artifact(f"{self.name}-{path.stem}".replace(" ", "-"), type=path.stem)
        artifact.add_file(str(path))
        self.run.log_artifact(artifact)

    def end(self, success: bool) -> None:
        self.run.finish(exit_code=0 if success else 1)


class Trackio(Tracker):
    """A run of Trackio, in the project of TRACKIO_PROJECT, else rlrnn: trackio show."""

    package = "trackio"

    def begin(self) -> None:
        project = os.environ.get("TRACKIO_PROJECT", PROJECT)
        how: dict[str, Any] = {"group": self.recipe.name, "config": self.settings, "embed": False}
        self.module.init(project=project, name=self.name, **how)

    def log(self, numbers: dict[str, float], step: int) -> None:
        self.module.log(numbers, step=step)

    def attach(self, path: Path) -> None:
        if path.name == CURVE:
            self.module.log({"curve": self.module.Image(str(path))})

    def end(self, success: bool) -> None:
        self.module.finish()


class MLflow(Tracker):
    """A run of MLflow, in the experiment of MLFLOW_EXPERIMENT_NAME, else rlrnn."""

    package = "mlflow"

    def begin(self) -> None:
        self.module.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT))
        self.module.start_run(run_name=self.name)
        self.module.log_params(dict(leaves(self.settings)))

    def log(self, numbers: dict[str, float], step: int) -> None:
        self.module.log_metrics(numbers, step=step)

    def attach(self, path: Path) -> None:
        self.module.log_artifact(str(path))

    def end(self, success: bool) -> None:
        self.module.end_run("FINISHED" if success else "FAILED")


TRACKERS: dict[str, type[Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "trackio": Trackio,
    "mlflow": MLflow,
}


@contextmanager
def following(names: Sequence[str], recipe: Recipe, seed: int, folder: Path) -> Iterator[list[Tracker]]:
    """The trackers of these names, begun; they end with the block, well or not."""
    for name in names:
        if name not in TRACKERS:
            raise UserError(unknown("tracker", name, TRACKERS))
    begun: list[Tracker] = []
    success = False
    try:
        for name in dict.fromkeys(names):
            begun.append(TRACKERS[name](recipe, seed, folder))  # noqa: PERF401  (one may raise)
        yield begun
        success = True
    finally:
        for tracker in begun:
            tracker.attempt("end", success)


def _name(tracker: Tracker) -> str:
    return next(name for name, kind in TRACKERS.items() if isinstance(tracker, kind))


def _is_number(value: Any) -> bool:
    try:
        return not isinstance(value, str) and float(value) == float(value)
    except (TypeError, ValueError):
        return False
