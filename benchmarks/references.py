"""The reference scores of our game files, measured: a random player of each, and the scripted players.

    python benchmarks/references.py

Each row is as many episodes as the game file says, on the seeds from 1,000,000 on.
"""

import argparse
import tomllib
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import numpy as np

from rlrnn.games import (
    bandit_players,
    cards_players,
    pong_players,
    recall_players,
    simon_players,
    tmaze_players,
)
from rlrnn.games.array_game import ArrayGame
from rlrnn.games.pong_players import Player, play_once, random_player

GAMES = Path(__file__).parents[1] / "envs"
SEED = 1_000_000
PLAYERS = {
    "rlrnn/Pong-v0": pong_players.PLAYERS,
    "rlrnn/Recall-v0": recall_players.PLAYERS,
    "rlrnn/TMaze-v0": tmaze_players.PLAYERS,
    "rlrnn/Simon-v0": simon_players.PLAYERS,
    "rlrnn/RepeatPrevious-v0": cards_players.REPEAT_PREVIOUS,
    "rlrnn/CountRecall-v0": cards_players.COUNT_RECALL,
    "rlrnn/Autoencode-v0": cards_players.AUTOENCODE,
    "rlrnn/MultiarmedBandit-v0": bandit_players.PLAYERS,
}


def row(name: str, file: dict, make_player: Callable[[ArrayGame], Player]) -> str:
    """One line of the table."""
    game = gym.make_vec(file["id"], num_envs=file["episodes"], **file.get("kwargs", {}))
    points = play_once(game, make_player(game), SEED)
    line = f"{name:40} {points.mean():10.3f} {points.std():8.3f}"
    win = file["points"].get("win")
    return line if win is None else f"{line} {np.count_nonzero(points >= win):8d} of {len(points)}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("games", nargs="*", help="names in envs/, such as pong; all of ours if none is given")
    names = parser.parse_args().games or sorted(path.stem for path in GAMES.glob("*.toml"))
    print(f"{'game, player':40} {'points':>10} {'sd':>8} {'won':>8}")
    for name in names:
        file = tomllib.loads((GAMES / f"{name}.toml").read_text())
        if not file["id"].startswith("rlrnn/"):
            continue
        for player, make_player in PLAYERS.get(file["id"], {"random": random_player}).items():
            print(row(f"{name}, {player}", file, make_player))


if __name__ == "__main__":
    main()
