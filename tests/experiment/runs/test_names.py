"""runs/README.md: every name in logs has its sentence, of the learners that log it."""

import csv
import dataclasses
import re
from pathlib import Path

import pytest
from tiny_runs import CARTPOLE, CRITICISED, EVOLVED, PENDULUM, VALUED

from rlrnn.experiment.recipes import EvaluationRecipe, Recipe
from rlrnn.experiment.training.training import train

TEXT = (Path(__file__).parents[3] / "runs" / "README.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+/\w+)` \| ([^|]+) \| (\S[^|]*) \|$", TEXT, re.M)
SOMETIMES = {"rollout/success_rate"}  # games that say it are none of ours
RECIPES = {
    "PPO": [
        dataclasses.replace(CARTPOLE, ppo=dataclasses.replace(CARTPOLE.ppo, clip_range_vf=0.2)),
        PENDULUM,
    ],
    "DQN": [VALUED],
    "SAC": [CRITICISED],
    "evolution": [EVOLVED],
}


def logged(recipe: Recipe, folder: Path) -> set[str]:
    """By a training that is evaluated on its way, in a game that can be won."""
    (folder.parent / "game.toml").write_text(f'id = "{recipe.game}"\n[points]\nwin = 0.0\n')
    how = EvaluationRecipe(episodes=1, every=100, episodes_each=1)
    recipe = dataclasses.replace(recipe, game=str(folder.parent / "game.toml"), evaluation=how)
    if recipe.table in ("dqn", "sac"):  # whose rows come after some episodes
        recipe = dataclasses.replace(recipe, kwargs={"max_episode_steps": 8})
    train(recipe, 1, folder, progress=False)
    with (folder / "progress.csv").open() as file:
        return set(next(csv.reader(file)))


@pytest.mark.parametrize("learner", RECIPES)
def test_each_learner_logs_the_names_of_the_table(learner: str, tmp_path: Path) -> None:
    names = [name for name, *_ in ROWS]
    assert len(set(names)) == len(names) > 30
    said = {name for name, learners, _ in ROWS if learners == "all" or learner in learners.split(", ")}
    found: set[str] = set()
    for number, recipe in enumerate(RECIPES[learner]):
        found |= logged(recipe, tmp_path / f"run{number}")
    assert found == said - SOMETIMES
