"""Laws of one step: sizes, purity, and that rows and steps are independent."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import Tensor

from rlrnn.testing.cell_part import CellPart, new_state
from rlrnn.testing.failing import fail


def options(part: CellPart) -> None:
    """Each option has a name, so that a misspelt one is refused with the names of those there are."""
    kind = type(part.make())
    for parameter in inspect.signature(kind).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            fail(
                f"the constructor of {part} takes **{parameter.name}, so that a misspelt option is accepted: "
                "list the options by name, with their defaults."
            )
        if parameter.kind is parameter.VAR_POSITIONAL:
            fail(
                f"the constructor of {part} takes *{parameter.name}, but options are given by name: list "
                "them after (input_size, hidden_size, *)."
            )


def sizes(part: CellPart) -> None:
    """Its sizes are right: input_size, output_size, state_size, and the parts of the state."""
    cell = part.make()
    for name, least in (("input_size", 1), ("output_size", 1), ("state_size", 0)):
        value: Any = getattr(cell, name)
        if type(value) is not int or value < least:
            fail(
                f"{part} has the {name} {value!r}, but sizes are whole numbers of at least {least}: mend "
                "what it gives to super().__init__(input_size, output_size, state_size)."
            )
    if cell.input_size != part.input_size:
        fail(
            f"{part} has input_size {cell.input_size}, but was made for {part.input_size} inputs: give "
            "super().__init__ the input_size of the argument."
        )
    if cell.parts and cell.state_size != len(cell.parts) * cell.output_size:
        fail(
            f"{part} has a state of {cell.state_size} numbers, but its parts {cell.parts} of "
            f"{cell.output_size} units each make {len(cell.parts) * cell.output_size}: name all equal "
            "parts of the state in parts, or say parts = () where it is not made of units."
        )


def weights(part: CellPart) -> None:
    """Initial weights are finite numbers that torch's seed decides."""
    state = torch.get_rng_state()
    one = part.make()
    torch.set_rng_state(state)
    other = part.make()
    for name, value in one.state_dict().items():
        if not torch.isfinite(value).all():
            fail(f"the weight {name} of {part} is initialised with {_odd(value)}: use finite numbers.")
        if not torch.equal(value, other.state_dict()[name]):
            fail(
                f"the weight {name} of {part} differs between two that were made after the same "
                "torch.manual_seed: sample initial weights with torch alone, which runs seed."
            )


def shapes(part: CellPart) -> None:
    """Outputs, state and what is projected have their shapes for any batch, in the inputs' type."""
    for dtype in (torch.float32, torch.float64):
        cell = part.make(dtype)
        for rows in (1, 2, 7):
            x = part.inputs(rows, dtype=dtype)
            for value in (part.project(cell, x), part.project(cell, x.repeat(3, 1, 1))):
                if not isinstance(value, Tensor) or value.shape[-2:-1] != (rows,) or value.dtype != dtype:
                    fail(
                        f"project of {part} gives {_shape(value)} for {rows} rows of {dtype}: it keeps all "
                        "axes but the last, [..., B, I] -> [..., B, G], and the type."
                    )
            y, last = part.step(cell, x, new_state(cell, rows, like=x))
            for what, value, size in (("output", y, cell.output_size), ("state", last, cell.state_size)):
                if not isinstance(value, Tensor) or value.shape != (rows, size) or value.dtype != dtype:
                    fail(
                        f"the step of {part} makes {what} {_shape(value)} for {rows} rows, but its "
                        f"{what}_size means {(rows, size)} of {dtype}: compute with tensors of the inputs' "
                        "type (x.new_zeros), and give the sizes to super().__init__."
                    )


def numbers(part: CellPart) -> None:
    """From an empty state, ordinary inputs lead to finite numbers, however many there are."""
    cell = part.make()
    with torch.no_grad():
        y, state = part.play(cell, part.inputs(200, 3), torch.zeros(3, cell.state_size, dtype=torch.float64))
    for what, values in (("output", y), ("state", state)):
        if not torch.isfinite(values).all():
            fail(
                f"the {what} of {part} is {_odd(values)} after 200 steps of normal inputs: bound it, for "
                "instance by tanh, or let the state fade."
            )


def purity(part: CellPart) -> None:
    """Project and step change neither what they are given nor the cell."""
    cell = part.make()
    x = part.inputs(4)
    given = {"inputs": x, "projected": part.project(cell, x).detach(), "state": new_state(cell, 4, like=x)}
    before = {name: value.clone() for name, value in given.items()}
    known = copy.deepcopy(cell.state_dict())
    part.project(cell, x)
    with torch.no_grad():
        cell.step(given["projected"], given["state"])
    for name, value in given.items():
        if not torch.equal(value, before[name]):
            fail(
                f"{part} changes its {name} in place, of which the network keeps no copy: compute a new "
                "tensor, state = state * keep and not state *= keep."
            )
    for name, value in cell.state_dict().items():
        if not torch.equal(value, known[name]):
            fail(
                f"a step of {part} changes its own {name}: a cell is a function of its parameters, so what "
                "is remembered belongs in the state."
            )


def repeats(part: CellPart) -> None:
    """The same inputs and state give the same bytes, whatever was computed between, training or not."""
    cell = part.make()
    x, state = part.inputs(4), torch.randn(4, cell.state_size, dtype=torch.float64)
    with torch.no_grad():
        first = part.step(cell, x, state)
        part.step(cell, part.inputs(4), state + 1.0)
        again = part.step(cell, x, state)
        acting = part.step(cell.eval(), x, state)
    for one, other in zip(first, again, strict=True):
        if not torch.equal(one, other):
            fail(
                f"{part} gives another result for the same inputs and state the second time, "
                f"{_gap(one, other)} apart: draw no random numbers in a step and keep nothing on self, as "
                "what is remembered belongs in the state."
            )
    for one, other in zip(first, acting, strict=True):
        if not torch.equal(one, other):
            fail(
                f"{part} gives another result after .eval() than in training, {_gap(one, other)} apart: an "
                "update must compute what was played, so leave out dropout and statistics of the batch."
            )


def rows(part: CellPart) -> None:
    """Each environment's row depends on itself alone, and a batch equals its rows one by one."""
    cell = part.make()
    x = part.inputs(5, 4).requires_grad_()
    state = new_state(cell, 4, like=x).requires_grad_()
    y, last = part.play(cell, x, state)
    for gradient in _gradients((y[:, 0].sum() + last[0].sum()), (x, state)):
        others = gradient[..., 1:, :]
        if torch.count_nonzero(others):
            fail(
                f"row 0 of {part} depends on other rows, by a gradient of up to {others.abs().max():.3g}: "
                "these are other environments, so compute row by row, with no mean or norm over the batch."
            )
    for row in range(4):
        alone, _ = part.play(cell, x[:, row : row + 1], state[row : row + 1])
        apart = part.apart(alone, y[:, row : row + 1])
        if apart:
            fail(
                f"row {row} of {part} is {apart:.3g} apart from what a batch of that row alone gives: "
                "compute each row in the same way, however many there are."
            )


def moments(part: CellPart) -> None:
    """Project reads one step at a time."""
    cell = part.make()
    x = part.inputs(6, 4)
    apart = part.apart(part.project(cell, x), torch.stack([part.project(cell, row) for row in x]))
    if apart:
        fail(
            f"project of {part}, given a sequence, is {apart:.3g} apart from project of its steps: it reads "
            "one step at a time, and what joins several belongs in step, by the state."
        )


def _gradients(value: Tensor, leaves: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    if not value.requires_grad:
        return tuple(torch.zeros_like(leaf) for leaf in leaves)
    return torch.autograd.grad(value, leaves, materialize_grads=True)


def _gap(one: Tensor, other: Tensor) -> str:
    return f"{float((one - other).abs().max()):.3g}"


def _odd(values: Tensor) -> float:
    return float(values[~torch.isfinite(values)].flatten()[0])


def _shape(value: Any) -> str:
    return f"{tuple(value.shape)} of {value.dtype}" if isinstance(value, Tensor) else type(value).__name__


LAWS = {
    law.__name__: law for law in (options, sizes, weights, shapes, numbers, purity, repeats, rows, moments)
}
