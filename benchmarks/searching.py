"""Three ways to search for settings, and none, on games whose settings nobody tuned: equal steps of the game.

    python benchmarks/searching.py            # what is missing, into results/searching/
    python benchmarks/searching.py --report

Each search may play 12 trainings' worth of steps, and what it puts first is trained on five fresh seeds:

- default: no search, the recipe that the game's spaces choose (rlrnn train --game)
- random: 12 draws from the learner's space, each trained to its end on one seed
- waves: rlrnn search with as many trials as the steps allow
- zoo: as RL Zoo 2.9.2 searches for ppo_lstm by its defaults: its space for PPO around a network and settings
  like its own, TPE, one trial at a time, one seed, judged by 5 episodes at the end; the learner is ours
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from tables import table

import rlrnn
from rlrnn.common import processor
from rlrnn.experiment.recipes import NetworkRecipe, NormalizeRecipe, PpoRecipe, Recipe
from rlrnn.experiment.search import search as searches
from rlrnn.experiment.search.study import Study
from rlrnn.experiment.training.side_by_side import Job, Shown

OUT = Path(__file__).parent / "results" / "searching"
TRAININGS = 12  # steps of a search, in whole trainings
FRESH = range(5)  # seeds
GAMES: dict[str, tuple[str, int, tuple[dict[str, Any], ...]]] = {
    "simon": ("simon", 60_000, ()),
    "acrobot": ("Acrobot-v1", 50_000, ({"name": "hide", "drop": [4, 5]},)),
    "cartpole-velocity-alone-200": ("cartpole-velocity-alone-200", 30_000, ()),
}
METHODS = "default", "random", "waves", "zoo"
# hyperparams_opt.py of rl_zoo3 2.9.2, where gamma and lambda are drawn by the logarithm of one minus them.
ZOO: dict[str, Any] = {
    "ppo.batch_size": {"low": 4, "high": 1024, "power": 2},
    "ppo.n_steps": {"low": 32, "high": 4096, "power": 2},
    "ppo.gamma": {"among": [0.97, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999]},
    "ppo.gae_lambda": {"among": [0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999]},
    "ppo.learning_rate": {"low": 1e-5, "high": 2e-3, "log": True},
    "ppo.ent_coef": {"low": 1e-8, "high": 0.1, "log": True},
    "ppo.clip_range": {"among": [0.1, 0.2, 0.3, 0.4]},
    "ppo.n_epochs": {"among": [1, 5, 10, 20]},
    "ppo.max_grad_norm": {"low": 0.3, "high": 2.0},
    "network.net_arch": {"among": [[64], [64, 64], [256, 256]]},
    "network.activation_fn": {"among": ["tanh", "relu"]},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--report", action="store_true", help="print the table of what is there")
    parser.add_argument("--games", nargs="+", choices=GAMES, default=list(GAMES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of the studies")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    searches.work = work
    OUT.mkdir(parents=True, exist_ok=True)
    for seed in () if arguments.report else arguments.seeds:
        for game in arguments.games:
            for method in arguments.methods:
                path = OUT / f"{game}-{method}-{seed}.json"
                if not path.exists() and not (method == "default" and seed):
                    path.write_text(
                        json.dumps(measure(game, method, seed), indent=1) + "\n", encoding="utf-8"
                    )
                    print(path.name, flush=True)
    print(report())


def work(jobs: Sequence[Job], at_once: int, shown: Shown, _: object) -> dict[int, str]:
    """Pieces in this process, one after the other: the answer is the same for any number of workers."""
    for k, job in enumerate(jobs):
        job.do()
        shown.ended(k, True)
    return {}


def measure(game: str, method: str, seed: int) -> dict[str, Any]:
    """One search, and its first recipe on fresh seeds."""
    name, steps, wrappers = GAMES[game]
    recipe = rlrnn.default_recipe(name, steps=steps, wrappers=wrappers, name=game)
    began = time.perf_counter()
    with TemporaryDirectory() as folder:
        first: dict[str, Any] = {"searched": None, "trials": 0, "played": 0}
        if method != "default":
            study, recipe = study_of(method, recipe, seed)
            found = rlrnn.search(study, f"{folder}/study", recipe=recipe, progress=False)
            best = found.candidates[0]
            recipe = best.recipe
            first = {
                "searched": best.searched,
                "trials": study.trials,
                "played": played(Path(folder, "study")),
            }
        spent = time.perf_counter() - began
        fresh = [
            rlrnn.train(recipe, k, f"{folder}/fresh{k}", progress=False).scores()["with memory"].mean
            for k in FRESH
        ]
    how = {"game": game, "method": method, "seed": seed, "steps": steps, **first}
    settings = {"network": dataclasses.asdict(recipe.network), "ppo": dataclasses.asdict(recipe.ppo)}
    return {**how, "fresh": fresh, "seconds": spent, "recipe": settings, "processor": processor.kind()}


def study_of(method: str, recipe: Recipe, seed: int) -> tuple[Study, Recipe]:
    """The study of a method, and the recipe around which it searches."""
    plain: dict[str, Any] = {"seeds": (200,), "rungs": (1.0,), "verify": (), "seed": seed}
    if method == "random":
        return Study("random", recipe.name, TRAININGS, TRAININGS, sampler="random", **plain), recipe
    if method == "zoo":
        around = dataclasses.replace(
            recipe,
            network=NetworkRecipe(cell="lstm", hidden_size=64),
            normalize=NormalizeRecipe(observations=recipe.normalize.observations, rewards=True),
            ppo=PpoRecipe(n_envs=8),
        )
        return Study("zoo", recipe.name, TRAININGS, 1, episodes=5, space=ZOO, **plain), around
    study = Study("waves", recipe.name, seed=seed, verify=())
    trials = max(
        trials
        for trials in range(1, 100)
        if dataclasses.replace(study, trials=trials).steps_at_most(recipe) <= TRAININGS * recipe.steps
    )
    return dataclasses.replace(study, trials=trials), recipe


def played(folder: Path) -> int:
    """Steps of the game that a search has played."""
    total = 0
    for path in folder.glob("trials/*/*/rungs.json"):
        total += max(won.get("steps", 0) for won in json.loads(path.read_text(encoding="utf-8")).values())
    return total


def report() -> str:
    """The table."""
    lines = []
    for game in GAMES:
        for method in METHODS:
            runs = [json.loads(path.read_text()) for path in sorted(OUT.glob(f"{game}-{method}-*.json"))]
            if not runs:
                continue
            means = [float(np.mean(run["fresh"])) for run in runs]
            searched = [run["searched"] for run in runs if run["searched"] is not None]
            lines.append([
                f"{game}, {method}",
                str(runs[0]["trials"] or ""),
                f"{np.mean([run['played'] for run in runs]) / runs[0]['steps']:.1f}",
                f"{np.mean(searched):.4g}" if searched else "",
                f"{np.mean(means):.4g}",
                ", ".join(f"{mean:.4g}" for mean in means),
            ])  # fmt: skip
    head = ["search", "trials", "trainings", "won in it", "on fresh seeds", "each study"]
    return table(head, lines)


if __name__ == "__main__":
    main()
