"""Checks of this package's own parts, for parts of your own."""

from rlrnn.testing.cell import check_cell
from rlrnn.testing.game import check_game
from rlrnn.testing.strategy import check_strategy
from rlrnn.testing.wrapper import check_wrapper

__all__ = ["check_cell", "check_game", "check_strategy", "check_wrapper"]
