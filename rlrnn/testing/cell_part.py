"""A recurrent cell under test: its name, its sizes, and how to make one; what the laws have in common.

Letters: T time, B environments, I inputs, H outputs, S state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rlrnn.cells import Cell, make_cell
from rlrnn.network.memory import Memory
from rlrnn.testing.failing import running

ORDINARY = 20.0  # size up to which numbers are compared as they are, and beyond by their share
RESETS: dict[str, Callable[[int, int], Tensor]] = {  # start [T, B]
    "nowhere": lambda t, b: torch.zeros(t, b, dtype=torch.bool),
    "everywhere": lambda t, b: torch.ones(t, b, dtype=torch.bool),
    "first step": lambda t, b: torch.arange(t).eq(0).unsqueeze(1).expand(t, b),
    "last step": lambda t, b: torch.arange(t).eq(t - 1).unsqueeze(1).expand(t, b),
    "consecutive": lambda t, b: (torch.arange(t) // 2 % 2).bool().unsqueeze(1).expand(t, b),
    "one row only": lambda t, b: (torch.arange(t).unsqueeze(1) % 3 == 1) & (torch.arange(b) == 0),
    "rarely": lambda t, b: torch.rand(t, b) < 0.1,
    "often": lambda t, b: torch.rand(t, b) < 0.6,
}


@dataclass(frozen=True)
class CellPart:
    """What ``check_cell`` was given."""

    name: str  # in the registry
    input_size: int
    hidden_size: int
    options: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-9  # of float64 numbers that were computed in two ways

    def __str__(self) -> str:
        return f"the {self.name} cell"

    def make(self, dtype: torch.dtype = torch.float64) -> Cell:
        """A new one."""
        with running(f"the constructor of {self}"):
            return make_cell(self.name, self.input_size, self.hidden_size, **self.options).to(dtype)

    def memory(self, n_layers: int = 1) -> Memory:
        """Layers of it, in float64."""
        with running(f"the constructor of {self}"):
            memory = Memory(self.name, self.input_size, self.hidden_size, n_layers, **self.options)
        return memory.double()

    def inputs(self, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Normal numbers [*shape, I]."""
        return torch.randn(*shape, self.input_size, dtype=dtype)

    def project(self, cell: Cell, x: Tensor) -> Tensor:
        """``cell.project``, with errors as one sentence."""
        with running(f"project of {self}, given {_shape(x)},"):
            return cell.project(x)

    def step(self, cell: Cell, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Project and step, with errors as one sentence."""
        projected = self.project(cell, x)
        with running(f"the step of {self}, given a state {_shape(state)},"):
            return cell.step(projected, state)

    def play(self, cell: Cell, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Step by step, never reset: x [T, B, I], state [B, S] -> y [T, B, H], last state."""
        outputs = []
        for row in x:
            y, state = self.step(cell, row, state)
            outputs.append(y)
        return torch.stack(outputs), state

    def apart(self, found: Tensor, wanted: Tensor) -> float:
        """How far two ways of computing the same are apart, 0 where by rounding alone."""
        found, wanted = found.detach(), wanted.detach()
        if found.shape != wanted.shape or not torch.equal(found.isnan(), wanted.isnan()):
            return float("nan")
        numbers = wanted.isfinite()
        if not numbers.any():
            return 0.0
        error = float((found[numbers] - wanted[numbers]).abs().max())
        greatest = float(wanted[numbers].abs().max())
        return 0.0 if error <= self.tolerance * max(1.0, greatest / ORDINARY) else error


def new_state(cell: Cell, *shape: int, like: Tensor) -> Tensor:
    """Normal numbers [*shape, S], as the inputs are."""
    return torch.randn(*shape, cell.state_size, dtype=like.dtype)


def _shape(values: Tensor) -> str:
    return f"{tuple(values.shape)} of {str(values.dtype).removeprefix('torch.')}"
