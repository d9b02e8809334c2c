"""Layers without memory: forward and backward over rows of steps, one step at play."""

# mypy: ignore-errors

from rlrnn.cells.kernels.arithmetic import ONE, ZERO, kernel, tanh
from rlrnn.cells.kernels.products import multiply, multiply_transposed, weights_gradient
from rlrnn.cells.kernels.stepping import option, project, rows_of, step_kernel, weights_of

ACTIVATIONS = {"identity": 0, "tanh": 1, "relu": 2}  # by their numbers here


@kernel
def activate(y, activation):
    """y [N, O] becomes activation(y); 0: as it is, 1: tanh, 2: relu."""
    if activation == 1:
        for n in range(len(y)):
            out = y[n]
            for j in range(len(out)):
                out[j] = tanh(out[j])
    elif activation == 2:
        for n in range(len(y)):
            out = y[n]
            for j in range(len(out)):
                out[j] = ZERO if out[j] < ZERO else out[j]


@kernel
def deactivate(dy, y, activation, total):
    """dy [N, O], the gradient of y = activation(a), becomes that of a; total [O] is its sum."""
    total[:] = 0
    for n in range(len(dy)):
        d, out = dy[n], y[n]
        if activation == 1:
            for j in range(len(total)):
                d[j] *= ONE - out[j] * out[j]
                total[j] += d[j]
        elif activation == 2:
            for j in range(len(total)):
                d[j] = ZERO if out[j] <= ZERO else d[j]
                total[j] += d[j]
        else:
            for j in range(len(total)):
                total[j] += d[j]


@kernel
def forward(x, weights, bias, activation, y):
    """y [N, O] = activation(x [N, I] times weights [I, O] + bias [O])."""
    multiply(x, weights, bias, y)
    activate(y, activation)


@kernel
def backward(x, y, weights, activation, dy, d_weights, d_bias, dx):
    """From dy [N, O], which it overwrites, to the other gradients; dx [N, I], or [0, I] if not asked for."""
    deactivate(dy, y, activation, d_bias)
    weights_gradient(x, dy, d_weights)
    if len(dx):
        multiply_transposed(dy, weights, dx)


@step_kernel
def step(layer, member, rows, x, state, y, room):
    """One step at play; the option is the activation."""
    inputs, bias = weights_of(layer, member, 0), weights_of(layer, member, 1)[0]
    out = rows_of(y, rows, len(bias))
    project(layer, member, 0, rows_of(x, rows, len(inputs)), bias, out)
    activate(out, option(layer, 0))
