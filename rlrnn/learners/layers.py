"""Layers of a plan forward and backward over whole rows, by compiled kernels: what updates are made of.

Small networks pay less for arithmetic than for calls: autograd makes hundreds per minibatch, these some
thirty.

Letters: T time, R rows, N = T * R steps; I inputs and O outputs of a layer; S state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from rlrnn.cells.gated import kernels_of
from rlrnn.cells.kernels.recurrence import Array, array
from rlrnn.common.compiling import can_compile
from rlrnn.learners.features import divisible
from rlrnn.network import plan
from rlrnn.network.layers import FirstUnits
from rlrnn.network.memory import Memory
from rlrnn.network.paths.delay_line import windows
from rlrnn.network.sensors import Sensors

Places: TypeAlias = Mapping[Any, Array]  # where the gradient of each parameter is written


class Unread(dict[Tensor, Array]):
    """Places for gradients that nobody reads: of layers that run forward alone, or pass gradients on."""

    def __missing__(self, parameter: Tensor) -> Array:
        place = self[parameter] = np.empty(parameter.shape, np.float32)
        return place


def can_run(module: nn.Module) -> bool:
    """Whether kernels may compute what a module does but for its sensors, if its streams have plans."""
    learned = [each for each in _sensors(module) if any(True for _ in each.parameters())]
    return (
        can_compile()
        and all(p.device.type == "cpu" and p.is_contiguous() for p in _own(module))
        and not any(isinstance(part, Memory) and part.dropout > 0.0 for part in module.modules())
        and all(map(divisible, learned))
    )


def can_train(module: nn.Module) -> bool:
    """And its gradients, too: every weight of its layers learns."""
    fixed = any(isinstance(part, FirstUnits) for part in module.modules())
    return not fixed and all(p.requires_grad for p in _own(module)) and can_run(module)


def _sensors(module: nn.Module) -> list[Sensors]:
    return [part for part in module.modules() if isinstance(part, Sensors)]


def _own(module: nn.Module) -> list[nn.Parameter]:
    """Parameters that are not its sensors'."""
    of_sensors = {parameter for each in _sensors(module) for parameter in each.parameters()}
    return [parameter for parameter in module.parameters() if parameter not in of_sensors]


class Layer(Protocol):
    """Runs forward once, then backward once; keeps what that needs, and leaves gradients in their places."""

    def forward(self, x: Array, start: Array, state: Array) -> Array:
        """x [N, I], start [T, R], state [R, S] -> y [N, O]."""

    def backward(self, dy: Array, needs_dx: bool) -> Array | None:
        """dy [N, O], which it may overwrite, -> dx [N, I], if ``needs_dx``: where a layer below learns."""


class Dense:
    """activation(x W + b)."""

    def __init__(self, layer: plan.Dense, places: Places) -> None:
        from rlrnn.cells.kernels import dense  # late, as numba takes a while to load

        self.kernels = dense
        self.weight, self.d_weight = array(layer.weight), places[layer.weight]
        self.bias, self.d_bias = _bias(layer.bias, self.weight, places)
        self.activation = dense.ACTIVATIONS[layer.activation]

    def forward(self, x: Array, start: Array, state: Array) -> Array:
        self.x, self.y = x, np.empty((len(x), len(self.bias)), x.dtype)
        self.kernels.forward(x, self.weight, self.bias, self.activation, self.y)
        return self.y

    def backward(self, dy: Array, needs_dx: bool) -> Array | None:
        dx = np.empty_like(self.x if needs_dx else self.x[:0])
        arguments = self.x, self.y, self.weight, self.activation, dy, self.d_weight, self.d_bias, dx
        self.kernels.backward(*arguments)
        return dx if needs_dx else None


class Gated:
    """A cell with kernels."""

    def __init__(self, layer: plan.Gated, places: Places) -> None:
        from rlrnn.cells.kernels import products, rows

        self.products, self.sum_rows = products, rows.sum_rows
        cell, self.columns = layer.cell, layer.columns
        self.recurrence = kernels_of(cell).recurrence(cell)
        self.weight, self.d_weight = array(cell.weight_input), places[cell.weight_input]
        self.d_hidden = places[cell.weight_hidden]
        biases = [bias for bias in cell.projected_biases() if bias is not None]
        self.biases = [array(bias) for bias in biases] or [np.zeros_like(self.weight[0])]
        self.d_biases = [places[bias] for bias in biases] or [np.empty_like(self.biases[0])]
        self.d_recurrent = [None if p is None else places[p] for p in cell.recurrent_parameters()]

    def forward(self, x: Array, start: Array, state: Array) -> Array:
        self.x = x
        projected = np.empty((len(x), self.weight.shape[1]), x.dtype)
        self.products.multiply(x, self.weight, np.add.reduce(self.biases), projected)
        y, last = self.recurrence.forward(projected.reshape(*start.shape, -1), start, state[:, self.columns])
        self.d_last = np.zeros_like(last)
        outputs: Array = y.reshape(len(x), -1)
        return outputs

    def backward(self, dy: Array, needs_dx: bool) -> Array | None:
        dy = dy.reshape(-1, len(self.d_last), dy.shape[1])
        d, _ = self.recurrence.backward(dy, self.d_last, self.d_hidden, self.d_recurrent)
        d = d.reshape(len(self.x), -1)
        self.sum_rows(d, self.d_biases[0])
        for other in self.d_biases[1:]:
            other[:] = self.d_biases[0]
        self.products.weights_gradient(self.x, d, self.d_weight)
        if not needs_dx:
            return None
        dx = np.empty_like(self.x)
        self.products.multiply_transposed(d, self.weight, dx)
        return dx


class DelayLine:
    """A finite impulse cell."""

    def __init__(self, layer: plan.DelayLine, places: Places) -> None:
        from rlrnn.cells.kernels import dense, products

        self.kernels, self.products, cell = dense, products, layer.cell
        self.columns, self.dilation = layer.columns, cell.dilation
        self.weight, self.d_weight = array(cell.weight_input), places[cell.weight_input]
        self.weight_delayed, self.d_delayed = array(cell.weight_delayed), places[cell.weight_delayed]
        self.bias, self.d_bias = _bias(cell.bias, self.weight, places)

    def forward(self, x: Array, start: Array, state: Array) -> Array:
        self.window_arguments = (
            torch.from_numpy(x).view(*start.shape, -1),
            torch.from_numpy(start),
            torch.from_numpy(state[:, self.columns]),
            self.dilation,
        )
        self.x, self.delayed = x, windows(*self.window_arguments).flatten(0, 1).numpy()
        self.y = np.empty((len(x), len(self.bias)), x.dtype)
        self.products.multiply(x, self.weight, self.bias, self.y)
        self.products.accumulate(self.delayed, self.products.packed(self.weight_delayed), self.y)
        self.kernels.activate(self.y, TANH)
        return self.y

    def backward(self, dy: Array, needs_dx: bool) -> Array | None:
        self.kernels.deactivate(dy, self.y, TANH, self.d_bias)
        self.products.weights_gradient(self.x, dy, self.d_weight)
        self.products.weights_gradient(self.delayed, dy, self.d_delayed)
        if not needs_dx:
            return None
        d_windows = np.empty_like(self.delayed)
        self.products.multiply_transposed(dy, self.weight_delayed, d_windows)
        with torch.enable_grad():  # backward through the windows
            x = self.window_arguments[0].requires_grad_()
            delayed = windows(x, *self.window_arguments[1:]).flatten(0, 1)
        (d_delayed,) = torch.autograd.grad(delayed, x, torch.from_numpy(d_windows))
        by_x: Array = d_delayed.flatten(0, 1).numpy()
        self.products.accumulate(dy, self.products.packed_transposed(self.weight), by_x)
        return by_x


TANH = 1  # as the kernels number activations


def _bias(bias: Tensor | None, weight: Array, places: Places) -> tuple[Array, Array]:
    """A bias [O] and the place of its gradient; of one that is not there, zeros and a place for nothing."""
    if bias is None:
        return np.zeros_like(weight[0]), np.empty_like(weight[0])
    return array(bias), places[bias]


def compiled_layer(layer: plan.Layer, places: Places) -> Layer:
    """Whose gradients go to their ``places``."""
    if isinstance(layer, plan.Dense):
        return Dense(layer, places)
    return Gated(layer, places) if isinstance(layer, plan.Gated) else DelayLine(layer, places)


def forward(layers: Sequence[Layer], x: Array, start: Array, state: Array) -> Array:
    """Through all layers: arguments as of ``Layer.forward``."""
    for layer in layers:
        x = layer.forward(x, start, state)
    return x


def backward(layers: Sequence[Layer], d: Array, needs_dx: bool) -> Array | None:
    """And back: as ``Layer.backward``."""
    for number, layer in reversed(list(enumerate(layers))):
        dx = layer.backward(d, needs_dx or number > 0)
        if dx is None:
            return None
        d = dx
    return d
