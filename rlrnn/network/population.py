"""Many networks of one kind at play as one; genomes: all weights that decide what a network does.

Each member has its own weights and plays E copies of a game. What it does depends on no other member: not on
how many there are, and not on which still play. So a population may be spread over any number of processes.

Letters: P members, E rows of each, D weights in a genome, n rows still playing, F features, S state.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rlrnn.errors import UserError
from rlrnn.network import program
from rlrnn.network.network import RecurrentNetwork
from rlrnn.network.plan import Plan, plan
from rlrnn.network.program import Program

Array: TypeAlias = npt.NDArray[Any]
# members, x [P, E, F], state [P, E, S] -> the output units' numbers [P, E, O]; the state changes in place
Step: TypeAlias = Callable[[Array, Array, Array], Array]

BLOCK = 32  # members of a product by torch: the last bits of its sums depend on how many there are


def evolvable(network: RecurrentNetwork) -> Iterator[tuple[nn.Module, str]]:
    """(module, name) of every parameter that decides the most likely action, in a fixed order.

    What a critic has of its own and the spread of drawn actions are not among them.
    """
    if any(True for _ in network.sensors.parameters()):
        raise UserError(
            "sensors that learn (of images, or an extractor of your own) cannot be evolved: give the network "
            "vectors, for instance by a wrapper that flattens the observation."
        )
    spread = set(network.actuators.spread)
    for part in (network.memory, network.actor_head, network.actuators):
        for module in part.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None and parameter not in spread:
                    yield module, name


def genome(network: RecurrentNetwork) -> npt.NDArray[np.float64]:
    """The weights that decide what the network does, in one row [D]."""
    parameters = [getattr(module, name) for module, name in evolvable(network)]
    if not parameters:
        raise UserError(
            "this network has no weights to evolve: give it an output layer, further layers, or a cell that "
            "learns."
        )
    return torch.cat([p.detach().flatten() for p in parameters]).double().cpu().numpy()


def write(network: RecurrentNetwork, row: npt.ArrayLike) -> None:
    """Give the network the weights of a genome [D]."""
    with torch.no_grad():
        for module, name, weights in _stacked(network, np.asarray(row)[None]):
            getattr(module, name).copy_(torch.from_numpy(weights[0]))


class Population:
    """P networks with E rows each, at the start of their episodes."""

    def __init__(self, network: RecurrentNetwork, genomes: npt.ArrayLike, rows: int) -> None:
        self.members, self.rows = len(np.asarray(genomes)), rows
        self.network = network
        plan = plan_of(network)
        self.step = _by_torch(network, genomes) if plan is None else _by_kernels(network, plan, genomes)
        self.x = np.zeros((self.members, rows, network.sensors.output_size), np.float32)
        self.state = np.zeros((self.members, rows, network.state_sizes[0]), np.float32)
        self.flat = self.x.reshape(self.members * rows, -1)  # the same numbers, row by row
        self.read = network.sensors.reader()
        self.choose = network.actuators.choose

    def act(self, observation: Any, playing: npt.NDArray[np.intp], members: npt.NDArray[np.intp]) -> Array:
        """The most likely actions, ready for the game, of the rows still playing: [n, ...] -> [n, ...].

        A row is ``member * E + episode``; ``members`` are those that have such rows. ``playing`` is in order;
        rows may be left out of it from one call to the next, but never come back.
        """
        all_rows = len(playing) == len(self.flat)
        self.flat[slice(None) if all_rows else playing] = self.read(observation)
        numbers = self.step(members, self.x, self.state).reshape(len(self.flat), -1)
        return self.choose(numbers if all_rows else numbers.take(playing, axis=0))


def plan_of(network: RecurrentNetwork) -> Plan | None:
    """The actor's plan, if compiled kernels can run all of it."""
    actor_plan = plan(network.actor)
    return actor_plan if actor_plan is not None and program.runs(actor_plan) else None


def program_of(network: RecurrentNetwork, plan: Plan, genomes: npt.ArrayLike) -> Program:
    """The table of all members' actors."""
    from rlrnn.cells.kernels.stepping import FEATURES, OUTPUTS

    tables = {getattr(module, name): weights for module, name, weights in _stacked(network, genomes)}
    writer = program.Writer(network.state_sizes[0], tables)
    writer.chain(plan.layers, FEATURES, OUTPUTS)
    return writer.program()


def _by_kernels(network: RecurrentNetwork, plan: Plan, genomes: npt.ArrayLike) -> Step:
    from rlrnn.cells.kernels import stepping  # late, as numba takes a while to load

    made = program_of(network, plan, genomes)
    units = plan.output.weight.shape[1]

    def step(members: Array, x: Array, state: Array) -> Array:
        outputs = np.zeros((*x.shape[:2], units), np.float32)
        stepping.step_members(made.layers, made.inner, made.room, members, x, state, outputs)
        return outputs

    return step


def _by_torch(network: RecurrentNetwork, genomes: npt.ArrayLike) -> Step:
    """Blocks of as many members, each in the same place of its block whichever others there are."""
    rows = np.asarray(genomes)
    spare = -len(rows) % BLOCK
    rows = np.concatenate((rows, np.repeat(rows[-1:], spare, axis=0)))
    blocks = []
    for first in range(0, len(rows), BLOCK):
        block = copy.deepcopy(network).eval()
        for module, name, weights in _stacked(block, rows[first : first + BLOCK]):
            module._parameters[name] = nn.Parameter(torch.from_numpy(weights), requires_grad=False)
        blocks.append(block)
    width = network.actuators.output.weight.shape[-1]

    @torch.no_grad()
    def step(members: Array, x: Array, state: Array) -> Array:
        numbers = np.zeros((len(rows), x.shape[1], width), np.float32)
        for number in np.unique(members // BLOCK).tolist():
            part = slice(number * BLOCK, (number + 1) * BLOCK)
            block = blocks[number]
            y, after = block.memory.step(_padded(x[part]), None, _padded(state[part]))
            numbers[part] = block.actor.read(y).numpy()
            state[part] = after.numpy()[: len(state[part])]
        return numbers[: len(x)]

    return step


def _padded(part: Array) -> Tensor:
    """Rows of a whole block, with zeros where there are no members."""
    block = np.zeros((BLOCK, *part.shape[1:]), part.dtype)
    block[: len(part)] = part
    return torch.from_numpy(block)


def _stacked(network: RecurrentNetwork, genomes: npt.ArrayLike) -> Iterator[tuple[nn.Module, str, Array]]:
    """(module, name, weights [P, ...] float32) of every evolvable parameter, cut from genomes [P, D]."""
    rows = np.asarray(genomes)
    parts = [(module, name, getattr(module, name)) for module, name in evolvable(network)]
    ends = np.cumsum([parameter.numel() for *_, parameter in parts])
    if rows.ndim != 2 or rows.shape[1] != ends[-1]:
        raise UserError(f"genomes of shape {rows.shape} do not fit: this network has {ends[-1]} weights.")
    for (module, name, parameter), end in zip(parts, ends.tolist(), strict=True):
        columns = rows[:, end - parameter.numel() : end].astype(np.float32, order="C")
        yield module, name, columns.reshape(len(rows), *parameter.shape)
