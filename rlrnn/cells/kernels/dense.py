"""Layers without memory: activations forward and backward, and one layer of each member of a population."""

# mypy: ignore-errors

from rlrnn.cells.kernels.arithmetic import ONE, ZERO, inlined, kernel, tanh

ACTIVATIONS = {"identity": 0, "tanh": 1, "relu": 2}  # by their numbers here


@kernel
def activate(y, bias, activation):
    """y [N, O] becomes activation(y + bias); 0: as it is, 1: tanh, 2: relu."""
    for n in range(len(y)):
        out = y[n]
        if activation == 1:
            for j in range(len(bias)):
                out[j] = tanh(out[j] + bias[j])
        elif activation == 2:
            for j in range(len(bias)):
                a = out[j] + bias[j]
                out[j] = ZERO if a < ZERO else a
        else:
            for j in range(len(bias)):
                out[j] += bias[j]


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


@inlined
def affine_row(x, weights, bias, out):
    """x [I] times weights [I, O], plus bias [O]; four inputs at a time, so that sums stay at hand longer."""
    width, inputs = len(out), len(x)
    for j in range(width):
        out[j] = bias[j]
    whole = inputs - inputs % 4
    for i in range(0, whole, 4):
        a, b, c, d = x[i], x[i + 1], x[i + 2], x[i + 3]
        for j in range(width):
            out[j] += (a * weights[i, j] + b * weights[i + 1, j]) + (
                c * weights[i + 2, j] + d * weights[i + 3, j]
            )
    for i in range(whole, inputs):
        a = x[i]
        for j in range(width):
            out[j] += a * weights[i, j]


@kernel
def dense_members(members, x, weights, bias, activation, y):
    """A layer of each member [P]: x [P, E, I], weights [P, I, O], bias [P, O] -> y [P, E, O].

    Only these ``members`` are worked on, one by one: none is touched by who else is there.
    """
    for p in members:
        for e in range(x.shape[1]):
            affine_row(x[p, e], weights[p], bias[p], y[p, e])
    for p in members:
        if activation == 1:
            for e in range(x.shape[1]):
                out = y[p, e]
                for j in range(len(out)):
                    out[j] = tanh(out[j])
        elif activation == 2:
            for e in range(x.shape[1]):
                out = y[p, e]
                for j in range(len(out)):
                    a = out[j]
                    out[j] = ZERO if a < ZERO else a
