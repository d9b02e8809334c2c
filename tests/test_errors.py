"""An error says where in the user's code it arose; the whole traceback is there for whoever asks."""

import sys
import traceback
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from rlrnn import errors
from rlrnn.envs.vec import from_envs
from rlrnn.errors import EnvironmentFault, GameExit, place
from rlrnn.shell import cli

GAME = """
import gymnasium as gym, numpy as np

class Mine(gym.Env):
    observation_space, action_space = gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        if action == 1:
            {}["boom"]  # line 12
        return np.zeros((2, 3)) @ np.zeros(2), 0.0, False, False, {}  # line 13

gym.register("Mine-v0", entry_point=Mine, max_episode_steps=5)
"""
RECIPE = """
game = "Mine-v0"
steps = 64
[network]
hidden_size = 2
net_arch = []
[ppo]
n_envs = 2
n_steps = 16
"""


@pytest.fixture
def game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv(errors.TRACEBACK, "")
    path = tmp_path / "mine_that_breaks.py"
    path.write_text(GAME)
    (tmp_path / "mine.toml").write_text(RECIPE)
    yield path
    sys.modules.pop(path.stem, None)
    gym.registry.pop("Mine-v0", None)


@pytest.mark.parametrize(("action", "kind", "line"), [(1, "KeyError", 12), (0, "ValueError", 13)])
def test_an_error_names_the_line_of_the_games_own_code(game: Path, action: int, kind: str, line: int) -> None:
    """Also where it arises inside of a package that the game uses, here numpy."""
    space: dict[str, object] = {}
    exec(compile(GAME.replace('gym.register("Mine-v0", ', "(lambda *_, **__: None)("), game, "exec"), space)
    env = from_envs([space["Mine"]])  # type: ignore[list-item]
    env.reset()
    with pytest.raises(EnvironmentFault, match=rf"raised {kind} in step\(\): .* \({game}, line {line}\)$"):
        env.step(np.array([action]))


def test_an_error_of_packages_alone_names_their_innermost_line() -> None:
    with pytest.raises(ValueError, match="reshape") as caught:
        np.zeros(2).reshape(3)
    assert place(caught.value) == f" ({__file__}, line {caught.tb.tb_lineno})"
    assert place(ValueError()) == ""


def test_the_shell_shows_the_traceback_on_demand_alone(
    game: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = ["train", "mine.toml", "--import", game.name, "--overwrite"]
    for more, shown in (([], False), (["--traceback"], True)):
        assert cli.main([*wrong, *more]) == 2
        told = capsys.readouterr().err
        assert (
            f"({game}, line 1" in told.splitlines()[-1]
            and "agent as it is was saved to" in told.splitlines()[-1]
        )
        assert ("Traceback (most recent call last)" in told) == shown
    assert cli.main(wrong) == 2  # as RLRNN_TRACEBACK=1, which the flag sets, in the environment does
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_tracebacks_of_other_processes_are_no_sentences() -> None:
    error = EnvironmentFault("a game failed")
    error.add_note("The agent is saved.")
    try:
        raise KeyError("boom")
    except KeyError:
        error.add_note(traceback.format_exc())
    assert errors.sentences(error) == ["The agent is saved."]


def test_a_game_that_ends_the_program_keeps_the_agent(game: Path, capsys: pytest.CaptureFixture[str]) -> None:
    game.write_text(GAME.replace('{}["boom"]', "raise SystemExit(0)").replace("action == 1", "True"))
    assert cli.main(["train", "mine.toml", "--import", game.name]) == 1
    told = capsys.readouterr().err
    assert f"asked to end the program in step() ({game}, line 12)" in told and told.count("\n") == 1
    assert Path("runs", "mine", "seed0", "agent.zip").exists()


def test_a_module_that_ends_the_program_is_told_of(game: Path, capsys: pytest.CaptureFixture[str]) -> None:
    game.write_text("import sys\nsys.exit(0)\n")
    assert cli.main(["train", "mine.toml", "--import", game.name]) == 2
    assert f"raised SystemExit: 0 ({game}, line 2)" in capsys.readouterr().err
    assert issubclass(GameExit, EnvironmentFault)
