"""Agents kept along a training: runs/<agent>/seed<k>/snapshots/<steps>.zip.

Each plays, and can be trained, like any other. The first is the untrained agent, the others follow evenly;
the last of all is the run's own agent.zip.
"""

from __future__ import annotations

from pathlib import Path

from stable_baselines3.common.callbacks import BaseCallback

from rlrnn.errors import FileFault
from rlrnn.experiment import agents
from rlrnn.experiment.agents import Agent
from rlrnn.experiment.runs.runs import Run

FOLDER = "snapshots"


class Snapshots(BaseCallback):
    """Keeps ``count`` agents of so many steps of training: at the first update at or after each part."""

    model: Agent

    def __init__(self, folder: Path, steps: int, count: int) -> None:
        super().__init__()
        self.folder, self.steps, self.count = folder / FOLDER, steps, count

    def _on_training_start(self) -> None:
        for path in paths(self.folder.parent):  # of a training that came further than its checkpoint
            if int(path.stem) >= self.num_timesteps:
                path.unlink()

    def _on_rollout_start(self) -> None:
        kept = [int(path.stem) for path in paths(self.folder.parent)]
        part = self.num_timesteps * self.count // self.steps
        if (not kept or part > max(kept) * self.count // self.steps) and part < self.count:
            self.folder.mkdir(exist_ok=True)
            self.model.save(self.folder / f"{self.num_timesteps}.zip")

    def _on_step(self) -> bool:
        return True


def paths(folder: Path) -> list[Path]:
    """The snapshots in a run's folder, in the order in which they were taken."""
    found = [path for path in (folder / FOLDER).glob("*.zip") if path.stem.isdecimal()]
    return sorted(found, key=lambda path: int(path.stem))


def read(run: Run, device: str = "cpu") -> list[tuple[int, Agent]]:
    """The agents that a run kept, by the steps of their training, and its last one."""
    found = [(int(path.stem), agents.load(path, device)) for path in paths(run.folder)]
    if not found:
        raise FileFault(
            f"the run {run.folder} kept no agents along its training: train one with --snapshots N."
        )
    last = run.agent(device)
    return [*found, (last.num_timesteps, last)]
