"""The law of a cell's compiled kernels: they equal its own two functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from rlrnn.cells.gated import GatedCell
from rlrnn.network import acting, population
from rlrnn.network.network import NetworkDescription, RecurrentNetwork
from rlrnn.network.paths import gated, loop
from rlrnn.testing.cell_part import RESETS, CellPart, new_state
from rlrnn.testing.failing import fail
from rlrnn.testing.rounding import bound

STEPS = 6
MANY = 33  # rows: several blocks, which do not come out even

Unroll = Callable[[Any, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def kernels(part: CellPart) -> None:
    """Rows there and back, in both precisions, and single steps of one network and of many."""
    for dtype in (torch.float64, torch.float32):
        cell = part.make(dtype)
        if not isinstance(cell, GatedCell) or not gated.fits(cell, part.inputs(1, 1, dtype=dtype)):
            return  # it has none, or nothing here can run them
        for rows in (1, 3, MANY):
            _check_rows(part, cell, rows, dtype)
    if cell.plain:
        _check_steps(part)


def _check_rows(part: CellPart, cell: GatedCell, rows: int, dtype: torch.dtype) -> None:
    x, start = part.inputs(STEPS, rows, dtype=dtype), RESETS["often"](STEPS, rows)
    state = new_state(cell, rows, like=x)
    weights = torch.randn(STEPS, rows, cell.output_size, dtype=dtype), torch.randn_like(state)

    def results(unroll: Unroll) -> dict[str, Tensor]:
        leaves = {"inputs": x.clone().requires_grad_(), "first state": state.clone().requires_grad_()}
        leaves |= dict(cell.named_parameters())
        y, last = unroll(cell, leaves["inputs"], start, leaves["first state"])
        total = (y * weights[0]).sum() + (last * weights[1]).sum()
        gradients = torch.autograd.grad(
            total, list(leaves.values()), allow_unused=True, materialize_grads=True
        )
        named = zip(leaves, gradients, strict=True)
        return {"outputs": y, "last state": last} | {f"gradient by {name}": each for name, each in named}

    found, wanted = results(gated.unroll), results(loop.unroll)
    limit = 10 * bound(dtype, STEPS, rows, cell.output_size)  # there and back, through every weight
    where = f"of {rows} rows in {str(dtype).removeprefix('torch.')}"
    for what, values in wanted.items():
        _compare(part, f"{what} {where}", found[what], values, limit)


def _check_steps(part: CellPart) -> None:
    description = NetworkDescription(
        part.name,
        part.hidden_size,
        cell_options=part.options,
        critic="shared",
        actor_widths=(),
        critic_widths=(),
    )
    network = RecurrentNetwork(description, spaces.Box(-9.0, 9.0, (part.input_size,)), spaces.Discrete(2))
    limit = 10 * bound(torch.float32, 1, MANY, part.hidden_size)
    x, start = part.inputs(MANY, dtype=torch.float32), RESETS["often"](1, MANY)[0]
    state = new_state(network.memory.layers[0], MANY, like=x)  # type: ignore[arg-type]
    if acting.plans_of(network) is not None:
        with torch.no_grad():
            ways = acting.acting, acting.by_torch
            found, wanted = (way(network, torch.Generator().manual_seed(0))(x, start, state) for way in ways)
        for index, what in ((2, "value"), (3, "state")):
            _compare(part, f"{what} after a step at play", found[index], wanted[index], limit)
    if population.plan_of(network) is not None:
        genomes = np.stack([population.genome(network) + 0.1 * k for k in range(3)])
        ours, theirs = (population.Population(network, genomes, 2) for _ in range(2))
        theirs.step = population._by_torch(network, genomes)
        seen = part.inputs(3, 2, dtype=torch.float32).numpy()
        for _ in range(2):
            steps = (each.step(np.arange(3), seen.copy(), each.state) for each in (ours, theirs))
            a, b = map(torch.as_tensor, steps)
            _compare(part, "outputs of a population", a, b, limit)
        a, b = torch.as_tensor(ours.state), torch.as_tensor(theirs.state)
        _compare(part, "state of a population", a, b, limit)


def _compare(part: CellPart, what: str, found: Tensor, wanted: Tensor, limit: float) -> None:
    greatest = max(1.0, float(wanted.detach().abs().max()))
    apart = float((found.detach() - wanted.detach()).abs().max())
    if not apart <= limit * greatest:
        fail(
            f"the kernels of {part} are {apart:.3g} apart from its project and step in the {what}: "
            f"at most {limit * greatest:.3g} is rounding."
        )


LAWS = {"kernels": kernels}
