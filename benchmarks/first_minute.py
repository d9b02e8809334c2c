"""What a game wins at once: rlrnn's default recipe beside sb3-contrib at RL Zoo's defaults, 200,000 steps.

Eight of Gymnasium's games whose velocities are hidden, none of which any setting was ever chosen on:

    python benchmarks/first_minute.py --seeds 0 1 2      # needs gymnasium[box2d,mujoco]
    python benchmarks/first_minute.py --report

One side is `rlrnn train --game ID --wrapper 'hide, drop = [...]'`; the other RL Zoo's `default` entry of
`ppo_lstm` (2.9.2: one environment, every default of the learner), whose policy, `MlpPolicy`, RecurrentPPO
refuses: `MlpLstmPolicy` stands in its place. A score is the mean of 100 episodes on seeds that training never
saw, final parameters, deterministic actions. One JSON file per run; a run whose file exists is skipped.
"""

from __future__ import annotations

import argparse
import json
import warnings
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

import rlrnn
from rlrnn.common import processor
from rlrnn.envs.games import Game
from rlrnn.experiment.evaluation import Score, play
from rlrnn.experiment.players import RandomPlayer, player_of

STEPS = 200_000
SIDES = "rlrnn", "sb3_contrib"
OUT = Path(__file__).parent / "results" / "first_minute"
HIDDEN = {  # fields that are velocities
    "Acrobot-v1": [4, 5],
    "MountainCar-v0": [1],
    "InvertedPendulum-v5": [2, 3],
    "Reacher-v5": [6, 7],
    "InvertedDoublePendulum-v5": [5, 6, 7],
    "Hopper-v5": [5, 6, 7, 8, 9, 10],
    "LunarLander-v3": [2, 3, 5],
    "BipedalWalker-v3": [1, 2, 3, 5, 7, 10, 12],
}


def game(name: str) -> Game:
    """The game as both sides play it."""
    return Game(name=name, id=name, wrappers=({"name": "hide", "drop": HIDDEN[name]},))


def ours(name: str, seed: int) -> Score:
    """The default recipe's points."""
    recipe = rlrnn.default_recipe(name, steps=STEPS, wrappers=game(name).wrappers)
    with TemporaryDirectory() as folder:
        run = rlrnn.train(recipe, seed, f"{folder}/run", progress=False)
        return run.scores()["with memory"]


def theirs(name: str, seed: int) -> Score:
    """sb3-contrib's, at the zoo's default."""
    from sb3_contrib import RecurrentPPO

    with closing(rlrnn.make_vec(game(name), 1, seed)) as env:
        model = RecurrentPPO("MlpLstmPolicy", env, seed=seed)
        model.learn(STEPS)
    return play(player_of(model, 100, True, 0), game(name), 100)


def chance(name: str) -> Score:
    """A random player's, on the same episodes."""
    with closing(rlrnn.make_vec(game(name))) as env:
        return play(RandomPlayer(env.action_space, 100, 0), game(name), 100)


def measure(side: str, name: str, seed: int) -> dict[str, Any]:
    """One run of one side."""
    score = ours(name, seed) if side == "rlrnn" else theirs(name, seed)
    return {
        "side": side,
        "game": name,
        "seed": seed,
        "steps": STEPS,
        "mean": round(score.mean, 2),
        "sd": round(score.sd, 2),
        "random": round(chance(name).mean, 2),
        "processor": processor.kind(),
    }


def report() -> None:
    """A row for each game: both sides' points, each seed by itself. Speeds are measured by speed.py."""
    runs = [json.loads(path.read_text()) for path in sorted(OUT.glob("*.json"))]
    print("| velocities hidden | random player | rlrnn | sb3-contrib |")
    print("| --- | --: | --: | --: |")
    for name in HIDDEN:
        cells = {side: [run for run in runs if (run["side"], run["game"]) == (side, name)] for side in SIDES}
        points = [", ".join(f"{run['mean']:,.1f}" for run in cells[side]) or "–" for side in SIDES]
        random = next((f"{run['random']:,.1f}" for each in cells.values() for run in each), "–")
        print(f"| {name} | {random} | {' | '.join(points)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--games", nargs="+", choices=list(HIDDEN), default=list(HIDDEN))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--report", action="store_true", help="print the table of what was measured")
    arguments = parser.parse_args()
    if arguments.report:
        report()
        return
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    OUT.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        for side in arguments.sides:
            for name in arguments.games:
                path = OUT / f"{side}-{name}-{seed}.json"
                if not path.exists():
                    result = measure(side, name, seed)
                    path.write_text(json.dumps(result) + "\n")
                    print(path.name, result["mean"], flush=True)


if __name__ == "__main__":
    main()
