"""Recurrent networks that learn games from reward or fitness: agents with memory."""

from __future__ import annotations

import importlib

from rlrnn.registration import register_games

__version__ = "0.1.0"

# Where each public name lives. Imported on first use, so that the shell's --help does not wait for torch.
_HOMES = {
    "Cell": "cells",
    "CnnElmanPolicy": "policy",
    "CnnGruPolicy": "policy",
    "CnnLstmPolicy": "policy",
    "Episode": "episodes",
    "Evolution": "evolution",
    "LinearCell": "cells",
    "MlpElmanPolicy": "policy",
    "MlpGruPolicy": "policy",
    "MlpLstmPolicy": "policy",
    "MultiInputElmanPolicy": "policy",
    "MultiInputGruPolicy": "policy",
    "MultiInputLstmPolicy": "policy",
    "Player": "player",
    "RecurrentNetwork": "network",
    "RecurrentPPO": "ppo",
    "RecurrentPolicy": "policy",
    "SequenceLearner": "supervised",
    "UserError": "errors",
    "draw_network": "drawing",
    "evaluate": "evaluation",
    "graph_edges": "cells",
    "impulse_response": "impulse",
    "imitate": "imitation",
    "load": "loading",
    "load_episodes": "episodes",
    "make_vec": "catalogue",
    "plot": "plotting",
    "read_recipe": "catalogue",
    "record": "recording",
    "register_cell": "cells",
    "register_strategy": "strategies",
    "save_episodes": "episodes",
    "train": "training",
    "unroll_feedforward": "impulse",
    "watch": "watching",
}

__all__ = ["__version__", *sorted(_HOMES)]

TYPE_CHECKING = False  # as typing's, which takes longer to import than all else here
if TYPE_CHECKING:
    from typing import Any

    from rlrnn.catalogue import make_vec as make_vec
    from rlrnn.catalogue import read_recipe as read_recipe
    from rlrnn.cells import Cell as Cell
    from rlrnn.cells import LinearCell as LinearCell
    from rlrnn.cells import graph_edges as graph_edges
    from rlrnn.cells import register_cell as register_cell
    from rlrnn.drawing import draw_network as draw_network
    from rlrnn.episodes import Episode as Episode
    from rlrnn.episodes import load_episodes as load_episodes
    from rlrnn.episodes import save_episodes as save_episodes
    from rlrnn.errors import UserError as UserError
    from rlrnn.evaluation import evaluate as evaluate
    from rlrnn.evolution import Evolution as Evolution
    from rlrnn.imitation import imitate as imitate
    from rlrnn.impulse import impulse_response as impulse_response
    from rlrnn.impulse import unroll_feedforward as unroll_feedforward
    from rlrnn.loading import load as load
    from rlrnn.network import RecurrentNetwork as RecurrentNetwork
    from rlrnn.player import Player as Player
    from rlrnn.plotting import plot as plot
    from rlrnn.policy import CnnElmanPolicy as CnnElmanPolicy
    from rlrnn.policy import CnnGruPolicy as CnnGruPolicy
    from rlrnn.policy import CnnLstmPolicy as CnnLstmPolicy
    from rlrnn.policy import MlpElmanPolicy as MlpElmanPolicy
    from rlrnn.policy import MlpGruPolicy as MlpGruPolicy
    from rlrnn.policy import MlpLstmPolicy as MlpLstmPolicy
    from rlrnn.policy import MultiInputElmanPolicy as MultiInputElmanPolicy
    from rlrnn.policy import MultiInputGruPolicy as MultiInputGruPolicy
    from rlrnn.policy import MultiInputLstmPolicy as MultiInputLstmPolicy
    from rlrnn.policy import RecurrentPolicy as RecurrentPolicy
    from rlrnn.ppo import RecurrentPPO as RecurrentPPO
    from rlrnn.recording import record as record
    from rlrnn.strategies import register_strategy as register_strategy
    from rlrnn.supervised import SequenceLearner as SequenceLearner
    from rlrnn.training import train as train
    from rlrnn.watching import watch as watch


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"rlrnn.{_HOMES[name]}"), name)
    from importlib.util import find_spec

    if not name.startswith("_") and find_spec(f"rlrnn.{name}"):  # a module: rlrnn.encoding
        return importlib.import_module(f"rlrnn.{name}")
    raise AttributeError(f"module 'rlrnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOMES))


register_games()
