"""What a kind of memory is: two pure functions of its parameters, and the sizes that they imply."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeGuard, TypeVar

import torch
from torch import Tensor, nn

from rlrnn.common.settings import check_choice
from rlrnn.errors import UserError, place


@dataclass(frozen=True)
class Wire:
    """All connections from one block of units to another, with the same delay.

    "x" are a cell's inputs and "y" its outputs; what else there is, the cell names itself. Within one cell
    each block has one size, and a delay of 0 means within the step.
    """

    source: str
    target: str
    delay: int = 0  # steps
    strength: Tensor | None = None  # [source units, target units], 0 where there is no connection

    def __post_init__(self) -> None:
        assert self.delay >= 0


class Cell(nn.Module, ABC):
    """One layer of memory: ``project`` looks at the input alone, ``step`` joins it with the state.

    Letters: B environments, I inputs, H outputs, S state, G what ``project`` makes of the input.
    Every weight stands in row form, ``x [B, I] @ weight [I, G]``, so that parameters with a leading
    population axis (``[P, I, G]``, biases ``[P, G]``) turn the same two functions into those of a
    whole population: ``x [P, B, I] -> y [P, B, H]``.

    A cell never sees time or episodes: ``loop`` runs it and clears its state.
    """

    parts: ClassVar[tuple[str, ...]] = ("h",)
    """Names of the equal parts, each [B, H], that make up the state; () where it is not made of units."""

    def __init__(self, input_size: int, output_size: int, state_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.output_size = output_size
        self.state_size = state_size

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """What needs no memory, for any number of steps at once: [..., B, I] -> [..., B, G]."""

    @abstractmethod
    def step(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One step: [..., B, G], [..., B, S] -> y [..., B, H], new state [..., B, S]."""

    def ready(self) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """``step``, with what depends on the weights alone worked out: for many steps of one row."""
        return self.step

    @property
    def plain(self) -> bool:
        """Whether no option changes what ``step`` computes: paths written for this kind may then run it."""
        return True

    @classmethod
    def has_compiled_steps(cls, options: Mapping[str, Any]) -> bool:
        """Whether ``step`` itself calls compiled kernels where these are installed, given these options."""
        return False

    def wires(self) -> list[Wire]:
        """The cell as a directed graph: which block is an input of which, after how many steps.

        It decides whether the impulse response is finite, and what is drawn. A cell without one of its own is
        taken for one whose state depends on the inputs and on itself.
        """
        if self.state_size == 0:
            return [Wire("x", "y")]
        return [Wire("x", "state"), Wire("state", "state", 1), Wire("state", "y")]

    def extra_repr(self) -> str:
        return f"{self.input_size} -> {self.output_size}, state {self.state_size}"


@torch.no_grad()
def check_steps(name: str, cell: Cell) -> None:
    """Refuse a user's cell whose step changes the state's shape or type, or gives other outputs than it says.

    A copy of it takes the step, and the random state is restored: the cell and later draws stay as they were.
    """
    try:
        probe = copy.deepcopy(cell).eval()
    except Exception:  # a cell that cannot be copied is not checked
        return
    x, state = torch.zeros(2, cell.input_size), torch.zeros(2, cell.state_size)
    with torch.random.fork_rng(devices=[]):
        try:
            y, after = probe.step(probe.project(x), state)
        except Exception as error:
            raise UserError(
                f"the {name} cell raised {type(error).__name__} in a step of {cell.input_size} inputs, "
                f"{cell.output_size} outputs and a state of {cell.state_size}{place(error)}: {error}."
            ) from error
    for what, got, size in (("state", after, cell.state_size), ("output", y, cell.output_size)):
        if not isinstance(got, Tensor) or got.shape != (2, size) or got.dtype != x.dtype:
            is_ = f"{tuple(got.shape)} of {got.dtype}" if isinstance(got, Tensor) else type(got).__name__
            raise UserError(
                f"the {name} cell's step makes {what} {is_} for 2 environments, but its {what}_size says "
                f"{(2, size)} of {x.dtype}: a step gives (output, state), and the state as it came."
            )


Kind = TypeVar("Kind", bound=Cell)


def exactly(cell: nn.Module, *kinds: type[Kind]) -> TypeGuard[Kind]:
    """Whether a path written for these kinds of cell, and for nothing else, may run this one.

    A class derived from one of them may step otherwise, and so may an option of the cell's own.
    """
    return isinstance(cell, Cell) and type(cell) in kinds and cell.plain


def uniform(bound: float, *shape: int) -> nn.Parameter:
    """A parameter of that shape, uniform in [-bound, bound]."""
    return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))


INITIALISATIONS = ("orthogonal", "torch")


def recurrent_weights(
    init: str, input_size: int, hidden_size: int, gates: int
) -> tuple[nn.Parameter, nn.Parameter]:
    """Initial weights [I, gates * H] from the inputs and [H, gates * H] from the units themselves.

    "torch": both uniform within 1 / sqrt(H), as torch's recurrent layers begin. "orthogonal": each gate's
    recurrent matrix is orthogonal (Saxe et al. 2014), so that its product with the state neither grows nor
    fades at first, and its input weights are normal with std 1 / sqrt(I).
    """
    check_choice("init", init, INITIALISATIONS)
    width = gates * hidden_size
    if init == "torch":
        bound = inverse_root(hidden_size)
        return uniform(bound, input_size, width), uniform(bound, hidden_size, width)
    blocks = [nn.init.orthogonal_(torch.empty(hidden_size, hidden_size)) for _ in range(gates)]
    inputs = torch.randn(input_size, width) * inverse_root(input_size)
    return nn.Parameter(inputs), nn.Parameter(torch.cat(blocks, dim=1))


def recurrent_bias(init: str, hidden_size: int, gates: int) -> nn.Parameter:
    """An initial bias [gates * H]: uniform within 1 / sqrt(H) ("torch"), or 0 ("orthogonal")."""
    size = gates * hidden_size
    return uniform(inverse_root(hidden_size), size) if init == "torch" else nn.Parameter(torch.zeros(size))


def inverse_root(size: int) -> float:
    """1 / sqrt(size): the bound of torch's own initialisation of recurrent layers."""
    return 1.0 / math.sqrt(size)


def gate_norm(weight: Tensor, size: int) -> Tensor:
    """The norm of each unit's weights from each source over all its gates: [I, gates * H] -> [I, H]."""
    norms: Tensor = weight.unflatten(-1, (-1, size)).norm(dim=-2)
    return norms


def normalised(x: Tensor, gain: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., B, G] with mean 0 and deviation 1 over its last axis, times a gain [G] or [P, G], plus a bias.

    Ba, Kiros & Hinton, "Layer normalization" (2016).
    """
    if gain.dim() == 1:  # no population: all in one
        return nn.functional.layer_norm(x.to(gain.dtype), gain.shape, gain, bias)
    scaled = nn.functional.layer_norm(x, x.shape[-1:]) * gain.unsqueeze(-2)
    return scaled if bias is None else scaled + bias.unsqueeze(-2)


def ones(size: int) -> nn.Parameter:
    """A gain [size] as it begins."""
    return nn.Parameter(torch.ones(size))


def affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x @ weight + bias`` for one network, or member by member for a population.

    One network: x [..., I], weight [I, O], bias [O]. Population: x [P, B, I] or [T, P, B, I],
    weight [P, I, O], bias [P, O].
    """
    if weight.dim() == 2:
        return nn.functional.linear(x, weight.t(), bias)
    if x.dim() == 4:  # time before population: fold time into the rows of one batched product
        steps, members, rows, _ = x.shape
        folded = x.transpose(0, 1).reshape(members, steps * rows, -1)  # [P, T * B, I]
        return affine(folded, weight, bias).view(members, steps, rows, -1).transpose(0, 1)
    if bias is None:
        return torch.bmm(x, weight)
    return torch.baddbmm(bias.unsqueeze(-2), x, weight)


def add_product(base: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """``base + x @ weight``: base [..., B, O], x [..., B, I], weight [I, O]; or [P, B, ...], [P, I, O]."""
    if weight.dim() == 2:
        return torch.addmm(base, x, weight) if x.dim() == 2 else base + x @ weight
    return torch.baddbmm(base, x, weight)
