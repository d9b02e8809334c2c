"""Laws of a sequence: steps equal the unrolled one, resets separate episodes, members equal a population."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from rlrnn.cells import Cell
from rlrnn.network.memory import Memory
from rlrnn.network.paths import loop, scan
from rlrnn.network.paths.loop import clear
from rlrnn.testing.cell_part import RESETS, CellPart
from rlrnn.testing.failing import fail, running

BORDER, STEPS, ROWS = 4, 7, 3  # the step of a reset in sequences of so many steps
PATHS = ("unroll", "outputs")


def unrolls(part: CellPart) -> None:
    """Steps repeated equal the unrolled row, for any batch and any resets, in one layer and in several."""
    for n_layers in (1, 2, 3):
        memory = part.memory(n_layers)
        for steps, rows in ((1, 1), (1, 4), (6, 1), (9, 3)):
            for where, begins in RESETS.items():
                start, x = begins(steps, rows), part.inputs(steps, rows)
                state = first = torch.randn(rows, memory.state_size, dtype=x.dtype)
                outputs = []
                for t in range(steps):
                    y, state = memory.step(x[t], start[t], state)
                    outputs.append(y)
                y, last = memory.unroll(x, start, first)
                apart = part.apart(y, torch.stack(outputs)) or part.apart(last, state)
                apart = apart or part.apart(memory.outputs(x, start, first), y)
                if apart:
                    fail(
                        f"{steps} steps of {part} in {n_layers} layers are {apart:.3g} apart from the "
                        f"unrolled row of {rows} environments with resets {where}: each step is computed "
                        "by itself, what it remembers stands in the state, and ready() works out what the "
                        "weights alone decide."
                    )


def paths(part: CellPart) -> None:
    """The fast ways over a row equal the loop of the specification, in outputs and in every gradient."""
    memory = part.memory()
    cell = memory.layers[0]
    assert isinstance(cell, Cell)
    for where, begins in RESETS.items():
        start, x = begins(9, ROWS), part.inputs(9, ROWS).requires_grad_()
        state = torch.randn(ROWS, cell.state_size, dtype=x.dtype).requires_grad_()
        leaves = {"inputs": x, "state": state, **dict(cell.named_parameters())}
        slow, found = loop.unroll(cell, x, start, state)[0], memory.outputs(x, start, state)
        weights = torch.randn_like(slow)
        both = [_slopes(y, weights, list(leaves.values())) for y in (found, slow)]
        for name, one, other in zip(("outputs", *leaves), (found, *both[0]), (slow, *both[1]), strict=True):
            apart = part.apart(one, other)
            if apart:
                fail(
                    f"{part} over a whole row is {apart:.3g} apart from its loop in the {_of(name)}, with "
                    f"resets {where}: what computes rows (coefficients and read of a LinearCell) must "
                    "compute each step by itself, and detach nothing."
                )


def episodes(part: CellPart) -> None:
    """A row with resets equals its episodes played apart, each from an empty memory."""
    memory = part.memory(2)
    x, first = part.inputs(10, 1), torch.randn(1, memory.state_size, dtype=torch.float64)
    start, never = torch.zeros(2, 10, 1, dtype=torch.bool)
    start[[3, 4, 8]] = True
    parts, state = [], first
    for begin, end in ((0, 3), (3, 4), (4, 8), (8, 10)):
        parts.append(memory.unroll(x[begin:end], never[begin:end], state)[0])
        state = torch.zeros_like(first)
    apart = part.apart(memory.unroll(x, start, first)[0], torch.cat(parts))
    if apart:
        fail(
            f"a row of {part} is {apart:.3g} apart from its episodes played one by one: a reset clears the "
            "state to zeros, so nothing that is remembered may stand anywhere else."
        )


def resets(part: CellPart) -> None:
    """No NaN and no gradient crosses a reset, exactly; without it, outputs depend on what came before."""
    for n_layers in (1, 2):
        memory = part.memory(n_layers)
        for path in PATHS:
            x = part.inputs(STEPS, ROWS).requires_grad_()
            first = torch.randn(ROWS, memory.state_size, dtype=x.dtype).requires_grad_()
            start = torch.zeros(STEPS, ROWS, dtype=torch.bool)
            by_x, by_state = _slopes(_after(memory, path, x, start, first), None, [x, first])
            if not torch.count_nonzero(by_x[BORDER:]):
                fail(f"no output of {part} depends on its inputs: let project and step read them.")
            if memory.state_size and not (
                torch.count_nonzero(by_x[:BORDER]) or torch.count_nonzero(by_state)
            ):
                fail(
                    f"{part} has a state of {memory.state_size} numbers, but no output depends on what "
                    "came before: let step read the state, or say state_size 0."
                )
            start[BORDER] = True
            _check_reset(part, memory, path, x, start, first)


def _check_reset(part: CellPart, memory: Memory, path: str, x: Tensor, start: Tensor, first: Tensor) -> None:
    y = _after(memory, path, x, start, first)
    for what, slope in zip(("inputs", "state"), _slopes(y, None, [x, first]), strict=True):
        before = slope[:BORDER] if what == "inputs" else slope
        if torch.count_nonzero(before):
            fail(
                f"the gradient of {part} crosses a reset: by the {what} before it, what comes after "
                f"changes by up to {before.abs().max():.3g}, where exactly 0 is right; read nothing but "
                "projected inputs and state in a step, and only its own step in project."
            )
    broken = x.detach().clone()
    broken[:BORDER] = torch.nan
    with torch.no_grad():
        after = _after(memory, path, broken, start, torch.full_like(first, torch.nan))
    if not torch.equal(after, y):
        fail(
            f"NaN before a reset changes the outputs of {part} after it, "
            f"{'to NaN' if after.isnan().any() else 'to other numbers'}: keep nothing outside of the state, "
            "which the reset clears."
        )


def populations(part: CellPart) -> None:
    """Parameters with a leading population axis give what the members give one by one."""
    members = [part.make() for _ in range(3)]
    for member in members:  # fixed numbers are common to all members
        member.load_state_dict(dict(members[0].named_buffers()), strict=False)
    joint = copy.deepcopy(members[0])
    for name, parameter in joint.named_parameters():
        parameter.data = torch.stack([member.get_parameter(name).data for member in members])
    x = part.inputs(STEPS, 3, ROWS)  # [T, P, B, I]
    start = torch.rand(STEPS, 3, ROWS) < 0.3
    state = torch.randn(3, ROWS, joint.state_size, dtype=x.dtype)
    with running(f"a population of three of {part}, with weights [P, ...] and inputs [T, P, B, I],"):
        whole = _both(joint, x, start, state)
        one, _ = joint.step(joint.project(x[0]), clear(state, start[0]))
    gaps = [part.apart(one, whole[0][0])]
    for p, member in enumerate(members):
        alone = _both(member, x[:, p], start[:, p], state[p])
        gaps += [part.apart(whole[0][:, p], alone[0]), part.apart(whole[1][p], alone[1])]
        gaps += [part.apart(whole[2][:, p], alone[2])]
    if any(gaps):
        fail(
            f"a population of {part} is {max(gaps, key=abs):.3g} apart from its members one by one: count "
            "axes from the last (dim=-1), keep weights in row form and multiply by rlrnn.cells.cell's "
            "affine and add_product, which know the axis of members."
        )


def _both(cell: Cell, x: Tensor, start: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs and last state by the loop, and outputs by a scan where that is a way."""
    y, last = loop.unroll(cell, x, start, state)
    return y, last, scan.unroll(cell, x, start, state)[0] if scan.fits(cell, x) else y


def _after(memory: Memory, path: str, x: Tensor, start: Tensor, state: Tensor) -> Tensor:
    """The outputs from the border on."""
    y = memory.outputs(x, start, state) if path == "outputs" else memory.unroll(x, start, state)[0]
    return y[BORDER:]


def _slopes(y: Tensor, weights: Tensor | None, leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Gradients of a weighted sum of all outputs; zeros where there is no way to a leaf."""
    if not y.requires_grad:
        return tuple(torch.zeros_like(leaf) for leaf in leaves)
    if weights is None:
        weights = torch.arange(1.0, y.numel() + 1, dtype=y.dtype).view_as(y)
    return torch.autograd.grad((y * weights).sum(), leaves, retain_graph=True, materialize_grads=True)


def _of(name: str) -> str:
    return name if name == "outputs" else f"gradient by its {name}"


LAWS = {law.__name__: law for law in (unrolls, paths, episodes, resets)}
