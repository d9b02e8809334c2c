"""Our own games; importing this package registers them with Gymnasium."""

import gymnasium as gym

from rlrnn.common.modules import modules_of

GAMES = {  # id: (module, class, steps at which an episode is truncated)
    "rlrnn/CartPole-v1": ("cartpole", "CartPole", 500),
    "rlrnn/Pendulum-v1": ("pendulum", "Pendulum", 200),
    "rlrnn/MountainCarContinuous-v0": ("mountain_car", "MountainCarContinuous", 999),
    "rlrnn/Pong-v0": ("pong", "Pong", 5000),
    "rlrnn/Recall-v0": ("recall", "Recall", None),  # its keyword `length` says
    "rlrnn/TMaze-v0": ("tmaze", "TMaze", None),  # its keyword `limit` says
    "rlrnn/MemoryChain-v0": ("memory_chain", "MemoryChain", None),  # its keyword `memory_length` says
    "rlrnn/Simon-v0": ("simon", "Simon", None),  # its keyword `longest` says
    "rlrnn/RepeatPrevious-v0": ("cards", "RepeatPrevious", None),  # the pack says
    "rlrnn/CountRecall-v0": ("cards", "CountRecall", None),
    "rlrnn/Autoencode-v0": ("cards", "Autoencode", None),
    "rlrnn/MultiarmedBandit-v0": ("bandit", "MultiarmedBandit", 200),
    "rlrnn/MiniGridMemory-v0": ("minigrid_memory", "MiniGridMemory", None),  # 5 size^2 by its keyword `size`
    "rlrnn/DoublePole-v0": ("double_pole", "DoublePole", None),  # its keyword `fitness` says
    "rlrnn/SinglePole-v0": ("double_pole", "SinglePole", None),
}


def register() -> None:
    """Make every game known to Gymnasium, singly and as a batch; doing it again changes nothing."""
    for name, (module, game, limit) in GAMES.items():
        if name not in gym.registry:
            gym.register(
                name,
                entry_point=f"rlrnn.games.{module}:Single{game}",
                vector_entry_point=f"rlrnn.games.{module}:{game}",
                max_episode_steps=limit,
            )


__getattr__ = modules_of(__name__)
register()
