"""Wrappers of a user's own, by the names that recipes and game files give them."""

import dataclasses
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecFrameStack, VecNormalize
from tiny_runs import CARTPOLE, EVOLVED, SAME, TINY, broken_off

import rlrnn
from rlrnn.envs import wrappers
from rlrnn.envs.vec import vectorize
from rlrnn.envs.wrappers import wrap
from rlrnn.envs.wrappers.base import Still, spaces_of, state_of
from rlrnn.errors import UserError
from rlrnn.experiment import agents, catalogue
from rlrnn.experiment.evaluation import WITH_MEMORY, evaluate
from rlrnn.experiment.recipes import Recipe
from rlrnn.experiment.training.training import resume, train
from rlrnn.testing import check_wrapper


class Rounded(Still):
    """Shows numbers rounded to so many digits."""

    def __init__(self, venv: VecEnv, *, digits: int, low: float = -9.0) -> None:
        super().__init__(venv, spaces_of(venv))
        self.digits, self.low = digits, low

    def begin(self, parts: Any, copies: Any) -> Any:
        return {key: np.maximum(np.round(part, self.digits), self.low) for key, part in parts.items()}


class Doubled(VecEnvWrapper):
    """Doubles what is learned from, and counts its steps."""

    def __init__(self, batch: VecEnv, factor: float = 2.0) -> None:
        super().__init__(batch)
        self.factor, self.steps = factor, 0

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        self.steps += 1
        observations, rewards, dones, infos = self.venv.step_wait()
        return observations, rewards * self.factor, dones, infos


@pytest.fixture(autouse=True)
def registered():
    with patch.dict(wrappers.WRAPPERS):
        for _ in range(2):  # twice is harmless
            rlrnn.register_wrapper("rounded", Rounded)
            rlrnn.register_wrapper("doubled", Doubled)
        rlrnn.register_wrapper("frames", VecFrameStack)
        yield


def test_a_registered_one_keeps_the_laws_and_shows_what_it_says() -> None:
    check_wrapper("rounded", digits=1)
    plain, env = (vectorize("rlrnn/CartPole-v1", 3, seed=1) for _ in range(2))
    env = wrap(env, [{"name": "rounded", "digits": 2, "low": 0.0}])
    np.testing.assert_array_equal(env.reset(), np.maximum(np.round(plain.reset(), 2), 0))


@pytest.mark.parametrize("recipe", [CARTPOLE, EVOLVED], ids=["ppo", "evolution"])
def test_a_view_goes_on_from_a_checkpoint_to_the_same_bytes(recipe: Recipe, tmp_path: Path) -> None:
    recipe = dataclasses.replace(recipe, wrappers=({"name": "rounded", "digits": 2}, *recipe.wrappers))
    whole = train(recipe, 1, tmp_path / "whole", progress=False)
    broken_off(recipe, tmp_path / "again", 2)
    resume(tmp_path / "again", progress=False)
    for name in SAME:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    agent, other = whole.agent(), dataclasses.replace(whole.game, wrappers=recipe.wrappers[1:])
    assert evaluate(agent, whole.game, 4).points == whole.scores()[WITH_MEMORY].points
    with pytest.warns(UserWarning, match="learned behind Rounded, which"):
        evaluate(agent, other, 4)


def test_learning_sees_what_sb3s_kind_makes_of_rewards_and_points_are_the_games() -> None:
    recipe = dataclasses.replace(TINY, wrappers=(*TINY.wrappers, {"name": "doubled", "factor": 3.0}))
    game = catalogue.game_of(recipe)
    agent = agents.learner(recipe, agents.copies(recipe, game, 0), 0)
    agent.learn(128)
    assert (agent.rollout_buffer.rewards == 3.0).all()
    score = evaluate(agent, game, 4)
    assert score.points == tuple(map(float, score.lengths))


def test_what_sb3s_kind_remembers_is_missed_by_no_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A state of the games alone would go on without what such a wrapper has stacked."""
    recipe = dataclasses.replace(TINY, wrappers=({"name": "frames", "n_stack": 2},))
    env = wrap(vectorize("rlrnn/CartPole-v1", 2), recipe.wrappers)
    env.reset()
    assert state_of(env) is None and state_of(wrap(env, [{"name": "delay", "steps": 1}])) is None
    assert state_of(env.venv) is not None
    broken_off(recipe, tmp_path / "run", 2)
    assert resume(tmp_path / "run", progress=False).status == "finished"
    assert "This game cannot be saved: all copies begin fresh episodes." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"name": "ruonded"}, "did you mean 'rounded'.*--import MODULE"),
        ({"name": "rounded"}, "rounded needs the option 'digits'"),
        ({"name": "rounded", "digit": 1}, "rounded has no option 'digit': it knows digits, low .did you"),
        ({"name": "doubled", "batch": 1}, "doubled has no option 'batch'"),
        ({"name": "frames", "n_stack": "x"}, "the wrapper frames cannot be made of .*'n_stack': 'x'"),
    ],
)
def test_what_cannot_be_made_is_named(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        rlrnn.make_vec("rlrnn/CartPole-v1", 2, wrappers=[spec])


def test_what_is_no_wrapper_or_taken_is_refused() -> None:
    for thing in (int, vectorize, Still):
        with pytest.raises(UserError, match="is no wrapper of batches: register a class derived from"):
            rlrnn.register_wrapper("mine", thing)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"VecNormalize learns statistics, .* set normalize\.observations"):
        rlrnn.register_wrapper("mine", VecNormalize)
    for name in ("Rounded", "two words", 5):
        with pytest.raises(UserError, match="should be a lower-case word"):
            rlrnn.register_wrapper(name, Rounded)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="wrapper name 'stack' belongs to Stack already"):
        rlrnn.register_wrapper("stack", Rounded)
    bare = type("Bare", (Doubled,), {"__init__": lambda self: None})
    with pytest.raises(UserError, match=r"takes \(\): that of a wrapper takes \(venv, \*\*options\)"):
        rlrnn.register_wrapper("bare", bare)
    assert not {"mine", "bare", "Rounded"} & wrappers.WRAPPERS.keys()
