"""Whatever a learner saved, opened by its path alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rlrnn.envs.games import is_game
from rlrnn.experiment import agents, catalogue, weights
from rlrnn.experiment.runs import contents, runs
from rlrnn.learners.sequences.supervised import SequenceLearner
from rlrnn.storage import archive


def load(path: archive.File, device: str = "auto") -> Any:
    """A saved learner of whichever kind: its ``.zip``, the folder of a run, or a verified agent's name.

        agent = rlrnn.load("runs/cartpole-gru/seed1")

    A RecurrentPPO (also sb3-contrib's), an Evolution or a SequenceLearner, as the file says; no code in the
    file is run. ``rlrnn.load("pong-gru")`` is the verified agent of that name, if its weights come along with
    the package.
    """
    if isinstance(path, str) and not Path(path).exists():
        if catalogue.is_agent(path):
            return weights.trained(path, device)[0]
        if is_game(path):
            raise catalogue.no_agent(path)
    if isinstance(path, str | os.PathLike) and (Path(path) / contents.VERSIONS).exists():
        return runs.read_run(Path(path)).agent(device)
    if archive.kind_of(path) == SequenceLearner.__name__:
        return SequenceLearner.load(path, device)
    return agents.load(path, device)
