"""What a plan holds, and that whatever may compute otherwise has none."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from rlrnn.cells import Elman, FeedForward, Fir, Gru, Lstm, register_cell
from rlrnn.common import compiling
from rlrnn.learners.ppo import compiled
from rlrnn.network import acting, population
from rlrnn.network.network import NetworkDescription, RecurrentNetwork
from rlrnn.network.plan import DelayLine, Dense, Gated, Plan, plan

needs_kernels = pytest.mark.skipif(not compiling.can_compile(), reason="numba is missing or switched off")


def network(cell: str, **description: Any) -> RecurrentNetwork:
    described = NetworkDescription(cell=cell, hidden_size=4, **description)
    return RecurrentNetwork(described, spaces.Box(-1, 1, (3,)), spaces.Discrete(2))


def planned(cell: str, n_layers: int = 1, **description: Any) -> Plan | None:
    return plan(network(cell, n_layers=n_layers, **description).actor)


@needs_kernels
@pytest.mark.parametrize(("cell", "size"), [("elman", 4), ("gru", 4), ("lstm", 8)])
def test_layers_stand_side_by_side_in_the_state(cell: str, size: int) -> None:
    known = planned(cell, 3, actor_widths=(5, 6))
    assert known is not None
    assert [layer.columns for layer in known.memory if isinstance(layer, Gated)] == [
        slice(0, size),
        slice(size, 2 * size),
        slice(2 * size, 3 * size),
    ]
    assert [layer.weight.shape for layer in known.head] == [(4, 5), (5, 6)]
    assert known.layers == (*known.memory, *known.head, known.output)


def test_what_needs_no_kernels_of_its_own_has_a_plan_everywhere() -> None:
    for cell, options in (("none", {}), ("fir", {"taps": 3})):
        known = planned(cell, cell_options=options)
        assert known is not None
        (layer,) = known.memory
        if cell == "none":
            assert isinstance(layer, Dense) and layer.activation == "tanh"
        else:
            assert isinstance(layer, DelayLine) and layer.columns == slice(0, 2 * 3)


@pytest.mark.usefixtures("cell_registry")
@pytest.mark.parametrize("kind", [Elman, Gru, Lstm, Fir, FeedForward])
def test_a_class_derived_from_a_cell_of_ours_may_step_otherwise(kind: type[Any]) -> None:
    class Halved(kind):  # type: ignore[misc]
        def step(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            y, state = super().step(projected, state)
            return y / 2, state

    register_cell("halved", Halved)
    assert planned("halved") is None


@pytest.mark.parametrize("activation", [nn.ELU, nn.SiLU, nn.GELU])
@pytest.mark.parametrize("widths", [(), (5,)])
def test_an_activation_that_kernels_lack_has_no_plan(
    activation: type[nn.Module], widths: tuple[int, ...]
) -> None:
    assert planned("none", activation=activation, actor_widths=widths) is None


def test_memories_that_add_or_step_by_options_have_no_plan() -> None:
    for cell, n_layers, options in (
        ("fir", 2, {"residual": True}),
        ("none", 2, {"residual": True}),
        ("gru", 1, {"layer_norm": True}),
        ("lstm", 1, {"coupled": True}),
    ):
        assert planned(cell, n_layers, cell_options=options) is None


@needs_kernels
def test_autocast_leaves_gated_cells_to_torch() -> None:
    assert planned("gru") is not None
    with torch.autocast("cpu", torch.bfloat16):
        assert planned("gru") is None


@needs_kernels
@pytest.mark.usefixtures("cell_registry")
@pytest.mark.parametrize("extra", ["", "step"])
def test_steps_without_kernels_are_left_to_torch(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell's kernels run rows of steps at least; play and populations ask whether there are more."""
    from rlrnn.cells.kernels import gru

    kernels = ModuleType("some_kernels")
    for name in ("recurrence", extra):
        if name:
            setattr(kernels, name, getattr(gru, name))
    monkeypatch.setitem(sys.modules, kernels.__name__, kernels)

    class Own(Gru):
        kernels = "some_kernels"

    register_cell("own", Own)
    net = network("own")
    assert compiled.plans_of(net) is not None
    assert (acting.plans_of(net) is not None) == (population.plan_of(net) is not None) == (extra == "step")
