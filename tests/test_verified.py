"""The [verified] table of an agent is what its runs say, and nothing else."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

import rlrnn
from rlrnn import catalogue
from rlrnn.evaluation import WIPED, WITH_MEMORY
from rlrnn.recipes import read_recipe

RUNS = Path(__file__).parent.parent / "runs" / "verified"
VERIFIED = {name: recipe for name, recipe in catalogue.agents().items() if recipe.verified is not None}


@pytest.mark.parametrize("name", VERIFIED)
def test_verified_equals_the_scores_of_its_runs(name: str) -> None:
    recipe = VERIFIED[name]
    claim = recipe.verified
    assert claim is not None and claim.version == rlrnn.__version__
    folders = {int(folder.name.removeprefix("seed")): folder for folder in (RUNS / name).glob("seed*")}
    assert sorted(folders) == sorted(claim.seeds), "every seed that was run is counted"
    for seed, points, wiped in zip(claim.seeds, claim.points, claim.wiped, strict=True):
        score = json.loads((folders[seed] / "score.json").read_text(encoding="utf-8"))
        facts = json.loads((folders[seed] / "versions.json").read_text(encoding="utf-8"))
        for player, mean in ((WITH_MEMORY, points), (WIPED, wiped)):
            episodes = score["scores"][player]["points"] if "scores" in score else score[player]["points"]
            assert len(episodes) == catalogue.game(recipe.game).episodes
            assert round(sum(episodes) / len(episodes), 2) == mean
        assert (facts["rlrnn"], facts["seed"], facts["status"]) == (claim.version, seed, "finished")
        used = read_recipe(folders[seed] / "recipe.toml")
        assert dataclasses.replace(used, name=name, verified=None) == dataclasses.replace(
            recipe, verified=None
        )
