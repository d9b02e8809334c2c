"""Networks of a few units."""

import torch
from gymnasium import spaces

from rlrnn.network.network import NetworkDescription, RecurrentNetwork

BOX, TWO = spaces.Box(-1, 1, (3,)), spaces.Discrete(2)


def network(seen=BOX, acts=TWO, **how):
    torch.manual_seed(0)
    given = {"cell": "elman", "hidden_size": 4, "critic": "shared", "actor_widths": (), "critic_widths": ()}
    return RecurrentNetwork(NetworkDescription(**{**given, **how}), seen, acts)
