"""What goes wrong is said in one sentence with the right exit status, and nothing on the disk is lost."""

import errno
import io
import itertools
import signal
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import gymnasium as gym
import numpy as np
import pytest
from rich.console import Console
from stable_baselines3.common.vec_env import DummyVecEnv
from tiny_games import Clock, clocks

from rlrnn import RecurrentPPO
from rlrnn.envs import games
from rlrnn.errors import UserError
from rlrnn.experiment import agents, catalogue
from rlrnn.experiment.evaluation import RANDOM, WIPED, WITH_MEMORY, Score, shown
from rlrnn.experiment.runs import checkpoints, runs
from rlrnn.experiment.runs.facts import INTERRUPTED
from rlrnn.experiment.runs.logs import read_episodes
from rlrnn.experiment.training import training
from rlrnn.shell.cli import main

RECIPE = """
game = "cartpole-no-velocity"
steps = 256
[network]
hidden_size = 4
[ppo]
n_envs = 4
n_steps = 32
n_epochs = 1
[evaluation]
episodes = 2
"""
VALUED = (
    RECIPE[: RECIPE.index("[ppo]")]
    + """
[dqn]
n_envs = 4
learning_starts = 20
batch_size = 16
seq_len = 4
train_freq = 16
[evaluation]
episodes = 2
"""
)


class Odd(gym.Env[Any, Any]):
    """Goes wrong in its third episode, in the way that it is told."""

    def __init__(self, fault: str = "", render_mode: str | None = None) -> None:
        self.observation_space = gym.spaces.Box(-1, 1, (1,))
        self.action_space = gym.spaces.Discrete(2)
        self.fault, self.episode, self.steps = fault, 0, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.episode, self.steps = self.episode + 1, 0
        if self.fault == "reset" and self.episode == 3:
            raise ValueError("no ball")
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        if self.fault == "step" and self.episode == 3:
            raise ZeroDivisionError("the ball left\nthe court")
        reward = np.nan if self.fault == "spoil" and self.episode == 3 else 1.0
        return np.zeros(1, np.float32), reward, self.steps == 4, False, {}


class Several(Odd):
    """Two choices at once."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__()
        self.action_space = gym.spaces.MultiDiscrete([2, 2])


gym.register("test_bad_input/Odd-v0", Odd)
gym.register("test_bad_input/Several-v0", Several)


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(RECIPE)
    Path("valued.toml").write_text(VALUED)


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit status and the one line of a failing command."""
    status = main(list(arguments))
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("rlrnn: ")]
    assert error.endswith(f"{lines[0]}\n") and lines[0].endswith(".")
    return status, lines[0]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("reset", "raised ValueError in reset(): no ball ("),
        ("step", "raised ZeroDivisionError in step(): the ball left the court ("),
    ],
)
def test_a_game_that_raises_keeps_the_agent(
    fault: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    game = ("--set", "game=test_bad_input/Odd-v0", "--set", f"kwargs.fault={fault}")
    status, line = fails(capsys, "train", "tiny.toml", *game, "--out", "run")
    assert status == 2 and words in line and "the agent as it is was saved to run" in line
    assert runs.read_run("run").status == INTERRUPTED and runs.read_run("run").agent()


def test_an_exception_in_sb3s_own_vecenv_is_the_games_and_learning_can_go_on() -> None:
    class Once(Clock):
        def step(self, action: Any) -> Any:
            result = super().step(action)
            if self.total == 13:
                raise ZeroDivisionError("the ball left the court")
            return result

    env = DummyVecEnv([Once])
    agent = RecurrentPPO("MlpGruPolicy", env, n_steps=8, batch_size=8, policy_kwargs={"hidden_size": 4})
    with pytest.raises(ZeroDivisionError, match="left the court"):
        agent.learn(64)
    agent.learn(16)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('raise RuntimeError("boom")', "raised RuntimeError: boom ("),
        ("def f(:", "raised SyntaxError: invalid syntax (bad_"),
        ("import there_is_no_such_package", "raised ModuleNotFoundError: No module named 'there"),
    ],
)
def test_a_module_that_cannot_be_imported(
    text: str, words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    name = f"bad_{abs(hash(text))}.py"
    Path(name).write_text(text)
    status, line = fails(capsys, "train", "tiny.toml", "--import", name)
    assert status == 2 and words in line and "line 1" in line


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("ppo.learning_rate=-1", "learning_rate is -1.0, but must be a number of at least 0"),
        (
            "ppo.learning_rate={start = -1, end = 0.0}",
            "learning_rate is -1.0, but must be a number of at least 0",
        ),
        ("ppo.learning_rate=inf", "ppo.learning_rate is inf"),
        ("ppo.max_grad_norm=-1", "max_grad_norm is -1.0, but must be a number of at least 0"),
        ("ppo.gamma=2", "gamma is 2.0, but must be a number from 0 to 1"),
        ("ppo.gae_lambda=-0.5", "gae_lambda is -0.5, but must be a number from 0 to 1"),
        ("ppo.use_sde=true", "cartpole-no-velocity has Discrete(2): set it to false"),
    ],
)
def test_a_setting_that_makes_no_sense(setting: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, line = fails(capsys, "train", "tiny.toml", "--set", setting, "--out", "run")
    assert status == 2 and words in line and not Path("run").exists()


CONTINUOUS = VALUED.replace("cartpole-no-velocity", "pendulum-no-velocity").replace("[dqn]", "[sac]")


@pytest.mark.parametrize(
    ("recipe", "setting", "words"),
    [
        (
            VALUED,
            "ppo.n_steps=16",
            "valued has settings in [ppo] and in [dqn], but an agent learns in one way",
        ),
        (VALUED, "sac.tau=0.01", "valued has settings in [dqn] and in [sac], but an agent learns in one way"),
        (VALUED, "network.critic=shared", "valued has network.critic, which says nothing to [dqn]"),
        (CONTINUOUS, "network.critic=shared", "valued has network.critic, which says nothing to [sac]"),
        (VALUED, "dqn.trace=retrace", "dqn.trace is 'retrace'"),
        (VALUED, "dqn.first_state=recomputed", "dqn.first_state is 'recomputed'"),
        (VALUED, "dqn.replayed_steps=0", "replayed_steps is 0.0, but must be a number above 0"),
        (VALUED, "dqn.tau=0", "tau is 0.0, but must be a number above 0 and at most 1"),
        (
            VALUED,
            "dqn.batch_size=1000000",
            "buffer_size is 200,000, which is fewer than the steps of a minibatch",
        ),
        (VALUED, "dqn.buffer_size=100000000000000", "steps would need "),
        (VALUED, "game=pendulum-no-velocity", "learn it by RecurrentSAC or RecurrentPPO"),
        (CONTINUOUS, "sac.ent_coef=atuo", "ent_coef is 'atuo': give a number of at least 0"),
        (CONTINUOUS, "sac.target_entropy=atuo", "sac.target_entropy is 'atuo'"),
        (
            CONTINUOUS,
            "game=test_bad_input/Several-v0",
            "takes Box or Discrete actions, but the game has Multi",
        ),
        (CONTINUOUS, "sac.n_critics=0", "sac.n_critics is 0"),
    ],
)
def test_a_setting_of_learners_from_replay(
    recipe: str, setting: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("valued.toml").write_text(recipe)
    status, line = fails(capsys, "train", "valued.toml", "--set", setting, "--out", "run")
    assert status == 2 and words in line and not Path("run").exists()


def test_a_reward_that_is_no_number_leaves_the_agent_and_what_it_has_kept(
    capsys: pytest.CaptureFixture[str],
) -> None:
    game = ("--set", "game=test_bad_input/Odd-v0", "--set", "kwargs.fault=spoil")
    status, line = fails(capsys, "train", "valued.toml", *game, "--out", "run")
    assert status == 2 and "reward nan" in line and "the agent as it is was saved to run" in line
    assert runs.read_run("run").status == INTERRUPTED and runs.read_run("run").agent().num_timesteps == 32
    assert checkpoints.latest(Path("run"))[0] is not None  # to be resumed once the game is mended


def test_learning_that_breaks_down_says_so_instead_of_going_on_with_nan() -> None:
    env = clocks(1)
    agent = RecurrentPPO("MlpGruPolicy", env, 1e30, 8, 8, policy_kwargs={"hidden_size": 4})
    with pytest.raises(UserError, match=r"broke down after \d+ steps.*smaller learning_rate"):
        agent.learn(64)


def test_no_cuda_is_said_before_anything_is_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit) as end:
        main(["train", "tiny.toml", "--device", "cuda"])
    assert end.value.code == 2 and "torch finds no CUDA device here" in capsys.readouterr().err


def test_a_full_disk_after_the_agent_was_saved_says_where_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))  # without a file's name
    with monkeypatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", full)
        status, line = fails(capsys, "train", "tiny.toml", "--out", "run")
    assert status == 1 and "No space left on device (run/curve.png)" in line
    assert "The trained agent is in run; to evaluate it: rlrnn train --resume run." in line
    assert main(["evaluate", "run", "--out", "scores/of/run.json"]) == 0  # the folders are made
    assert Path("scores/of/run.json").exists()


def test_scores_that_cannot_be_written_are_still_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", "tiny.toml", "--out", "run"]) == 0
    capsys.readouterr()
    Path("file").write_text("")
    assert main(["evaluate", "run", "--out", "file/scores.json"]) == 1
    assert "memory wiped" in capsys.readouterr().out


def test_ctrl_c_twice_still_saves(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    def impatient(*arguments: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return plot(*arguments)

    plot = training.plot
    monkeypatch.setattr(agents.RecurrentPPO, "learn", stop)
    monkeypatch.setattr(training, "plot", impatient)
    with pytest.raises(KeyboardInterrupt) as stopped:
        training.train("tiny.toml", out="run", progress=False)
    assert "the agent as it is was saved to run" in stopped.value.__notes__[0]
    assert runs.read_run("run").status == INTERRUPTED and Path("run/curve.png").exists()
    with pytest.raises(KeyboardInterrupt):  # heard again from here on
        signal.raise_signal(signal.SIGINT)


def test_a_damaged_line_of_episodes_is_named() -> None:
    Path("episodes.csv").write_text("step,points,length\n10,1.0,10\n20,x,10\n")
    with pytest.raises(UserError, match="line 3 is '20,x,10', but should be step,points,length"):
        read_episodes(Path("episodes.csv"))


@pytest.mark.parametrize("width", [60, 80, 140])
@pytest.mark.parametrize("name", ["pong", "cartpole-no-velocity", "pendulum-no-velocity"])
def test_no_number_is_cut_short_on_a_narrow_terminal(name: str, width: int) -> None:
    game = games.game(name)
    scores = {
        player: Score((-10.5 * scale, -9.25 * scale), (448, 442), game.points.win)
        for player, scale in zip((WITH_MEMORY, WIPED, RANDOM), (1, 2, 3), strict=True)
    }
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(shown(scores, game))
    text = console.export_text()
    assert "…" not in text
    for number, (_, reference) in itertools.product(("-9.88", "-19.75", "-29.62"), game.references.items()):
        assert number in text and f"{reference.points:.2f}" in text


def test_the_list_keeps_names_whole_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in (*games.games(), *catalogue.agents()))


def test_a_cluster_that_cannot_be_is_refused_although_an_array_game_needs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "pong-gru", "--on", "rai"]) == 2
    assert "on is 'rai', but takes 'ray', 'ray:ADDRESS' or 'ray://HOST:PORT'" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "pong-gru").exists()
