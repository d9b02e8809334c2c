"""Recipes of a second each, and runs of them that are broken off."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rlrnn.experiment.recipes import (
    DqnRecipe,
    EvaluationRecipe,
    EvolutionRecipe,
    NetworkRecipe,
    NormalizeRecipe,
    PpoRecipe,
    Recipe,
    SacRecipe,
    Schedule,
)
from rlrnn.experiment.runs import checkpoints
from rlrnn.experiment.training import training

TINY = Recipe(
    name="tiny",
    game="rlrnn/CartPole-v1",
    steps=512,
    wrappers=({"name": "hide", "drop": [1, 3]},),
    network=NetworkRecipe(hidden_size=8, net_arch=(8,)),
    ppo=PpoRecipe(n_envs=4, n_steps=32, batch_size=64, n_epochs=2),
    evaluation=EvaluationRecipe(episodes=6),
)
SAME = ("agent.zip", "episodes.csv", "score.json")
CARTPOLE = Recipe(
    name="tiny",
    game="rlrnn/CartPole-v1",
    steps=6 * 64,
    wrappers=(
        {"name": "hide", "drop": [1, 3]},
        {"name": "noise", "std": 0.01},
        {"name": "flicker", "probability": 0.1},
        {"name": "delay", "steps": 2},
        {"name": "stack", "frames": 2},
        {"name": "previous"},
    ),
    network=NetworkRecipe(cell="gru", hidden_size=8, net_arch=(8,)),
    normalize=NormalizeRecipe(observations=True, rewards=True),
    ppo=PpoRecipe(
        n_envs=4, n_steps=16, batch_size=16, n_epochs=2, seq_len=8, learning_rate=Schedule(1e-2, 0.0)
    ),
    evaluation=EvaluationRecipe(episodes=4),
)
PENDULUM = dataclasses.replace(
    CARTPOLE,
    game="rlrnn/Pendulum-v1",
    wrappers=({"name": "hide", "keep": [0, 1]},),
    network=NetworkRecipe(cell="lstm", hidden_size=8, net_arch=(8,)),
    ppo=dataclasses.replace(CARTPOLE.ppo, use_sde=True, sde_sample_freq=5, target_kl=0.05),
)
PONG = dataclasses.replace(CARTPOLE, game="rlrnn/Pong-v0", wrappers=(), normalize=NormalizeRecipe())
EVOLVED = dataclasses.replace(
    CARTPOLE,
    steps=3000,
    normalize=NormalizeRecipe(observations=True),
    ppo=PpoRecipe(),
    evolution=EvolutionRecipe("genetic", {"population": 8, "parents": 3}, 2, "best", 5),
)
# From replay, in rounds of 64 steps.
VALUED = dataclasses.replace(
    CARTPOLE,
    ppo=PpoRecipe(),
    dqn=DqnRecipe(
        n_envs=4,
        learning_rate=Schedule(1e-2, 0.0),
        buffer_size=160,
        learning_starts=50,
        batch_size=32,
        seq_len=8,
        burn_in=3,
        replayed_steps=2.0,
        train_freq=16,
    ),
)
CRITICISED = dataclasses.replace(
    PENDULUM,
    ppo=PpoRecipe(),
    sac=SacRecipe(
        n_envs=4,
        learning_rate=Schedule(1e-2, 0.0),
        buffer_size=160,
        learning_starts=50,
        batch_size=32,
        seq_len=8,
        burn_in=3,
        replayed_steps=2.0,
        train_freq=16,
    ),
)


class Stopped(BaseException):
    """As abrupt as a test can be without ending its process."""


@contextmanager
def stopped_after(count: int) -> Iterator[None]:
    """The training ends right after its ``count``-th checkpoint, and nobody rescues it."""
    written: list[Path] = []
    real = checkpoints.write

    def write(*arguments):
        written.append(real(*arguments))
        if len(written) == count:
            raise Stopped
        return written[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "write", write)
        patch.setattr(training, "rescue", lambda *_: "")
        with pytest.raises(Stopped):
            yield


def broken_off(recipe: Recipe, folder: Path, after: int) -> None:
    """A run that ended with its ``after``-th checkpoint."""
    with stopped_after(after):
        training.train(recipe, 1, folder, progress=False, checkpoint_seconds=0.0)
