"""Recurrent networks that learn games from reward or fitness: agents with memory."""

from __future__ import annotations

import importlib

from rlrnn._version import __version__
from rlrnn.common.registration import register_games

# Where each public name lives. Imported on first use, so that the shell's --help does not wait for torch.
_HOMES = {
    "Cell": "cells",
    "CnnElmanPolicy": "learners.policy.policy",
    "CnnGruPolicy": "learners.policy.policy",
    "CnnLstmPolicy": "learners.policy.policy",
    "Episode": "learners.sequences.episodes",
    "EvaluationCallback": "experiment.training.evaluating",
    "Evolution": "learners.evolution.evolution",
    "LinearCell": "cells",
    "MlpElmanPolicy": "learners.policy.policy",
    "MlpGruPolicy": "learners.policy.policy",
    "MlpLstmPolicy": "learners.policy.policy",
    "MultiInputElmanPolicy": "learners.policy.policy",
    "MultiInputGruPolicy": "learners.policy.policy",
    "MultiInputLstmPolicy": "learners.policy.policy",
    "Player": "learners.player",
    "RecurrentNetwork": "network.network",
    "RecurrentDQN": "learners.dqn.dqn",
    "RecurrentPPO": "learners.ppo.ppo",
    "RecurrentPolicy": "learners.policy.policy",
    "RecurrentSAC": "learners.sac.sac",
    "SequenceLearner": "learners.sequences.supervised",
    "SmallCNN": "network.convolutions",
    "Strategy": "learners.evolution.strategies",
    "UserError": "errors",
    "default_recipe": "experiment.default_recipe",
    "check": "experiment.checking",
    "draw_network": "experiment.pictures.network_drawing",
    "evaluate": "experiment.evaluation",
    "graph_edges": "cells",
    "impulse_response": "network.impulse",
    "imitate": "learners.sequences.imitation",
    "list_agents": "experiment.catalogue",
    "list_games": "experiment.catalogue",
    "load": "experiment.runs.loading",
    "load_episodes": "learners.sequences.episodes",
    "make_vec": "envs.games",
    "plot": "experiment.pictures.plotting",
    "read_recipe": "experiment.catalogue",
    "record": "experiment.recording",
    "register_callback": "experiment.callbacks",
    "register_cell": "cells",
    "register_class": "storage.encoding",
    "register_extractor": "network.extractors",
    "register_fitness": "learners.evolution.judging",
    "register_strategy": "learners.evolution.strategies",
    "register_wrapper": "envs.wrappers",
    "search": "experiment.search.search",
    "save_episodes": "learners.sequences.episodes",
    "train": "experiment.training.training",
    "unroll_feedforward": "network.impulse",
    "watch": "experiment.pictures.film",
}

__all__ = ["__version__", *sorted(_HOMES)]

TYPE_CHECKING = False  # as typing's, which takes longer to import than all else here
if TYPE_CHECKING:
    from typing import Any

    from rlrnn.cells import Cell as Cell
    from rlrnn.cells import LinearCell as LinearCell
    from rlrnn.cells import graph_edges as graph_edges
    from rlrnn.cells import register_cell as register_cell
    from rlrnn.envs.games import make_vec as make_vec
    from rlrnn.envs.wrappers import register_wrapper as register_wrapper
    from rlrnn.errors import UserError as UserError
    from rlrnn.experiment.callbacks import register_callback as register_callback
    from rlrnn.experiment.catalogue import list_agents as list_agents
    from rlrnn.experiment.catalogue import list_games as list_games
    from rlrnn.experiment.catalogue import read_recipe as read_recipe
    from rlrnn.experiment.checking import check as check
    from rlrnn.experiment.default_recipe import default_recipe as default_recipe
    from rlrnn.experiment.evaluation import evaluate as evaluate
    from rlrnn.experiment.pictures.film import watch as watch
    from rlrnn.experiment.pictures.network_drawing import draw_network as draw_network
    from rlrnn.experiment.pictures.plotting import plot as plot
    from rlrnn.experiment.recording import record as record
    from rlrnn.experiment.runs.loading import load as load
    from rlrnn.experiment.search.search import search as search
    from rlrnn.experiment.training.evaluating import EvaluationCallback as EvaluationCallback
    from rlrnn.experiment.training.training import train as train
    from rlrnn.learners.dqn.dqn import RecurrentDQN as RecurrentDQN
    from rlrnn.learners.evolution.evolution import Evolution as Evolution
    from rlrnn.learners.evolution.judging import register_fitness as register_fitness
    from rlrnn.learners.evolution.strategies import Strategy as Strategy
    from rlrnn.learners.evolution.strategies import register_strategy as register_strategy
    from rlrnn.learners.player import Player as Player
    from rlrnn.learners.policy.policy import CnnElmanPolicy as CnnElmanPolicy
    from rlrnn.learners.policy.policy import CnnGruPolicy as CnnGruPolicy
    from rlrnn.learners.policy.policy import CnnLstmPolicy as CnnLstmPolicy
    from rlrnn.learners.policy.policy import MlpElmanPolicy as MlpElmanPolicy
    from rlrnn.learners.policy.policy import MlpGruPolicy as MlpGruPolicy
    from rlrnn.learners.policy.policy import MlpLstmPolicy as MlpLstmPolicy
    from rlrnn.learners.policy.policy import MultiInputElmanPolicy as MultiInputElmanPolicy
    from rlrnn.learners.policy.policy import MultiInputGruPolicy as MultiInputGruPolicy
    from rlrnn.learners.policy.policy import MultiInputLstmPolicy as MultiInputLstmPolicy
    from rlrnn.learners.policy.policy import RecurrentPolicy as RecurrentPolicy
    from rlrnn.learners.ppo.ppo import RecurrentPPO as RecurrentPPO
    from rlrnn.learners.sac.sac import RecurrentSAC as RecurrentSAC
    from rlrnn.learners.sequences.episodes import Episode as Episode
    from rlrnn.learners.sequences.episodes import load_episodes as load_episodes
    from rlrnn.learners.sequences.episodes import save_episodes as save_episodes
    from rlrnn.learners.sequences.imitation import imitate as imitate
    from rlrnn.learners.sequences.supervised import SequenceLearner as SequenceLearner
    from rlrnn.network.convolutions import SmallCNN as SmallCNN
    from rlrnn.network.extractors import register_extractor as register_extractor
    from rlrnn.network.impulse import impulse_response as impulse_response
    from rlrnn.network.impulse import unroll_feedforward as unroll_feedforward
    from rlrnn.network.network import RecurrentNetwork as RecurrentNetwork
    from rlrnn.storage.encoding import register_class as register_class


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"rlrnn.{_HOMES[name]}"), name)
    from rlrnn.common.modules import modules_of

    return modules_of("rlrnn")(name)  # rlrnn.games


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOMES))


register_games()
