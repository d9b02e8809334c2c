"""The reference scores of our game files, measured: a random player of each, and the scripted players.

    python benchmarks/references.py

Each row is as many episodes as the game file says, on the seeds from 1,000,000 on. Games whose extra is not
installed are named and left out.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import closing

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from rlrnn.envs import games
from rlrnn.envs.games import Game
from rlrnn.errors import MissingExtraError
from rlrnn.experiment import evaluation
from rlrnn.experiment.players import RandomPlayer
from rlrnn.games.array_game import ArrayGame
from rlrnn.games.players import bandit, cards, double_pole, memory, memory_chain, pong, recall, simon, tmaze
from rlrnn.games.players.base import Script, play_once, random_player

PLAYERS: dict[str, dict[str, Callable[..., Script]]] = {
    "rlrnn/Autoencode-v0": cards.AUTOENCODE,
    "rlrnn/CountRecall-v0": cards.COUNT_RECALL,
    "rlrnn/DoublePole-v0": double_pole.PLAYERS,
    "rlrnn/MemoryChain-v0": memory_chain.PLAYERS,
    "rlrnn/MiniGridMemory-v0": memory.PLAYERS,
    "rlrnn/MultiarmedBandit-v0": bandit.PLAYERS,
    "rlrnn/Pong-v0": pong.PLAYERS,
    "rlrnn/Recall-v0": recall.PLAYERS,
    "rlrnn/RepeatPrevious-v0": cards.REPEAT_PREVIOUS,
    "rlrnn/Simon-v0": simon.PLAYERS,
    "rlrnn/SinglePole-v0": double_pole.PLAYERS,
    "rlrnn/TMaze-v0": tmaze.PLAYERS,
}


def scores(game: Game) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """(player, points of every episode): ours are played as plain arrays, which scripts may look into."""
    if game.id.startswith("rlrnn/"):
        for name, make_player in PLAYERS.get(game.id, {"random": random_player}).items():
            copies = gym.make_vec(game.id, num_envs=game.episodes, **game.kwargs)
            assert isinstance(copies, ArrayGame)
            yield name, play_once(copies, make_player(copies), evaluation.EVALUATION_SEED)
        return
    with closing(games.make_vec(game, 1)) as env:
        actions = env.action_space
    n = min(game.episodes, evaluation.BATCH)
    yield "random", np.array(evaluation.play(RandomPlayer(actions, n, 0), game).points)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("games", nargs="*", help="names in envs/, such as pong; all of them if none is given")
    print(f"{'game, player':40} {'points':>10} {'sd':>8} {'won':>8}")
    for name in parser.parse_args().games or games.games():
        game = games.game(name)
        try:
            for player, points in scores(game):
                line = f"{f'{name}, {player}':40} {points.mean():10.3f} {points.std():8.3f}"
                win = game.points.win
                won = "" if win is None else f" {np.count_nonzero(points >= win):8d} of {len(points)}"
                print(line + won, flush=True)
        except MissingExtraError as error:
            print(f"{name}: {error}")


if __name__ == "__main__":
    main()
