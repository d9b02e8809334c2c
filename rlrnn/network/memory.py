"""Layers of memory: each run over time by the fastest path that fits, or by the loop.

Letters: T time, B environments, I inputs, H outputs, S state.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from rlrnn.cells import Cell, make_cell
from rlrnn.cells.options import check_options
from rlrnn.common.settings import check_number, check_whole, takes_plain
from rlrnn.network import paths
from rlrnn.network.paths.loop import clear

MOST_LAYERS = 1000


class Memory(nn.Module):
    """Layers of one kind of cell, each fed by the one below; dropout between layers while training.

    ``residual``: each layer but the first adds its input (before dropout) to its output.
    The state [B, S] of the whole is the layers' states side by side.
    """

    @takes_plain
    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        n_layers: int = 1,
        /,
        *,
        dropout: float = 0.0,
        residual: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        settings = {"cell": cell, "hidden_size": hidden_size, "n_layers": n_layers}
        settings |= {"dropout": dropout, "residual": residual}
        check_options("a memory", Memory.__init__, settings)
        check_whole("n_layers", n_layers, 1, MOST_LAYERS)
        check_whole("hidden_size", hidden_size, 1)
        check_number("dropout", dropout, 0, 1, "[)")
        layers: list[Cell] = []
        size = input_size
        for _ in range(n_layers):
            layers.append(make_cell(cell, size, hidden_size, **options))
            size = layers[-1].output_size
        self.layers = nn.ModuleList(layers)
        self.cell_name = cell
        self.output_size = size
        self.state_sizes = [layer.state_size for layer in layers]
        self.state_size = sum(self.state_sizes)
        self.dropout = dropout
        self.residual = residual

    @property
    def chain(self) -> bool:
        """Whether the one below is each layer's only input, as paths over whole networks assume."""
        return not self.residual or len(self.layers) == 1

    def step(self, x: Tensor, start: Tensor | None, state: Tensor) -> tuple[Tensor, Tensor]:
        """One step: x [..., B, I], start [..., B] bool (None: nowhere), state -> y [..., B, H], state."""
        if start is not None:
            state = clear(state, start)
        states: list[Tensor] = []
        for layer, own in self._layers_and_states(state):
            y, own = layer.step(layer.project(self._drop(x, bool(states))), own)
            x = self._add(x, y, bool(states))
            states.append(own)
        return x, states[0] if len(states) == 1 else torch.cat(states, dim=-1)

    def unroll(self, x: Tensor, start: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """All steps: x [T, B, I], start [T, B] bool, state [B, S] -> y [T, B, H], last state [B, S]."""
        states: list[Tensor] = []
        for layer, own in self._layers_and_states(state):
            layer_input = self._drop(x, bool(states))
            y, own = paths.unroll(layer, layer_input, start, own)
            x = self._add(x, y, bool(states))
            states.append(own)
        return x, torch.cat(states, dim=-1)

    def outputs(self, x: Tensor, start: Tensor, state: Tensor) -> Tensor:
        """The outputs of ``unroll`` alone, which is all that an update needs, by the fastest path."""
        for index, (layer, own) in enumerate(self._layers_and_states(state)):
            layer_input = self._drop(x, index > 0)
            if layer.state_size == 0:  # no memory, no time: all steps at once
                y = layer.step(layer.project(layer_input), own.expand(*layer_input.shape[:-1], 0))[0]
            else:
                y = paths.outputs(layer, layer_input, start, own)
            x = self._add(x, y, index > 0)
        return x

    def _layers_and_states(self, state: Tensor) -> Iterator[tuple[Cell, Tensor]]:
        layers = cast("list[Cell]", self.layers)
        return zip(layers, state.split(self.state_sizes, dim=-1), strict=True)

    def _drop(self, x: Tensor, between: bool) -> Tensor:
        if between and self.training and self.dropout > 0.0:
            return nn.functional.dropout(x, self.dropout)
        return x

    def _add(self, x: Tensor, y: Tensor, between: bool) -> Tensor:
        return x + y if self.residual and between and x.shape == y.shape else y
