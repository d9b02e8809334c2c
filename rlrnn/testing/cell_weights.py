"""Laws of the weights: gradients are true, all of them count, a saved cell is whole, wires are as told."""

from __future__ import annotations

import copy

import torch
from safetensors.torch import load, save
from torch import Tensor

from rlrnn.cells import Cell, cell_named, register_cell
from rlrnn.cells.cell import Wire
from rlrnn.network.impulse import impulse_response
from rlrnn.testing.cell_part import CellPart
from rlrnn.testing.failing import fail, running

NUDGE = 1e-6  # of central differences, where float64 loses to truncation what it wins in rounding
SAME = 1e-5  # share of a slope that differences may miss


def registration(part: CellPart) -> None:
    """Its name makes the class that is registered, and registering that again changes nothing."""
    known, made = cell_named(part.name), type(part.make())
    if made is not known:
        fail(
            f"{part} is a {known.__name__}, but its constructor makes a {made.__name__}: let each class make "
            "itself, as a saved agent is made anew by the class that the name stands for."
        )
    register_cell(part.name, known)


def gradients(part: CellPart) -> None:
    """Every gradient equals finite differences, of inputs, state and each parameter; each has a part."""
    cell = part.make()
    leaves = {"inputs": part.inputs(4, 2), "state": torch.randn(2, cell.state_size, dtype=torch.float64)}
    leaves |= {name: parameter.data for name, parameter in cell.named_parameters()}
    weights = torch.randn(4, 2, cell.output_size, dtype=torch.float64)
    weigh = torch.randn(2, cell.state_size, dtype=torch.float64)

    def value() -> Tensor:
        y, last = part.play(cell, leaves["inputs"], leaves["state"])
        return (y * weights).sum() + (last * weigh).sum()

    roots: dict[str, Tensor] = {name: leaves[name].requires_grad_() for name in ("inputs", "state")}
    roots |= dict(cell.named_parameters())
    slopes: tuple[Tensor | None, ...] = torch.autograd.grad(value(), list(roots.values()), allow_unused=True)
    for (name, root), slope in zip(roots.items(), slopes, strict=True):
        if slope is None:
            if name in ("inputs", "state") or not root.numel():
                continue  # what is not heard is another law's
            fail(
                f"the weight {name} of {part} has no part in what it says or remembers: use it, or keep it "
                "as a buffer or not at all, as every parameter is learned, saved and evolved."
            )
        if not root.numel():
            continue
        way = torch.nn.functional.normalize(torch.randn(root.numel(), dtype=root.dtype), dim=0).view_as(root)
        with torch.no_grad():
            began = root.detach().clone()
            sides = []
            for sign in (1.0, -1.0):
                root.copy_(began + sign * NUDGE * way)
                sides.append(float(value()))
            root.copy_(began)
        told, measured = float((slope * way).sum()), (sides[0] - sides[1]) / (2 * NUDGE)
        if not abs(told - measured) <= SAME * max(1.0, abs(measured)):
            fail(
                f"the gradient of {part} by its {name} is {told:.6g} by autograd, but {measured:.6g} by "
                "finite differences: mend its backward, and leave out detach(), .data and no_grad within a "
                'step (a surrogate gradient is wanted so: skip=["gradients"]).'
            )


def saving(part: CellPart) -> None:
    """Another one with the saved weights, and a copy, give the same bytes; changed weights are heard."""
    cell, other = part.make(), part.make()
    x, state = part.inputs(5, 3), torch.randn(3, cell.state_size, dtype=torch.float64)
    with running(f"saving {part}"):
        kept = load(save({name: value.contiguous() for name, value in cell.state_dict().items()}))
        other.load_state_dict(kept)
        twin = copy.deepcopy(cell)
    with torch.no_grad():
        wanted = part.play(cell, x, state)[0]
        _ready(part, cell, x, state)  # what a cell keeps of now must not be heard later
        if not torch.equal(part.play(other, x, state)[0], wanted):
            fail(
                f"{part}, made anew and given the saved weights, gives other outputs: what it draws when "
                "it is made must be a parameter or a buffer (register_buffer), which are saved."
            )
        if not torch.equal(part.play(twin, x, state)[0], wanted):
            fail(
                f"a copy of {part} gives other outputs: keep what it computes with in parameters and buffers."
            )
        for parameter in twin.parameters():
            parameter.mul_(0.5)
        cell.load_state_dict(twin.state_dict())
        wanted = part.play(twin, x, state)[0]
        if part.apart(part.play(cell, x, state)[0], wanted) or part.apart(
            _ready(part, cell, x, state), wanted
        ):
            fail(
                f"{part} does not hear that its weights have changed: work out anew at every call what "
                "depends on them, in project, step and ready."
            )


def wires(part: CellPart) -> None:
    """What ``wires`` says of the impulse response is what is measured, and its strengths fit its blocks."""
    cell = part.make()
    if type(cell).wires is Cell.wires:
        return
    with running(f"wires of {part}"):
        told = cell.wires()
        response = impulse_response(cell)
    _check_strengths(part, cell, told)
    steps = response.steps
    most = cell.state_size + 1  # steps that a state without circles remembers, each number for one
    felt = _felt(part, cell, (steps or most) + 5)
    if steps is None and not any(felt[most:]):
        last = max((t for t, one in enumerate(felt) if one), default=-1)
        fail(
            f"wires of {part} say that its impulse response is infinite ({response.path}), but what is "
            f"seen once is felt for {last + 1} steps: leave out the wires of that circle, or mend the step."
        )
    if steps is not None and (any(felt[steps:]) or not felt[steps - 1]):
        last = max((t for t, one in enumerate(felt) if one), default=-1)
        fail(
            f"wires of {part} say that its impulse response has {steps} steps, but what is seen once is "
            f"felt for {last + 1}{' and more' if last + 1 == len(felt) else ''}: say every wire with its "
            "delay in steps."
        )


def _check_strengths(part: CellPart, cell: Cell, told: list[Wire]) -> None:
    sizes = {"x": cell.input_size, "y": cell.output_size}
    for wire in told:
        if wire.strength is None:
            continue
        if wire.strength.dim() != 2:
            fail(
                f"the wire {wire.source} -> {wire.target} of {part} has a strength of shape "
                f"{tuple(wire.strength.shape)}: give [source units, target units], or None."
            )
        for block, size in zip((wire.source, wire.target), wire.strength.shape, strict=True):
            if sizes.setdefault(block, size) != size:
                fail(
                    f"the wire {wire.source} -> {wire.target} of {part} has a strength of shape "
                    f"{tuple(wire.strength.shape)}, but {block} has {sizes[block]} units: give "
                    "[source units, target units]."
                )


def _felt(part: CellPart, cell: Cell, steps: int) -> list[bool]:
    """Whether what is seen at step 0 has any effect on the output, step by step: by exact derivatives."""
    x = part.inputs(steps, 32).requires_grad_()
    state = torch.zeros(32, cell.state_size, dtype=x.dtype)
    weights = torch.randn(cell.output_size, dtype=x.dtype)
    felt = []
    for row in x:
        y, state = part.step(cell, row, state)
        slope = torch.zeros(())
        if y.requires_grad:
            (slope,) = torch.autograd.grad((y @ weights).sum(), x, retain_graph=True, materialize_grads=True)
            slope = slope[0]
        felt.append(bool(torch.count_nonzero(slope)))
    return felt


def _ready(part: CellPart, cell: Cell, x: Tensor, state: Tensor) -> Tensor:
    outputs = []
    with running(f"ready() of {part}"):
        step = cell.ready()
        for row in x:
            y, state = step(cell.project(row), state)
            outputs.append(y)
    return torch.stack(outputs)


LAWS = {law.__name__: law for law in (registration, gradients, saving, wires)}
