"""Callbacks that recipes name."""

import dataclasses
from unittest.mock import patch

import pytest
from stable_baselines3.common.callbacks import BaseCallback
from tiny_runs import TINY

import rlrnn
from rlrnn.errors import UserError
from rlrnn.experiment import callbacks
from rlrnn.experiment.recipes import read_recipe, to_toml
from rlrnn.experiment.training.training import train

SEEN = []


class Counts(BaseCallback):
    def __init__(self, every: int = 1) -> None:
        super().__init__()
        self.every = every

    def _on_step(self) -> bool:
        SEEN.append((self.num_timesteps, self.every))
        return True


@pytest.fixture(autouse=True)
def registered():
    with patch.dict(callbacks.CALLBACKS):
        rlrnn.register_callback("counts", Counts)
        rlrnn.register_callback("counts", Counts)  # twice is harmless
        yield


def test_a_recipe_names_one_with_its_settings(tmp_path):
    SEEN.clear()
    recipe = dataclasses.replace(TINY, callbacks=({"name": "counts", "every": 3},), steps=128)
    (tmp_path / "a.toml").write_text(to_toml(recipe))
    run = train(read_recipe(tmp_path / "a.toml"), 1, tmp_path / "run", progress=False)
    assert [(4 * step, 3) for step in range(1, 33)] == SEEN
    assert run.recipe.callbacks == ({"name": "counts", "every": 3},)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"name": "cuonts"}, "did you mean 'counts'.*--import MODULE"),
        ({}, "the callback None is not registered"),
        ({"name": "counts", "evry": 1}, "unknown setting 'evry'; did you mean 'every'"),
    ],
)
def test_what_cannot_be_made_is_named_before_anything_is(spec, words, tmp_path):
    with pytest.raises(UserError, match=words):
        train(dataclasses.replace(TINY, callbacks=(spec,)), 1, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_what_is_no_callback_or_taken_is_refused():
    with pytest.raises(UserError, match="is no callback"):
        rlrnn.register_callback("other", int)
    with pytest.raises(UserError, match="callback name 'counts' belongs to Counts already"):
        rlrnn.register_callback("counts", type("Other", (Counts,), {}))
