"""Layers without memory: activations forward and backward, and one layer of each member of a population."""

# mypy: ignore-errors

from rlrnn.cells.kernels.arithmetic import ONE, ZERO, kernel, tanh
from rlrnn.cells.kernels.products import affine_once, multiply, multiply_transposed, weights_gradient

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


@kernel
def step(x, weights, bias, activation, y):
    """``forward`` of few rows, for which nothing is worth packing."""
    affine_once(x, weights, bias, y)
    activate(y, activation)


@kernel
def step_members(members, x, weights, bias, activation, y):
    """A step of each member [P]: x [P, E, I], weights [P, I, O], bias [P, O] -> y [P, E, O].

    Only these ``members`` are worked on, one by one: none is touched by who else is there.
    """
    for p in members:
        step(x[p], weights[p], bias[p], activation, y[p])
