"""Games, recipes and agents by name or path, wherever one is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlrnn
from rlrnn.envs.vec import GameVecEnv
from rlrnn.errors import UserError
from rlrnn.storage import archive

SMALL: dict[str, Any] = {"policy_kwargs": {"hidden_size": 3, "net_arch": []}}


def agent(**settings: Any) -> rlrnn.RecurrentPPO:
    game = "cartpole-no-velocity"
    return rlrnn.RecurrentPPO("MlpGruPolicy", game, n_steps=4, device="cpu", **SMALL, **settings)


def test_an_agent_is_made_for_a_game_of_the_catalogue(tmp_path: Path) -> None:
    learner = agent()
    assert learner.env is not None and isinstance(learner.env.unwrapped, GameVecEnv)
    assert learner.observation_space.shape == (2,)
    learner.learn(4)
    evolved = rlrnn.Evolution("MlpGruPolicy", "cartpole-no-velocity", **SMALL)
    assert evolved.observation_space == learner.observation_space
    ours = rlrnn.RecurrentPPO("MlpGruPolicy", "rlrnn/CartPole-v1", n_steps=4, **SMALL)
    (tmp_path / "mine.toml").write_text('id = "rlrnn/CartPole-v1"')
    mine = rlrnn.RecurrentPPO("MlpGruPolicy", str(tmp_path / "mine.toml"), n_steps=4, **SMALL)
    assert mine.observation_space == ours.observation_space


def test_an_agent_is_loaded_into_a_game_and_given_another_by_name(tmp_path: Path) -> None:
    agent().save(tmp_path / "agent")
    loaded = rlrnn.RecurrentPPO.load(tmp_path / "agent", env="cartpole-no-velocity")  # type: ignore[arg-type]
    before = loaded.env
    assert before is not None
    loaded.set_env("cartpole-no-velocity")
    assert loaded.env is not before


def test_a_name_that_is_none_is_refused_with_those_that_are() -> None:
    with pytest.raises(rlrnn.UserError, match="did you mean 'cartpole-no-velocity'"):
        rlrnn.RecurrentPPO("MlpGruPolicy", "cartpole-no-velocities")
    with pytest.raises(rlrnn.UserError, match="did you mean 'CartPole-v"):
        rlrnn.RecurrentPPO("MlpGruPolicy", "CartPoel-v1")
    assert rlrnn.RecurrentPPO("MlpPolicy", "rlrnn.games:rlrnn/CartPole-v1", n_steps=4, **SMALL).n_envs == 1


def test_a_recipe_of_the_catalogue_is_read_by_its_name(tmp_path: Path) -> None:
    recipe = rlrnn.read_recipe("cartpole-gru")
    assert (recipe.name, recipe.game) == ("cartpole-gru", "cartpole-no-velocity")
    (tmp_path / "mine.toml").write_text('game = "cartpole-no-velocity"\nsteps = 10')
    assert rlrnn.read_recipe(tmp_path / "mine.toml").steps == 10
    with pytest.raises(rlrnn.UserError, match="did you mean 'cartpole-gru'"):
        rlrnn.read_recipe("cartpole-gro")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training in the shell leaves, as far as it is asked for here."""
    folder = tmp_path_factory.mktemp("run")
    agent().save(folder / "agent.zip")
    (folder / "recipe.toml").write_text('game = "cartpole-no-velocity"\nsteps = 10')
    facts = {"format": 1, "seed": 0, "status": "finished", "steps": 10, "seconds": 1.0}
    (folder / "versions.json").write_text(json.dumps(facts))
    return folder


def test_a_runs_folder_is_opened_in_python(run: Path) -> None:
    for path in (run, str(run), run / "agent.zip", run / "agent"):
        assert isinstance(rlrnn.load(path), rlrnn.RecurrentPPO)
        assert isinstance(rlrnn.RecurrentPPO.load(path), rlrnn.RecurrentPPO)
    with (run / "agent.zip").open("rb") as stream:
        assert isinstance(rlrnn.load(stream), rlrnn.RecurrentPPO)
    with pytest.raises(rlrnn.UserError, match=r"learned by RecurrentPPO.*RecurrentPPO\.load"):
        rlrnn.Evolution.load(run)


def test_any_learner_is_opened(tmp_path: Path) -> None:
    rlrnn.Evolution("MlpGruPolicy", "cartpole-no-velocity", **SMALL).save(tmp_path / "evolved")
    assert isinstance(rlrnn.load(tmp_path / "evolved"), rlrnn.Evolution)
    learner = rlrnn.SequenceLearner("gru", 3).fit(np.ones((2, 3, 1)), [1.0, 2.0], epochs=1, progress=False)
    learner.save(tmp_path / "learner")
    assert isinstance(rlrnn.load(tmp_path / "learner"), rlrnn.SequenceLearner)


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    for load in (rlrnn.load, rlrnn.RecurrentPPO.load):
        with pytest.raises(archive.AgentNotFoundError, match=r"there is no file .*nothing"):
            load(tmp_path / "nothing")
        with pytest.raises(archive.AgentNotFoundError, match=r"the folder .* holds no agent\.zip"):
            load(tmp_path)
    (tmp_path / "text").write_text("text")
    with pytest.raises(rlrnn.UserError, match="is not a zip"):
        rlrnn.load(tmp_path / "text")
    archive.write_agent(tmp_path / "other", {}, {}, kind="Other")
    with pytest.raises(rlrnn.UserError, match="holds a Other, not an agent: load it by that class"):
        rlrnn.load(tmp_path / "other")


def test_a_file_of_the_folders_name_comes_first(tmp_path: Path) -> None:
    (tmp_path / "agent").mkdir()
    archive.write_agent(tmp_path / "agent" / "agent.zip", {"a": 1}, {}, kind="Test")
    assert archive.read_agent(tmp_path / "agent").data == {"a": 1}
    archive.write_agent(tmp_path / "agent.zip", {"a": 2}, {}, kind="Test")
    assert archive.read_agent(tmp_path / "agent").data == {"a": 2}


def test_a_verified_agent_is_loaded_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert rlrnn.load("t-maze-20-evolved").policy.network is not None
    with pytest.raises(
        rlrnn.UserError, match=r"without its weights: rlrnn train pendulum-gru .* come cartpole-gru, "
    ):
        rlrnn.load("pendulum-gru")
    agent().save(tmp_path / "pong-gru")  # a file of the user's comes first
    assert rlrnn.load("pong-gru.zip").policy.network.memory.output_size == 3


def test_the_name_of_a_game_is_no_agents() -> None:
    with pytest.raises(UserError, match=r"pong is a game and no agent; pong-evolved, pong-gru learn it"):
        rlrnn.load("pong")
