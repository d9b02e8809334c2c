"""Draw docs/games.png: our own games that need memory, each as a scripted player left it after some steps."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
from PIL import Image
from references import PLAYERS

from rlrnn.envs import games
from rlrnn.games.array_game import ArrayGame

SCENES = {  # game: (script, seed, steps)
    "t-maze-20": ("perfect", 3, 7),
    "simon": ("perfect", 9, 36),
    "repeat-previous-easy": ("queue", 3, 14),
    "count-recall-easy": ("counter", 3, 20),
    "autoencode-easy": ("stack", 3, 71),
    "bandit-easy": ("gittins", 3, 60),
}
WIDTH, GAP = 420, 12  # pixels of a picture, and between two


def scene(name: str, script: str, seed: int, steps: int) -> Image.Image:
    """The game's picture after so many steps of the script."""
    game = games.game(name)
    copies = gym.make_vec(game.id, num_envs=1, render_mode="rgb_array", **game.kwargs)
    assert isinstance(copies, ArrayGame)
    player = PLAYERS[game.id][script](copies)
    seen, _ = copies.reset(seed=seed)
    for _ in range(steps):
        seen, *_ = copies.step(player(seen))
    picture = Image.fromarray(copies.render()[0])
    return picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)


def main() -> None:
    pictures = [scene(name, *how) for name, how in SCENES.items()]
    columns = [pictures[::2], pictures[1::2]]
    height = max(sum(p.height for p in column) + GAP * (len(column) - 1) for column in columns)
    sheet = Image.fromarray(np.full((height, 2 * WIDTH + GAP, 3), 255, np.uint8))
    for number, column in enumerate(columns):
        top = 0
        for picture in column:
            sheet.paste(picture, (number * (WIDTH + GAP), top))
            top += picture.height + GAP
    sheet.save(Path(__file__).parents[1] / "docs" / "games.png", optimize=True)


if __name__ == "__main__":
    main()
