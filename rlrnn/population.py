"""Many networks of one kind as one: weights with a leading population axis, and genomes of what decides actions.

Letters: P members, E rows of each, N = P * E rows in all, member by member; D weights in a genome; S state.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rlrnn.actuators import ContinuousActuators
from rlrnn.errors import UserError
from rlrnn.network import RecurrentNetwork
from rlrnn.sensors import Observation

Array = npt.NDArray[np.float64]


def evolvable(network: RecurrentNetwork) -> Iterator[tuple[nn.Module, str]]:
    """(module, name) of every parameter that decides the most likely action, in a fixed order.

    What a critic has of its own and the spread of drawn actions are not among them.
    """
    if any(True for _ in network.sensors.parameters()):
        raise UserError(
            "sensors that learn (of images, or an extractor of your own) cannot be evolved as one batch: use "
            "vectors, for instance by a wrapper that flattens the observation."
        )
    for part in (network.memory, network.actor_head, network.actuators):
        for module in part.modules():
            for name in module._parameters:
                spread = isinstance(module, ContinuousActuators) and name == "log_std"
                if module._parameters[name] is not None and not spread:
                    yield module, name


def genome(network: RecurrentNetwork) -> Array:
    """The weights that decide what the network does, in one row [D]."""
    parameters = [getattr(module, name) for module, name in evolvable(network)]
    return torch.cat([p.detach().flatten() for p in parameters]).double().cpu().numpy()


def write(network: RecurrentNetwork, row: npt.ArrayLike) -> None:
    """Give the network the weights of a genome [D]."""
    with torch.no_grad():
        for module, name, weights in _stacked(network, np.asarray(row)[None]):
            getattr(module, name).copy_(weights[0])


class Population:
    """P networks that act on E rows each; a copy, which leaves ``network`` as it is."""

    def __init__(self, network: RecurrentNetwork, genomes: npt.ArrayLike) -> None:
        self.network = copy.deepcopy(network).eval()
        self.members = len(np.asarray(genomes))
        for module, name, weights in _stacked(self.network, genomes):
            module._parameters[name] = nn.Parameter(weights, requires_grad=False)

    def initial_state(self, rows: int) -> Tensor:
        """An empty memory for E rows of every member: [N, S]."""
        network = self.network
        return network.value.weight.new_zeros(self.members * rows, network.state_sizes[0])

    @torch.no_grad()
    def act(
        self, observation: Observation, start: Tensor, state: Tensor
    ) -> tuple[npt.NDArray[np.generic], Tensor]:
        """The most likely actions: observation [N, ...], start [N], state [N, S] -> actions [N, ...], state."""
        network, rows = self.network, len(start) // self.members
        shape = (self.members, rows, -1)
        x = network.sensors(observation).view(shape)
        y, after = network.memory.step(x, start.view(shape[:2]), state.view(shape))
        actions = network.actuators(network.actor_head(y)).mode().flatten(0, 1)
        return network.actuators.to_space(actions.cpu().numpy()), after.flatten(0, 1)

    def keep(self, members: npt.NDArray[np.intp]) -> None:
        """Go on with these members alone."""
        index = torch.as_tensor(members)
        for module, name in evolvable(self.network):
            module._parameters[name] = nn.Parameter(getattr(module, name)[index], requires_grad=False)
        self.members = len(members)


def _stacked(network: RecurrentNetwork, genomes: npt.ArrayLike) -> Iterator[tuple[nn.Module, str, Tensor]]:
    """(module, name, weights [P, ...]) of every evolvable parameter, cut from genomes [P, D]."""
    rows = np.asarray(genomes)
    parts = [(module, name, getattr(module, name)) for module, name in evolvable(network)]
    sizes = [parameter.numel() for *_, parameter in parts]
    if rows.ndim != 2 or rows.shape[1] != sum(sizes):
        raise UserError(f"genomes of shape {rows.shape} do not fit: this network has {sum(sizes)} weights.")
    table = torch.as_tensor(rows, dtype=parts[0][2].dtype, device=parts[0][2].device)
    for (module, name, parameter), columns in zip(parts, table.split(sizes, dim=1), strict=True):
        yield module, name, columns.reshape(len(rows), *parameter.shape)
