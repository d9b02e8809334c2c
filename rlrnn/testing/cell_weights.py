"""Laws of the weights: gradients are right, all are used, a saved cell is complete, wires are right."""

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
                continue  # unused inputs are another law's
            fail(
                f"the weight {name} of {part} affects neither its outputs nor its state: use it, or keep it "
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
        computed, measured = float((slope * way).sum()), (sides[0] - sides[1]) / (2 * NUDGE)
        if not abs(computed - measured) <= SAME * max(1.0, abs(measured)):
            fail(
                f"the gradient of {part} by its {name} is {computed:.6g} by autograd, but {measured:.6g} by "
                "finite differences: mend its backward, and leave out detach(), .data and no_grad within a "
                'step (a surrogate gradient is wanted so: skip=["gradients"]).'
            )


def saving(part: CellPart) -> None:
    """Another one with the saved weights, and a copy, give the same bytes; changed weights take effect."""
    cell, other = part.make(), part.make()
    x, state = part.inputs(5, 3), torch.randn(3, cell.state_size, dtype=torch.float64)
    with running(f"saving {part}"):
        kept = load(save({name: value.contiguous() for name, value in cell.state_dict().items()}))
        other.load_state_dict(kept)
        twin = copy.deepcopy(cell)
    with torch.no_grad():
        wanted = part.play(cell, x, state)[0]
        _ready(part, cell, x, state)  # what a cell caches now must not be used later
        if not torch.equal(part.play(other, x, state)[0], wanted):
            fail(
                f"{part}, made anew and given the saved weights, gives other outputs: what it samples in its "
                "constructor must be a parameter or a buffer (register_buffer), which are saved."
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
                f"{part} ignores that its weights have changed: compute anew at every call what "
                "depends on them, in project, step and ready."
            )


def wires(part: CellPart) -> None:
    """The impulse response of ``wires`` is the measured one, and its strengths fit its blocks."""
    cell = part.make()
    if type(cell).wires is Cell.wires:
        return
    with running(f"wires of {part}"):
        wired = cell.wires()
        response = impulse_response(cell)
    _check_strengths(part, cell, wired)
    steps = response.steps
    most = cell.state_size + 1  # steps that a state without cycles remembers, each number for one
    effects = _effects(part, cell, (steps or most) + 5)
    if steps is None and not any(effects[most:]):
        last = max((t for t, one in enumerate(effects) if one), default=-1)
        fail(
            f"wires of {part} give an infinite impulse response ({response.path}), but an input has "
            f"effects for {last + 1} steps: leave out the wires of that cycle, or mend the step."
        )
    if steps is not None and (any(effects[steps:]) or not effects[steps - 1]):
        last = max((t for t, one in enumerate(effects) if one), default=-1)
        fail(
            f"wires of {part} give an impulse response of {steps} steps, but an input has effects for "
            f"{last + 1}{' and more' if last + 1 == len(effects) else ''}: give every wire with its "
            "delay in steps."
        )


def _check_strengths(part: CellPart, cell: Cell, wired: list[Wire]) -> None:
    sizes = {"x": cell.input_size, "y": cell.output_size}
    for wire in wired:
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


def _effects(part: CellPart, cell: Cell, steps: int) -> list[bool]:
    """Whether the input at step 0 has any effect on the output, step by step: by exact derivatives."""
    x = part.inputs(steps, 32).requires_grad_()
    state = torch.zeros(32, cell.state_size, dtype=x.dtype)
    weights = torch.randn(cell.output_size, dtype=x.dtype)
    effects = []
    for row in x:
        y, state = part.step(cell, row, state)
        slope = torch.zeros(())
        if y.requires_grad:
            (slope,) = torch.autograd.grad((y @ weights).sum(), x, retain_graph=True, materialize_grads=True)
            slope = slope[0]
        effects.append(bool(torch.count_nonzero(slope)))
    return effects


def _ready(part: CellPart, cell: Cell, x: Tensor, state: Tensor) -> Tensor:
    outputs = []
    with running(f"ready() of {part}"):
        step = cell.ready()
        for row in x:
            y, state = step(cell.project(row), state)
            outputs.append(y)
    return torch.stack(outputs)


LAWS = {law.__name__: law for law in (registration, gradients, saving, wires)}
