"""rlrnn play: watch an agent in a window, or play by hand."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from rlrnn.common.texts import tell
from rlrnn.errors import MissingExtraError
from rlrnn.shell.verbs import options

SHORT = "watch an agent in a window, or play by hand"
TEXT = """
Opens a window in which an agent plays (pip install "rlrnn[play]"); where there is no display, or without that
extra, an episode is recorded instead. With --by-hand you play: arrow keys, or digits for choices, as the
window's title says. Escape ends it.

examples:
  rlrnn play pong-gru
  rlrnn play runs/cartpole-gru/seed0 --episodes 3
  rlrnn play pong --by-hand            a game of the catalogue, or any Gymnasium id
"""


def arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("--by-hand", action="store_true", help="you play: RUN is a game")
    parser.add_argument("--seed", type=options.whole, default=0, help="of the episodes (default: 0)")
    parser.add_argument(
        "--speed", type=float, default=1.0, metavar="X", help="times as fast as the game says (default: 1)"
    )
    options.add_judged(parser)


def run(arguments: Namespace) -> None:
    """Run the verb."""
    from rlrnn.common.settings import check_number
    from rlrnn.envs import games
    from rlrnn.experiment.pictures.film import watch
    from rlrnn.experiment.pictures.playing import play_by_hand, play_on_screen
    from rlrnn.experiment.pictures.window import screen

    check_number("--speed", arguments.speed, 0, ends="(]")
    how = {"seed": arguments.seed, "speed": arguments.speed}
    if arguments.by_hand:
        game = games.game(arguments.game or arguments.run)
        points = play_by_hand(game, arguments.episodes or 1, **how)
    else:
        agent, game, settings = options.opened(arguments)
        chosen = arguments.episodes or 1, options.deterministic(arguments, settings)
        reason = "" if screen() else "there is no display here"
        try:
            points = [] if reason else play_on_screen(agent, game, *chosen, **how)
        except MissingExtraError as error:
            reason = str(error).partition(";")[0]
        if reason:
            folder = Path(arguments.run) if Path(arguments.run).is_dir() else Path()
            tell(f"rlrnn: {reason}: a film is recorded instead.", file=sys.stderr)
            film = watch(agent, game, folder / "play.gif", *chosen, seed=arguments.seed)
            tell(film)
            points = list(film.points)
    if points:
        tell(f"{', '.join(f'{each:g}' for each in points)} ({game.points.unit})")
