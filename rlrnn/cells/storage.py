"""Controlled storage: an LSTM's gates around a memory that is any other cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from rlrnn.cells.cell import Cell, Wire, add_product, affine, inverse_root
from rlrnn.cells.registry import CELLS, make_cell
from rlrnn.common.settings import check_whole
from rlrnn.errors import UserError

STORE = "legendre"  # what stores where nothing else is asked for


class Storage(Cell):
    """Hochreiter & Schmidhuber's (1997) memory block, whose carousel is replaced by the cell ``store``.

    v, c = x W + r U + b;  w, g = sigmoid(...)       a controller receives x and the last read r
    m = store(w * tanh(v))                           written through a gate, ``width`` numbers
    r' = g * tanh(m)                                 read through a gate, ``store_size`` numbers
    y = tanh(c + r' V)                               output within the step

    A store that adds up what is written makes r' the output of an LSTM without forget gate. The tanh
    is theirs, for stores without bounds: what is fed back must have some. Without ``feedback`` the
    controller does not receive r, and a store of finite impulse makes the whole one. The columns of W and U:
    v, w, g, c. The state is [the store's | r with ``feedback``]. ``store_options`` are the store's own.
    """

    parts: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,  # learned constants beside the weights
        store: str = STORE,  # what stores: the name of another cell
        width: int | None = None,  # numbers that are written in a step; not given: hidden_size
        store_size: int | None = None,  # numbers that are read in a step; not given: hidden_size
        store_options: Mapping[str, Any] | None = None,  # options of the store
        feedback: bool = True,  # what was read decides what is written and read next
    ) -> None:
        width = hidden_size if width is None else width
        store_size = hidden_size if store_size is None else store_size
        check_whole("width", width, 1)
        check_whole("store_size", store_size, 1)
        memory = make_cell(store, width, store_size, **(store_options or {}))
        if memory.state_size == 0:
            raise UserError(
                f"a storage over {store!r} would store nothing, since that has neither delay nor feedback "
                "with these options (a state of size 0): choose a store that remembers, such as 'legendre'."
            )
        read = memory.output_size
        super().__init__(input_size, hidden_size, memory.state_size + feedback * read)
        self.store, self.feedback = memory, feedback
        self.sizes = (width, width, read, hidden_size)
        self.weight_input = normal(input_size, sum(self.sizes))
        self.weight_feedback = normal(read, sum(self.sizes)) if feedback else None
        self.weight_read = normal(read, hidden_size)
        # v, w, g, c: both gates begin rather open, so that the little that is stored at first is read
        initial = torch.cat(
            [torch.full((n,), b) for n, b in zip(self.sizes, (0.0, 1.0, 1.0, 0.0), strict=True)]
        )
        self.bias = torch.nn.Parameter(initial) if bias else None

    def project(self, x: Tensor) -> Tensor:
        return affine(x, self.weight_input, self.bias)

    def step(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        store_state, read = state.tensor_split((self.store.state_size,), dim=-1)
        if self.weight_feedback is not None:
            projected = add_product(projected, read, self.weight_feedback)
        v, w, g, c = projected.split(self.sizes, dim=-1)
        store_input = torch.sigmoid(w) * torch.tanh(v)
        m, store_state = self.store.step(self.store.project(store_input), store_state)
        read = torch.sigmoid(g) * torch.tanh(m)
        y = torch.tanh(add_product(c, read, self.weight_read))
        return y, torch.cat((store_state, read), dim=-1) if self.feedback else store_state

    @classmethod
    def has_compiled_steps(cls, options: Mapping[str, Any]) -> bool:
        """Those of the store; its own are torch's."""
        kind = CELLS.get(options.get("store", STORE))
        return kind is not None and kind.has_compiled_steps(options.get("store_options") or {})

    def wires(self) -> list[Wire]:
        """The store's blocks are called "store.x", "store.y" and so on; "store.x" is what is written."""
        v, w, g, c = torch.eye(sum(self.sizes)).to(self.weight_read).split(self.sizes, dim=1)
        feedback = [Wire("read", "controller", 1, self.weight_feedback)] if self.feedback else []
        store_wires = [
            Wire(f"store.{wire.source}", f"store.{wire.target}", wire.delay, wire.strength)
            for wire in self.store.wires()
        ]
        return [
            Wire("x", "controller", 0, self.weight_input),
            *feedback,
            Wire("controller", "store.x", 0, v + w),
            *store_wires,
            Wire("controller", "read", 0, g),
            Wire("store.y", "read", 0, torch.eye(self.sizes[2]).to(g)),
            Wire("controller", "y", 0, c),
            Wire("read", "y", 0, self.weight_read),
        ]


def normal(inputs: int, units: int) -> torch.nn.Parameter:
    """Initial weights [I, U] ~ N(0, 1 / I)."""
    return torch.nn.Parameter(torch.randn(inputs, units) * inverse_root(inputs))
