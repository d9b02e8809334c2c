"""The reference scores of our game files, measured: a random player of each, and Pong's scripted players.

    python benchmarks/references.py

Each row is 100 episodes on the seeds 1,000,000 to 1,000,099.
"""

import argparse
import tomllib
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import numpy as np

from rlrnn.games.array_game import ArrayGame
from rlrnn.games.pong_players import PLAYERS, Player, play_once, random_player

GAMES = Path(__file__).parents[1] / "envs"
SEED, EPISODES = 1_000_000, 100


def row(name: str, file: dict, make_player: Callable[[ArrayGame], Player]) -> str:
    """One line of the table."""
    game = gym.make_vec(file["id"], num_envs=EPISODES, **file.get("kwargs", {}))
    points = play_once(game, make_player(game), SEED)
    line = f"{name:40} {points.mean():10.2f} {points.std():8.2f}"
    win = file["points"].get("win")
    return line if win is None else f"{line} {np.count_nonzero(points >= win):8d}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("games", nargs="*", help="names in envs/, such as pong; all of ours if none is given")
    names = parser.parse_args().games or sorted(path.stem for path in GAMES.glob("*.toml"))
    print(f"{'game, player':40} {'points':>10} {'sd':>8} {'won/100':>8}")
    for name in names:
        file = tomllib.loads((GAMES / f"{name}.toml").read_text())
        if not file["id"].startswith("rlrnn/"):
            continue
        players = PLAYERS if file["id"].startswith("rlrnn/Pong") else {"random": random_player}
        for player, make_player in players.items():
            print(row(f"{name}, {player}", file, make_player))


if __name__ == "__main__":
    main()
