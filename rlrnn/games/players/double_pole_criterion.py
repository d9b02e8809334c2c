"""The test that a solution of pole balancing must pass: long from the start, and often from elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass

from rlrnn.games.double_pole import STARTS, CartWithPoles, DoublePole
from rlrnn.games.players.base import Script, play_once

STEPS = 100_000  # from the standard start
SHORT_STEPS = 1_000  # from each of the 625 starts
ENOUGH = 200  # of them


@dataclass(frozen=True)
class Verdict:
    """What a controller did in the test."""

    steps: int  # balanced from the standard start, at most 100,000
    starts: int | None  # of 625 from which it balanced 1,000 steps; None: it was not let so far

    @property
    def solved(self) -> bool:
        """Whether it did as much as the field asks for."""
        return self.steps == STEPS and self.starts is not None and self.starts >= ENOUGH


def examine(
    make_player: Callable[[CartWithPoles], Script],
    game: type[CartWithPoles] = DoublePole,
    velocities: bool = False,
) -> Verdict:
    """Let a controller balance 100,000 steps and, if it can, 1,000 from each of the 625 starts at once.

    `make_player(game)` is asked twice, for 1 copy and for 625, so that each begins with a clear memory; it
    returns the function from what the copies see [B, ...] to what they do [B, 1].
    """
    once = game(velocities=velocities, max_episode_steps=STEPS)
    steps = int(play_once(once, make_player(once), seed=0)[0])
    if steps < STEPS:
        return Verdict(steps, None)
    everywhere = game(
        num_envs=STARTS.shape[1], velocities=velocities, start="grid", max_episode_steps=SHORT_STEPS
    )
    points = play_once(everywhere, make_player(everywhere), seed=0)
    return Verdict(steps, int((points == SHORT_STEPS).sum()))
