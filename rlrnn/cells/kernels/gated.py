"""Recurrences compiled for this processor by numba: what the extra ``[fast]`` brings.

Each pair of functions runs one kind of cell over T steps of B rows, forwards and backwards; products
with the inputs and gradients of weights are left to torch, which does them for all steps at once
(``compiled`` joins the two). G is the width of the cell's gates. All arrays are C-contiguous, of one
floating type, and in ``start`` [T, B] true marks a step before which the row's memory is cleared.

Rows are taken a few at a time: their share of ``weights`` products is then small enough for the kernels
that BLAS keeps for small matrices, and stays in the cache from step to step.

All that kernels call stands on this page: numba keeps machine code until the file of the kernel itself
changes, and looks at no other.
"""

# mypy: ignore-errors

import math

import numba
import numpy as np
from numba.extending import overload

from rlrnn.common.compilation import compiled

# Never "nnan" or "ninf": learning that breaks down must show as NaN.
FASTMATH = {"contract", "reassoc", "nsz", "arcp"}
OPTIONS = {"nogil": True, "boundscheck": False, "error_model": "numpy", "fastmath": FASTMATH}


inserted = numba.njit(
    inline="always", **OPTIONS
)  # written into its callers: a call per row would cost a fifth


def compile(function):  # noqa: A001
    """Machine code for this processor, kept on disk for the next process."""
    return compiled(function, **OPTIONS)


ZERO, HALF, ONE, LIMIT = np.float32(0.0), np.float32(0.5), np.float32(1.0), np.float32(8.0)
# tanh(x) = x P(x^2) / Q(x^2) within [-8, 8], as fitted by benchmarks/tanh.py; from there to 1 it is 2e-7.
P0, P1, P2, P3, P4 = map(np.float32, (1.0, 0.134444981, 3.57159813e-3, 2.18946634e-5, 1.52304187e-8))
Q1, Q2, Q3, Q4 = map(np.float32, (0.467778254, 2.61644434e-2, 3.41129218e-4, 8.52244726e-7))
BOUND = np.float32(87.0)  # exp of it is a finite float32, of its negative a normal one
LOG2_E, LN_2_HIGH, LN_2_LOW = map(np.float32, (1.44269504, 0.693359375, -2.12194440e-4))
E3, E4, E5, E6 = map(np.float32, (0.16666573, 0.04166646, 0.00836378, 0.00139345))  # fitted beside tanh's


def by_precision(double):
    """A function for compiled code: in float64 the library's ``double``, in float32 the formula below it."""

    def decorate(single):
        def function(x):
            raise NotImplementedError("compiled code only")

        @overload(function)
        def _(x):
            return (lambda x: double(x)) if x == numba.float64 else single

        return function

    return decorate


@by_precision(math.tanh)
def tanh(x):
    """A quotient of polynomials, which vector units run."""
    x = LIMIT if x > LIMIT else x  # min() and max() would hide a NaN
    x = -LIMIT if x < -LIMIT else x
    u = x * x
    top = P0 + u * (P1 + u * (P2 + u * (P3 + u * P4)))
    return x * top / (ONE + u * (Q1 + u * (Q2 + u * (Q3 + u * Q4))))


@by_precision(math.exp)
def exp(x):
    """2^n exp(r), where r is within half of ln 2 and 2^n is written into the exponent's bits."""
    x = BOUND if x > BOUND else x
    x = -BOUND if x < -BOUND else x
    n = np.floor(x * LOG2_E + HALF)
    r = x - n * LN_2_HIGH - n * LN_2_LOW
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return power * (ONE + r + r * r * (HALF + r * (E3 + r * (E4 + r * (E5 + r * E6)))))


@compile
def sigmoid(x):
    """1 / (1 + exp(-x)), small values to full relative precision too, for the sake of their gradients."""
    return ONE / (ONE + exp(-x))


SMALL = 1_000_000  # multiplications of a product that BLAS still counts as small


@compile
def rows_at_once(pieces, rows):
    """How many rows to take: as many as keep their product with a piece of the weights small, up to 8."""
    fit = SMALL // (pieces.shape[1] * pieces.shape[2])
    return max(1, min(rows, 8, fit) if fit > 0 else min(rows, 32))


@compile
def multiply(a, pieces, out, part):
    """``out`` [b, N] = ``a`` [b, K] times weights [K, N] that come in pieces [n, K, N / n]."""
    if len(pieces) == 1:
        np.dot(a, pieces[0], out)
        return
    width, some = pieces.shape[2], part[: len(a)]
    for k in range(len(pieces)):
        np.dot(a, pieces[k], some)
        for b in range(len(a)):
            for j in range(width):
                out[b, k * width + j] = some[b, j]


@compile
def times(a, weights):
    """``a`` [B, K] times weights [K, N], some rows at a time where that makes small products."""
    out = np.empty((len(a), weights.shape[1]), a.dtype)
    fit = SMALL // weights.size
    block = min(fit, 32) if fit > 0 else max(1, len(a))
    for first in range(0, len(a), block):
        np.dot(a[first : first + block], weights, out[first : first + block])
    return out


@compile
def enter(start, state, before):
    """The memory [b, H] that a step begins with: cleared where an episode starts."""
    for b in range(len(start)):
        if start[b]:
            before[b, :] = 0
        else:
            before[b, :] = state[b]


@compile
def leave(start, d_state):
    """No gradient passes the start of an episode."""
    for b in range(len(start)):
        if start[b]:
            d_state[b, :] = 0


NORM_EPSILON = 1e-5  # torch's, of layer_norm


@inserted
def normalise(x, gain, first, last, normed):
    """Numbers first to last of a row get mean 0 and deviation 1, kept in ``normed``, then a gain.

    Returns one over the deviation.
    """
    total = squares = ZERO
    for j in range(first, last):
        total += x[j]
    mean = total / x.dtype.type(last - first)
    for j in range(first, last):
        squares += (x[j] - mean) * (x[j] - mean)
    scale = ONE / np.sqrt(squares / x.dtype.type(last - first) + x.dtype.type(NORM_EPSILON))
    for j in range(first, last):
        normed[j] = (x[j] - mean) * scale
        x[j] = normed[j] * gain[j]
    return scale


@inserted
def denormalise(d, gain, first, last, normed, scale, d_gain):
    """From the gradient by what ``normalise`` made: ``normed`` becomes that by its x, the gain's is added."""
    total = along = ZERO
    for j in range(first, last):
        d_gain[j] += d[j] * normed[j]
        total += d[j] * gain[j]
        along += d[j] * gain[j] * normed[j]
    total, along = total / d.dtype.type(last - first), along / d.dtype.type(last - first)
    for j in range(first, last):
        normed[j] = (d[j] * gain[j] - total - along * normed[j]) * scale


@inserted
def lstm_row(gate, was, out, now):
    """A row's gates [4H] are opened; from the c that was [H] come the h and the c that are now."""
    size = len(was)
    for j in range(2 * size):
        gate[j] = sigmoid(gate[j])
    for j in range(2 * size, 3 * size):
        gate[j] = tanh(gate[j])
    for j in range(3 * size, 4 * size):
        gate[j] = sigmoid(gate[j])
    for j in range(size):
        c = gate[size + j] * was[j] + gate[j] * gate[2 * size + j]
        now[j] = c
        out[j] = gate[3 * size + j] * tanh(c)


@inserted
def gru_row(gate, heard, bias, was, out, heard_n):
    """A row's gates [3H] are opened by what they heard of the h that was [H], then h is what it is now."""
    size = len(was)
    for j in range(2 * size):
        gate[j] = sigmoid(gate[j] + heard[j] + bias[j])
    for j in range(size):
        candidate = heard[2 * size + j] + bias[2 * size + j]
        heard_n[j] = candidate
        n = tanh(gate[2 * size + j] + gate[j] * candidate)
        gate[2 * size + j] = n
        out[j] = n + gate[size + j] * (was[j] - n)


@inserted
def elman_row(told, heard, out, nonlinearity):
    """A row's units [H], from what the input told and what they heard of themselves."""
    size = len(out)
    if nonlinearity == 0:
        for j in range(size):
            out[j] = tanh(told[j] + heard[j])
    elif nonlinearity == 1:
        for j in range(size):
            a = told[j] + heard[j]
            out[j] = ZERO if a < ZERO else a  # NaN stays NaN, here and in its gradient
    else:
        for j in range(size):
            a = told[j] + heard[j]
            out[j] = a / (ONE + abs(a))


@compile
def lstm_forward(gates, pieces, start, h0, c0, before, y, c):
    """``gates`` [T, B, 4H] is the projected input and becomes i, f, g, o; before, y, c [T, B, H] are results.

    ``before`` is the h that each step began with.
    """
    steps, rows, width = gates.shape
    size = width // 4
    block = rows_at_once(pieces, rows)
    part = np.empty((block, pieces.shape[2]), gates.dtype)
    product, held = np.empty((block, width), gates.dtype), np.empty((block, size), gates.dtype)
    for first in range(0, rows, block):
        last = min(first + block, rows)
        for t in range(steps):
            enter(start[t, first:last], (h0 if t == 0 else y[t - 1])[first:last], before[t][first:last])
            enter(start[t, first:last], (c0 if t == 0 else c[t - 1])[first:last], held[: last - first])
            heard = product[: last - first]
            multiply(before[t][first:last], pieces, heard, part)
            for b in range(first, last):
                gate, more = gates[t, b], heard[b - first]
                for j in range(width):
                    gate[j] += more[j]
                lstm_row(gate, held[b - first], y[t, b], c[t, b])


@compile
def lstm_backward(gates, pieces, start, c0, c, dy, dh, dc):
    """Gates i, f, g, o become the gradient of what went into them; dh, dc [B, H] that of the first state.

    dy [T, B, H] is the outputs' gradient, dh and dc on entry that of the last state.
    """
    steps, rows, width = gates.shape
    size = width // 4
    block = rows_at_once(pieces, rows)
    part = np.empty((block, pieces.shape[2]), gates.dtype)
    held = np.empty((block, size), gates.dtype)
    for first in range(0, rows, block):
        last = min(first + block, rows)
        for t in range(steps - 1, -1, -1):
            enter(start[t, first:last], (c0 if t == 0 else c[t - 1])[first:last], held[: last - first])
            for b in range(first, last):
                gate, cell, was, d_out = gates[t, b], c[t, b], held[b - first], dy[t, b]
                d_h, d_c = dh[b], dc[b]
                for j in range(size):
                    i, f, g, o = gate[j], gate[size + j], gate[2 * size + j], gate[3 * size + j]
                    squashed, d = tanh(cell[j]), d_out[j] + d_h[j]
                    d_cell = d_c[j] + d * o * (ONE - squashed * squashed)
                    gate[j] = d_cell * g * i * (ONE - i)
                    gate[size + j] = d_cell * was[j] * f * (ONE - f)
                    gate[2 * size + j] = d_cell * i * (ONE - g * g)
                    gate[3 * size + j] = d * squashed * o * (ONE - o)
                    d_c[j] = d_cell * f
            multiply(gates[t][first:last], pieces, dh[first:last], part)
            leave(start[t, first:last], dh[first:last])
            leave(start[t, first:last], dc[first:last])


@compile
def lstm_variant_forward(
    gates, pieces, start, h0, c0, before, y, c, coupled, gain, gain_cell, bias_cell, norms, shown, scale
):
    """As ``lstm_forward``, which would lose up to a third of its speed if it knew these variants too.

    ``coupled`` gates [T, B, 3H] are f, g, o, and i = 1 - f.
    With a gain [G] what is heard is normalised, and with gain_cell and bias_cell [H] the c that is shown
    [T, B, H]: kept in norms [T, B, G + H] and scale [T, B, 2]. Without, ``shown`` is c.
    """
    steps, rows, width = gates.shape
    size = c.shape[2]
    at = width - 3 * size
    block = rows_at_once(pieces, rows)
    part = np.empty((block, pieces.shape[2]), gates.dtype)
    product, held = np.empty((block, width), gates.dtype), np.empty((block, size), gates.dtype)
    for first in range(0, rows, block):
        last = min(first + block, rows)
        for t in range(steps):
            enter(start[t, first:last], (h0 if t == 0 else y[t - 1])[first:last], before[t][first:last])
            enter(start[t, first:last], (c0 if t == 0 else c[t - 1])[first:last], held[: last - first])
            heard = product[: last - first]
            multiply(before[t][first:last], pieces, heard, part)
            for b in range(first, last):
                gate, more, was = gates[t, b], heard[b - first], held[b - first]
                now, seen, out = c[t, b], shown[t, b], y[t, b]
                if len(gain):
                    scale[t, b, 0] = normalise(more, gain, 0, width, norms[t, b])
                for j in range(at + size):
                    gate[j] = sigmoid(gate[j] + more[j])
                for j in range(at + size, at + 2 * size):
                    gate[j] = tanh(gate[j] + more[j])
                for j in range(at + 2 * size, width):
                    gate[j] = sigmoid(gate[j] + more[j])
                for j in range(size):
                    f, g = gate[at + j], gate[at + size + j]
                    now[j] = f * was[j] + (ONE - f if coupled else gate[j]) * g
                    seen[j] = now[j]
                if len(gain):
                    scale[t, b, 1] = normalise(seen, gain_cell, 0, size, norms[t, b, width:])
                    for j in range(size):
                        seen[j] += bias_cell[j]
                for j in range(size):
                    out[j] = gate[at + 2 * size + j] * tanh(seen[j])


@compile
def lstm_variant_backward(
    gates,
    pieces,
    start,
    c0,
    c,
    dy,
    dh,
    dc,
    coupled,
    gain,
    gain_cell,
    norms,
    shown,
    scale,
    d_gain,
    d_gain_cell,
    d_bias_cell,
):
    """As ``lstm_backward``; with a gain ``norms`` becomes the gradient of what was heard and was the cell."""
    steps, rows, width = gates.shape
    size = c.shape[2]
    at = width - 3 * size
    block = rows_at_once(pieces, rows)
    part = np.empty((block, pieces.shape[2]), gates.dtype)
    held, felt = np.empty((block, size), gates.dtype), np.empty((block, width), gates.dtype)
    d_shown = np.empty(size, gates.dtype)
    for first in range(0, rows, block):
        last = min(first + block, rows)
        for t in range(steps - 1, -1, -1):
            enter(start[t, first:last], (c0 if t == 0 else c[t - 1])[first:last], held[: last - first])
            for b in range(first, last):
                gate, was, d_out, d_h, d_c = gates[t, b], held[b - first], dy[t, b], dh[b], dc[b]
                seen = shown[t, b]
                for j in range(size):
                    o, squashed, d = gate[at + 2 * size + j], tanh(seen[j]), d_out[j] + d_h[j]
                    d_shown[j] = d * o * (ONE - squashed * squashed)
                    gate[at + 2 * size + j] = d * squashed * o * (ONE - o)
                if len(gain):
                    for j in range(size):
                        d_bias_cell[j] += d_shown[j]
                    denormalise(d_shown, gain_cell, 0, size, norms[t, b, width:], scale[t, b, 1], d_gain_cell)
                    for j in range(size):
                        d_shown[j] = norms[t, b, width + j]
                for j in range(size):
                    f, g, d_cell = gate[at + j], gate[at + size + j], d_c[j] + d_shown[j]
                    i = ONE - f if coupled else gate[j]
                    if not coupled:
                        gate[j] = d_cell * g * i * (ONE - i)
                    gate[at + j] = d_cell * (was[j] - g if coupled else was[j]) * f * (ONE - f)
                    gate[at + size + j] = d_cell * i * (ONE - g * g)
                    d_c[j] = d_cell * f
                if len(gain):
                    denormalise(gate, gain, 0, width, norms[t, b], scale[t, b, 0], d_gain)
                more = norms[t, b] if len(gain) else gate
                for j in range(width):
                    felt[b - first, j] = more[j]
            multiply(felt[: last - first], pieces, dh[first:last], part)
            leave(start[t, first:last], dh[first:last])
            leave(start[t, first:last], dc[first:last])


@compile
def gru_forward(gates, pieces, bias, start, h0, before, y, heard_n, gain, normed, scale):
    """``gates`` [T, B, 3H], the projected input, becomes r, z, n; before, y, heard_n [T, B, H] are results.

    ``heard_n`` is what the new memory hears of the old one, before the reset gate. With a gain [3H] what is
    heard is normalised, r and z together, n by itself: kept in normed [T, B, 3H] and scale [T, B, 2].
    """
    steps, rows, width = gates.shape
    both = 2 * (width // 3)
    block = rows_at_once(pieces, rows)
    part = np.empty((block, pieces.shape[2]), gates.dtype)
    product = np.empty((block, width), gates.dtype)
    for first in range(0, rows, block):
        last = min(first + block, rows)
        for t in range(steps):
            enter(start[t, first:last], (h0 if t == 0 else y[t - 1])[first:last], before[t][first:last])
            heard = product[: last - first]
            multiply(before[t][first:last], pieces, heard, part)
            for b in range(first, last):
                if len(gain):
                    scale[t, b, 0] = normalise(heard[b - first], gain, 0, both, normed[t, b])
                    scale[t, b, 1] = normalise(heard[b - first], gain, both, width, normed[t, b])
                gru_row(gates[t, b], heard[b - first], bias, before[t, b], y[t, b], heard_n[t, b])


@compile
def gru_backward(gates, pieces, start, before, heard_n, dy, dh, gain, normed, scale, d_gain):
    """Gates r, z, n become the gradient of what they heard of the memory, heard_n that of n's input.

    dy [T, B, H] is the outputs' gradient, dh [B, H] that of the last state, and at the end of the first.
    With a gain ``normed`` becomes the gradient of what was heard before it was normalised.
    """
    steps, rows, width = gates.shape
    size = width // 3
    block = rows_at_once(pieces, rows)
    part = np.empty((block, pieces.shape[2]), gates.dtype)
    direct = np.empty((block, size), gates.dtype)
    for first in range(0, rows, block):
        last = min(first + block, rows)
        for t in range(steps - 1, -1, -1):
            for b in range(first, last):
                gate, more_n, was, d_out = gates[t, b], heard_n[t, b], before[t, b], dy[t, b]
                d_h, past = dh[b], direct[b - first]
                for j in range(size):
                    r, z, n, d = gate[j], gate[size + j], gate[2 * size + j], d_out[j] + d_h[j]
                    d_n = d * (ONE - z) * (ONE - n * n)
                    gate[j] = d_n * more_n[j] * r * (ONE - r)
                    gate[size + j] = d * (was[j] - n) * z * (ONE - z)
                    gate[2 * size + j] = d_n * r
                    more_n[j] = d_n
                    past[j] = d * z
                if len(gain):
                    denormalise(gate, gain, 0, 2 * size, normed[t, b], scale[t, b, 0], d_gain)
                    denormalise(gate, gain, 2 * size, width, normed[t, b], scale[t, b, 1], d_gain)
            multiply((normed if len(gain) else gates)[t][first:last], pieces, dh[first:last], part)
            for b in range(first, last):
                d_h, past = dh[b], direct[b - first]
                for j in range(size):
                    d_h[j] += past[j]
            leave(start[t, first:last], dh[first:last])


@compile
def elman_forward(projected, pieces, start, h0, before, y, nonlinearity):
    """``projected`` [T, B, H] -> y [T, B, H]; nonlinearity 0: tanh, 1: relu, 2: softsign."""
    steps, rows, size = y.shape
    block = rows_at_once(pieces, rows)
    part = np.empty((block, pieces.shape[2]), y.dtype)
    product = np.empty((block, size), y.dtype)
    for first in range(0, rows, block):
        last = min(first + block, rows)
        for t in range(steps):
            enter(start[t, first:last], (h0 if t == 0 else y[t - 1])[first:last], before[t][first:last])
            heard = product[: last - first]
            multiply(before[t][first:last], pieces, heard, part)
            for b in range(first, last):
                elman_row(projected[t, b], heard[b - first], y[t, b], nonlinearity)


@compile
def elman_backward(y, pieces, start, dy, dh, nonlinearity):
    """dy [T, B, H] becomes the gradient of what went into the units; dh as in ``gru_backward``."""
    steps, rows, size = y.shape
    block = rows_at_once(pieces, rows)
    part = np.empty((block, pieces.shape[2]), y.dtype)
    for first in range(0, rows, block):
        last = min(first + block, rows)
        for t in range(steps - 1, -1, -1):
            for b in range(first, last):
                out, d, d_h = y[t, b], dy[t, b], dh[b]
                if nonlinearity == 0:
                    for j in range(size):
                        d[j] = (d[j] + d_h[j]) * (ONE - out[j] * out[j])
                elif nonlinearity == 1:
                    for j in range(size):
                        d[j] = ZERO if out[j] <= ZERO else d[j] + d_h[j]
                else:
                    for j in range(size):
                        slope = ONE - abs(out[j])
                        d[j] = (d[j] + d_h[j]) * slope * slope
            multiply(dy[t][first:last], pieces, dh[first:last], part)
            leave(start[t, first:last], dh[first:last])


@compile
def remembered(state, start, column, size):
    """A part [B, size] of the state [B, S], cleared where an episode starts."""
    part = np.empty((len(state), size), state.dtype)
    enter(start, state[:, column : column + size], part)
    return part


@compile
def lstm_step(x, inputs, weights, bias_input, bias_hidden, start, state, after, column, y):
    """One step at play: x [B, I], the state before and after [B, S] from a column on, y [B, H]."""
    size = len(weights)
    h, c = remembered(state, start, column, size), remembered(state, start, column + size, size)
    gates, heard = times(x, inputs), times(h, weights)
    bias, now = bias_input + bias_hidden, np.empty_like(c)
    for b in range(len(x)):
        gate, more = gates[b], heard[b]
        for j in range(4 * size):
            gate[j] += more[j] + bias[j]
        lstm_row(gate, c[b], y[b], now[b])
    after[:, column : column + size] = y
    after[:, column + size : column + 2 * size] = now


@compile
def gru_step(x, inputs, weights, bias_input, bias_hidden, start, state, after, column, y):
    """As ``lstm_step``."""
    size = len(weights)
    h = remembered(state, start, column, size)
    gates, heard = times(x, inputs), times(h, weights)
    heard_n = np.empty(size, h.dtype)  # nobody asks for it; apart, as loops over one array twice run slowly
    for b in range(len(x)):
        gate, more = gates[b], heard[b]
        for j in range(3 * size):
            gate[j] += bias_input[j]
        gru_row(gate, more, bias_hidden, h[b], y[b], heard_n)
    after[:, column : column + size] = y


@compile
def elman_step(x, inputs, weights, bias, start, state, after, column, y, nonlinearity):
    """As ``lstm_step``; nonlinearity as in ``elman_forward``."""
    size = len(weights)
    told, heard = times(x, inputs), times(remembered(state, start, column, size), weights)
    for b in range(len(x)):
        a = told[b]
        for j in range(size):
            a[j] += bias[j]
        elman_row(a, heard[b], y[b], nonlinearity)
    after[:, column : column + size] = y


@compile
def sum_rows(x, total):
    """[N, O] -> [O]."""
    total[:] = 0
    for n in range(len(x)):
        row = x[n]
        for j in range(len(total)):
            total[j] += row[j]


@compile
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


@compile
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


@inserted
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


@compile
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


@compile
def lstm_members(members, x, inputs, weights, bias_input, bias_hidden, state, column, y):
    """A step of each member at play, as ``dense_members``; state [P, E, S] changes from a column on."""
    size = weights.shape[1]
    gate, heard = np.empty(4 * size, x.dtype), np.empty(4 * size, x.dtype)
    was, now = np.empty(size, x.dtype), np.empty(size, x.dtype)
    for p in members:
        for e in range(x.shape[1]):
            h, c, out = state[p, e, column : column + size], state[p, e, column + size :], y[p, e]
            affine_row(x[p, e], inputs[p], bias_input[p], gate)
            affine_row(h, weights[p], bias_hidden[p], heard)
            for j in range(4 * size):
                gate[j] += heard[j]
            for j in range(size):
                was[j] = c[j]
            lstm_row(gate, was, out, now)
            for j in range(size):
                h[j], c[j] = out[j], now[j]


@compile
def gru_members(members, x, inputs, weights, bias_input, bias_hidden, state, column, y):
    """As ``lstm_members``."""
    size = weights.shape[1]
    gate, heard = np.empty(3 * size, x.dtype), np.empty(3 * size, x.dtype)
    none, heard_n = np.zeros(3 * size, x.dtype), np.empty(size, x.dtype)
    for p in members:
        for e in range(x.shape[1]):
            h, out = state[p, e, column : column + size], y[p, e]
            affine_row(x[p, e], inputs[p], bias_input[p], gate)
            affine_row(h, weights[p], bias_hidden[p], heard)
            gru_row(gate, heard, none, h, out, heard_n)
            for j in range(size):
                h[j] = out[j]


@compile
def elman_members(members, x, inputs, weights, bias, state, column, y, nonlinearity):
    """As ``lstm_members``; nonlinearity as in ``elman_forward``."""
    size = weights.shape[1]
    told, heard, none = np.empty(size, x.dtype), np.empty(size, x.dtype), np.zeros(size, x.dtype)
    for p in members:
        for e in range(x.shape[1]):
            h, out = state[p, e, column : column + size], y[p, e]
            affine_row(x[p, e], inputs[p], bias[p], told)
            affine_row(h, weights[p], none, heard)
            elman_row(told, heard, out, nonlinearity)
            for j in range(size):
                h[j] = out[j]
