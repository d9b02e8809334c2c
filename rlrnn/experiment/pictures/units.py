"""Hidden units as data: what a network's memory does while it plays, for whoever studies units."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlrnn.common.batches import parts_of
from rlrnn.common.files import replacing
from rlrnn.common.settings import check_whole, takes_plain
from rlrnn.common.threads import one_thread
from rlrnn.envs import games
from rlrnn.envs.games import Game
from rlrnn.errors import UserError
from rlrnn.experiment.evaluation import EVALUATION_SEED, copies_for
from rlrnn.experiment.pictures.activations import ActivationRecorder

if TYPE_CHECKING:
    from rlrnn.experiment.agents import Agent

STEPS = 1000  # that are played, at most


@takes_plain
def record_units(
    agent: Agent,
    game: str | Path | Game,
    path: str | Path,
    episodes: int = 16,
    steps: int = STEPS,
    deterministic: bool = True,
    seed: int = EVALUATION_SEED,
) -> dict[str, tuple[int, ...]]:
    """Play a game in ``episodes`` copies B for T steps, and write what the network did as one .npz.

    T is as many as the longest of the first episodes takes, at most ``steps``; a copy that ends sooner begins
    its next. Returns the shapes of the arrays in the file:

        observations [T, B, ...]  as the network receives them; of a Dict space, observations_<key> each
        units [T, B, H]           outputs of the top layer of memory, after the observation
        state [T, B, S]           the whole recurrent state, before the observation
        actions [T, B, ...]       as the game receives them
        points [T, B]             the rewards that followed
        starts [T, B]             whether an episode began with the observation
    """
    check_whole("episodes", episodes, 1)
    check_whole("steps", steps, 1)
    if Path(path).suffix != ".npz":
        raise UserError(f"{path} should end in .npz.")
    rows: dict[str, list[Any]] = {}
    with closing(copies_for(agent, games.game(game), episodes, seed)) as env, one_thread(agent.device):
        player = ActivationRecorder(agent.player(episodes, deterministic=deterministic, seed=seed))
        observations, starts = env.reset(), np.ones(episodes, np.bool_)
        playing = np.ones(episodes, np.bool_)
        for _ in range(steps):
            actions = player.act(observations, starts)
            one = {f"observations_{key}".rstrip("_"): part for key, part in parts_of(observations).items()}
            one |= {"units": player.units.cpu().numpy(), "state": player.state.cpu().numpy()}
            one |= {"actions": actions, "starts": starts}
            observations, rewards, starts, _ = env.step(actions)
            for name, array in {**one, "points": rewards}.items():
                rows.setdefault(name, []).append(np.array(array))
            playing &= ~starts
            if not playing.any():
                break
    tables: dict[str, Any] = {name: np.stack(each) for name, each in rows.items()}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replacing(Path(path)) as part, part.open("wb") as file:
        np.savez_compressed(file, **tables)
    return {name: table.shape for name, table in tables.items()}
