"""A fault in the user's own file: which of their functions, which error, which line, and how to go on."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import gymnasium
import pytest

from rlrnn import errors
from rlrnn.cells import CELLS
from rlrnn.envs.wrappers import WRAPPERS
from rlrnn.experiment import callbacks
from rlrnn.learners.evolution.judging import FITNESSES
from rlrnn.network.extractors import EXTRACTORS
from rlrnn.shell.cli import main
from rlrnn.storage import encoding

# Each part of it fails where a game's third episode begins, or at its third call, in a line that says so.
PARTS = """
import gymnasium as gym, numpy as np, torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnvWrapper

import rlrnn
from rlrnn.cells.cell import Cell, affine, uniform
from rlrnn.envs.wrappers.base import Still, spaces_of

CALLS = []

def lookup(table):
    return table["boom"]  # in helper

def fail(late=20):
    CALLS.append(1)
    if len(CALLS) > late:
        lookup({})  # in fail

class Callback(BaseCallback):
    def _on_step(self):
        fail()  # callback
        return True

class Forgets(BaseCallback):
    def _on_step(self):
        pass

class Ends(BaseCallback):
    def _on_step(self):
        return self.num_timesteps < 8

class Exits(BaseCallback):
    def _on_step(self):
        raise SystemExit(0)  # exits

class Reads(BaseCallback):
    def _on_training_start(self):
        open("missing.csv")  # reads
    def _on_step(self):
        return True

class Fills(BaseCallback):
    def _on_training_start(self):
        raise OSError(28, "No space left on device")  # fills
    def _on_step(self):
        return True

class Misses(BaseCallback):
    def __init__(self):
        pass
    def _on_step(self):
        return True

class Batch(VecEnvWrapper):
    def reset(self):
        return self.venv.reset()
    def step_wait(self):
        fail()  # batch
        return self.venv.step_wait()

class Lost(VecEnvWrapper):
    def __init__(self, venv):
        pass
    def reset(self):
        return self.venv.reset()
    def step_wait(self):
        return self.venv.step_wait()

class Seen(Still):
    def __init__(self, venv):
        super().__init__(venv, spaces_of(venv))
    def begin(self, parts, copies):
        fail()  # seen
        return parts

class Leaky(Cell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size, state_size=hidden_size)
        self.weight = uniform(1.0, input_size, hidden_size)
        self.bias = uniform(1.0, hidden_size)
    def project(self, x):
        return torch.tanh(affine(x, self.weight, self.bias))
    def step(self, projected, state):
        fail(3)  # leaky
        h = torch.lerp(state, projected, 0.1)
        return h, h

class Bent(Leaky):
    def project(self, x):
        CALLS.append(1)
        weight = self.weight[1:] if len(CALLS) > 3 else self.weight
        return torch.tanh(affine(x, weight, self.bias))  # bent
    def step(self, projected, state):
        h = torch.lerp(state, projected, 0.1)
        return h, h

class Layer(BaseFeaturesExtractor):
    def __init__(self, observation_space):
        super().__init__(observation_space, features_dim=4)
        self.layer = torch.nn.Linear(4, 4)
    def forward(self, observations):
        fail()  # layer
        return self.layer(observations)

class Unmade(BaseFeaturesExtractor):
    def __init__(self, observation_space):
        lookup({})  # unmade

def calm(episode):
    return fail(2) or episode.points  # calm

class Game(gym.Env):
    observation_space, action_space = gym.spaces.Box(-1, 1, (4,)), gym.spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        return np.zeros(4, np.float32), {}
    def step(self, action):
        fail()  # game
        return np.zeros(4, np.float32), 0.0, False, False, {}

for kind in (Callback, Forgets, Ends, Exits, Reads, Fills, Misses):
    rlrnn.register_callback(kind.__name__.lower(), kind)
for kind in (Batch, Lost, Seen):
    rlrnn.register_wrapper(kind.__name__.lower(), kind)
for kind in (Leaky, Bent):
    rlrnn.register_cell(kind.__name__.lower(), kind)
for kind in (Layer, Unmade):
    rlrnn.register_extractor(kind.__name__.lower(), kind)
rlrnn.register_fitness("calm", calm)
gym.register("parts/Game-v0", entry_point=Game, max_episode_steps=50)
"""
RECIPE = """
game = "rlrnn/CartPole-v1"
steps = 256
[network]
hidden_size = 4
net_arch = []
[ppo]
n_envs = 2
n_steps = 16
n_epochs = 1
[evaluation]
episodes = 2
"""
EVOLVED = """
game = "rlrnn/CartPole-v1"
steps = 2000
[network]
cell = "gru"
hidden_size = 4
net_arch = []
[evolution]
strategy = "genetic"
settings = { population = 8, parents = 3 }
[evaluation]
episodes = 2
"""
WRAP = 'wrappers=[{{name="{}"}}]'
CALL = 'callbacks=[{{name="{}"}}]'
RESUME = "rlrnn train --resume runs/mine/seed0 --import parts.py "


@pytest.fixture(autouse=True)
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv(errors.TRACEBACK, "")
    Path("parts.py").write_text(PARTS)
    Path("mine.toml").write_text(RECIPE)
    Path("evolved.toml").write_text(EVOLVED)
    with (
        patch.dict(CELLS),
        patch.dict(WRAPPERS),
        patch.dict(callbacks.CALLBACKS),
        patch.dict(FITNESSES),
        patch.dict(EXTRACTORS),
        patch.dict(encoding.CLASSES),
    ):
        yield tmp_path / "parts.py"
    sys.modules.pop("parts", None)
    gymnasium.registry.pop("parts/Game-v0", None)


def line_of(comment: str) -> int:
    """The line of the user's module with that comment."""
    (number,) = (k for k, line in enumerate(PARTS.splitlines(), 1) if line.endswith(f"# {comment}"))
    return number


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str], str]:
    """The exit status of a failing command, the lines of code that it shows, and its sentence."""
    status = main([*words, "--import", "parts.py", "--quiet"])
    *shown, sentence = capsys.readouterr().err.splitlines()
    code = [line for line in shown if line.startswith("  ")]
    assert sentence.startswith("rlrnn: ") and "Traceback" not in "".join(shown)
    return status, code, sentence


@pytest.mark.parametrize(
    ("setting", "function", "comment"),
    [
        (CALL.format("callback"), "Callback._on_step", "callback"),
        (WRAP.format("batch"), "Batch.step_wait", "batch"),
        (WRAP.format("seen"), "Seen.begin", "seen"),
        ('network.cell="leaky"', "Leaky.step", "leaky"),
        ('network.extractor="layer"', "Layer.forward", "layer"),
    ],
)
def test_a_part_that_raises_is_told_by_its_function_and_lines(
    setting: str, function: str, comment: str, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, shown, sentence = told(capsys, "train", "mine.toml", "--set", setting)
    where = f"({parts}, line {line_of('in helper')})"
    assert (
        status == 2 and f"lookup, called by {function}, raised KeyError: 'boom' {where}. Stopped" in sentence
    )
    assert "the agent as it is was saved to runs/mine/seed0" in sentence and RESUME in sentence
    frames = [line for line in shown if line.startswith("  File")]
    functions = {comment: function.rpartition(".")[2], "in fail": "fail", "in helper": "lookup"}
    at = [f'  File "{parts}", line {line_of(where)}, in {name}' for where, name in functions.items()]
    assert frames == at


def test_a_part_that_calls_us_wrongly_is_told_of_both(
    parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, sentence = told(capsys, "train", "mine.toml", "--set", 'network.cell="bent"')
    assert status == 2 and "rlrnn: Bent.project raised RuntimeError in affine() of rlrnn: " in sentence
    assert f"({parts}, line {line_of('bent')}); --traceback shows all of it. Stopped after" in sentence


@pytest.mark.parametrize(
    ("setting", "status", "words"),
    [
        (CALL.format("forgets"), 2, "Forgets._on_step returned nothing: return True to go on, or False"),
        (CALL.format("exits"), 2, "Exits._on_step asked to end the program ({}, line {exits}): a callback"),
        (CALL.format("reads"), 2, "Reads._on_training_start raised FileNotFoundError: [Errno 2] No such "),
        (CALL.format("fills"), 1, "Fills._on_training_start raised OSError: [Errno 28] No space left on"),
        (CALL.format("misses"), 2, "the constructor of Misses must call super().__init__()."),
        (WRAP.format("lost"), 2, "the constructor of Lost must call super().__init__(venv)."),
        ('network.extractor="unmade"', 2, "by Unmade.__init__, raised KeyError: 'boom' ({}, line {helper})."),
        ("game=parts/Game-v0", 2, "raised KeyError in step(): 'boom' ({}, line {helper})."),
    ],
)
def test_other_faults_of_parts(
    setting: str, status: int, words: str, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, _, sentence = told(capsys, "train", "mine.toml", "--set", setting)
    words = words.format(parts, exits=line_of("exits"), helper=line_of("in helper"))
    assert words in sentence and found == status


def test_a_callback_that_ends_a_training_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    ends = ("train", "mine.toml", "--import", "parts.py", "--set", CALL.format("ends"))
    assert main(list(ends)) == 0
    assert "Ends ended the training after 8 of 256 steps.\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "words", "comment"),
    [
        ("evolution.fitness=calm", "the fitness calm raised KeyError for an episode of", "calm"),
        ('network.cell="leaky"', "lookup, called by Leaky.step, raised KeyError: 'boom'", "leaky"),
    ],
)
@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_population_whose_parts_fail_here_or_in_a_worker(
    setting: str, words: str, comment: str, workers: str, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ("train", "evolved.toml", "--set", setting, "--workers", workers)
    status, shown, sentence = told(capsys, *line)
    assert status == 2 and words in sentence and f"({parts}, line {line_of('in helper')})" in sentence
    assert "rlrnn train --resume runs/evolved/seed0 --import parts.py" in sentence
    assert f'  File "{parts}", line {line_of(comment)}, in {shown[0].rpartition(" ")[2]}' == shown[0]


def test_seeds_in_processes_of_their_own_tell_the_same(
    parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ("train", "mine.toml", "--set", CALL.format("callback"), "--seeds", "1", "--jobs", "1")
    status, _, sentence = told(capsys, *line)
    where = f"({parts}, line {line_of('in helper')})"
    assert (
        status == 2
        and f"Seed 0 failed: lookup, called by Callback._on_step, raised KeyError: 'boom' {where}."
        in sentence
    )
    assert RESUME in sentence


def test_the_whole_traceback_is_shown_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    line = ["train", "mine.toml", "--import", "parts.py", "--set", CALL.format("callback"), "--traceback"]
    assert main(line) == 2
    shown = capsys.readouterr().err
    assert shown.count("Traceback (most recent call last)") == 1 and shown.count("in lookup\n") == 1
    os.environ.pop(errors.TRACEBACK)


def test_files_of_installed_packages_are_nobodys_own(tmp_path: Path) -> None:
    """Also those of a user's own folder of packages, which Python's own paths do not name."""
    for folder, own in (("site-packages", False), ("dist-packages", False), ("lab", True)):
        path = tmp_path / folder / "part.py"
        space: dict[str, object] = {}
        exec(compile("def part():\n    {}['boom']", path, "exec"), space)
        with pytest.raises(KeyError) as caught:
            space["part"]()  # type: ignore[operator]
        frames = caught.value.with_traceback(caught.value.__traceback__.tb_next)  # but for this test's own
        assert (errors.part_fault(frames) is not None) == own == bool(errors.own_frames(frames))


def test_an_error_of_another_process_keeps_its_lines() -> None:
    from rlrnn.common.messages import plain

    def part() -> None:
        raise AttributeError("colour")

    with pytest.raises(AttributeError) as caught:
        part()
    told = plain(caught.value)
    assert isinstance(told, AttributeError) and isinstance(told, errors.PartFault)
    assert ".part, called by " in str(told) and ", raised AttributeError: colour (" in str(told)
    frames = errors.own_frames(told)
    assert 'raise AttributeError("colour")' in frames and "in part\n" in frames
