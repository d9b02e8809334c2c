"""On another kind of processor a run goes on where that changes no byte, or where one asks for it."""

import dataclasses
import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor
from tiny_runs import CARTPOLE, PENDULUM, VALUED, broken_off

import rlrnn
from rlrnn.common import compiling, processor
from rlrnn.errors import UserError
from rlrnn.experiment import agents, catalogue
from rlrnn.experiment.recipes import NetworkRecipe, Recipe
from rlrnn.experiment.runs import runs
from rlrnn.experiment.training import rounding, training
from rlrnn.network import extractors
from rlrnn.shell.cli import main
from rlrnn.storage import encoding

MAZE = dataclasses.replace(
    CARTPOLE, game="rlrnn/TMaze-v0", kwargs={"length": 3}, wrappers=({"name": "previous"},)
)
OTHER = "another, torch AVX1024"


def elsewhere(folder: Path) -> None:
    """As if the run had begun on another kind of processor."""
    path = folder / "versions.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"processor": OTHER}))


class ByTorch(FlattenExtractor):
    """What torch computes and a training changes."""

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        super().__init__(observation_space)
        self.scale = torch.nn.Parameter(torch.ones(self.features_dim))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return super().forward(observations) * self.scale


def rounds(recipe: Recipe, **changes: Any) -> bool:
    recipe = dataclasses.replace(recipe, **changes)
    return rounding.rounds_by_processor(agents.untrained(recipe), catalogue.game_of(recipe))


@pytest.mark.skipif(not compiling.can_compile(), reason="numba is missing or switched off")
def test_what_our_kernels_compute_in_games_of_whole_numbers_rounds_everywhere_alike() -> None:
    with patch.dict(extractors.EXTRACTORS), patch.dict(encoding.CLASSES):
        rlrnn.register_extractor("by_torch", ByTorch)
        assert not rounds(MAZE)
        for changes in (
            {"game": "rlrnn/CartPole-v1", "kwargs": {}},
            {"wrappers": ({"name": "noise", "std": 0.1},)},
            {"network": NetworkRecipe(cell="matrix", hidden_size=8)},
            {"network": NetworkRecipe(cell="gru", hidden_size=8, head_norm=True)},
            {"network": NetworkRecipe(cell="gru", hidden_size=8, extractor="by_torch")},
        ):
            assert rounds(MAZE, **changes), changes
        assert rounds(PENDULUM)
        assert rounds(VALUED, game=MAZE.game, kwargs=MAZE.kwargs, wrappers=MAZE.wrappers)


def test_a_run_of_another_processor_is_refused_and_nothing_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    broken_off(CARTPOLE, folder, 1)
    elsewhere(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    words = rf"began on another kind of processor \({OTHER}\) than this one .* or add --any-processor"
    with pytest.raises(UserError, match=words):
        training.resume(folder, progress=False)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    monkeypatch.setenv(rounding.ANY, "0")  # and is put back after the test
    assert main(["train", "--resume", str(folder), "--any-processor", "--quiet"]) == 0
    assert f"processor was {OTHER} when this run began" in capsys.readouterr().err
    run = runs.read_run(folder)
    assert run.status == "finished" and run.facts["other_processors"] == [processor.kind()]
    assert run.facts["processor"] == OTHER


@pytest.mark.skipif(not compiling.can_compile(), reason="numba is missing or switched off")
def test_where_it_makes_no_difference_it_goes_on(tmp_path: Path) -> None:
    broken_off(MAZE, tmp_path / "run", 1)
    elsewhere(tmp_path / "run")
    training.resume(tmp_path / "run", progress=False)
    training.train(MAZE, 1, tmp_path / "alone", progress=False)
    one, other = (tmp_path / name / "agent.zip" for name in ("run", "alone"))
    assert one.read_bytes() == other.read_bytes()


def test_where_it_began_there_is_nothing_to_note(tmp_path: Path) -> None:
    broken_off(MAZE, tmp_path / "run", 1)
    assert "other_processors" not in training.resume(tmp_path / "run", progress=False).facts


@pytest.mark.parametrize("change", [{"device": "cuda"}, {"processor": None}])
def test_where_nothing_was_promised_it_goes_on(change: dict[str, Any], tmp_path: Path) -> None:
    broken_off(CARTPOLE, tmp_path / "run", 1)
    elsewhere(tmp_path / "run")
    path = tmp_path / "run" / "versions.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert training.resume(tmp_path / "run", progress=False).status == "finished"


def test_a_game_that_cannot_be_saved_promises_nothing(tmp_path: Path) -> None:
    broken_off(dataclasses.replace(CARTPOLE, game="CartPole-v1"), tmp_path / "run", 1)
    elsewhere(tmp_path / "run")
    assert training.resume(tmp_path / "run", progress=False).status == "finished"
