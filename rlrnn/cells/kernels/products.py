"""Products of rows with weights, start + x W, whose sums stay in registers; any number of rows, any widths.

A BLAS copies the weights into an order of its own at every call, which for a few rows takes longer than the
product. Here they are packed once for many steps, into panels of as many columns as a tile of the result has;
the sums of a tile are held in a core's vector registers while K runs.

Every sum begins with its start and runs by fused multiply-adds in order of K. So its bytes depend on no tile,
no other row, no thread and no kind of processor; one that has no such instruction emulates it, slowly.

Letters: M rows, K inputs, N outputs, P panels of W columns.
"""

# mypy: ignore-errors

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from rlrnn.cells.kernels.arithmetic import inner_kernel, kernel, zeros_of
from rlrnn.common.compiling import vector_bytes

LANES = vector_bytes() // 4  # numbers in a vector register
VECTORS = 2  # side by side in a panel
WIDTH = VECTORS * LANES  # of a panel
ROWS = 8 if LANES == 16 else 6  # of the largest tile: its sums fill most of the 32 or 16 registers
HEIGHT = 96  # rows of x that a panel is used for at once
FEW = 2  # rows that are not worth filling a panel up
MANY = 4 * ROWS  # rows that make it worth while to pack weights for one product
DEPTH = 128  # rows of a transposed product that are packed at once


@intrinsic
def data(typing, array):
    """A pointer to the numbers of an array that lives on: an argument, or one that is used later too."""

    def generate(context, builder, signature, arguments):
        return context.make_array(array)(context, builder, arguments[0]).data

    return types.CPointer(array.dtype)(array), generate


@intrinsic
def at(typing, pointer, count):
    """The pointer, so many numbers further on."""

    def generate(context, builder, signature, arguments):
        return builder.gep(arguments[0], [arguments[1]])

    return pointer(pointer, types.intp), generate


def tile(rows, panels, vectors=VECTORS, lanes=LANES):
    """The intrinsic that makes a tile of so many rows, and of so many panels side by side.

    out [rows, panels * W] = start + x [rows, K] times weights. Arrays are given by pointers; their rows, and
    the k of x and w, and panels, lie so many numbers apart. A panel has so many vectors of so many lanes.
    """

    @intrinsic
    def run(typing, x, x_row, x_k, w, w_panel, w_k, start, s_row, out, out_row, depth):
        def generate(context, builder, signature, arguments):
            number, shape = context.get_value_type(x.dtype), (rows, panels, vectors, lanes)
            _generate(shape, number, x.dtype.bitwidth, builder, *arguments)
            return context.get_dummy_value()

        n = types.intp
        return types.void(x, n, n, w, n, n, start, n, out, n, n), generate

    return run


def _generate(shape, kind, bits, b, x, x_row, x_k, w, w_panel, w_k, start, s_row, out, out_row, depth):
    rows, panels, vectors, lanes = shape
    i32, i64 = ir.IntType(32), ir.IntType(64)
    vector = ir.VectorType(kind, lanes)

    def number(n):
        return ir.Constant(i64, n)

    def place(base, row, stride, column):
        return b.gep(base, [b.add(b.mul(number(row), stride), number(column))])

    def load(pointer):
        loaded = b.load(b.bitcast(pointer, vector.as_pointer()))
        loaded.align = bits // 8
        return loaded

    fma = cgutils.get_or_insert_function(
        b.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{lanes}f{bits}"
    )
    everywhere = ir.Constant(ir.VectorType(i32, lanes), [0] * lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    columns = [(q, v * lanes) for q in range(panels) for v in range(vectors)]  # of the weights
    places = [(r, c * lanes) for r in range(rows) for c in range(len(columns))]  # of the sums
    begin = [load(place(start, r, s_row, c)) for r, c in places]
    before, loop, done = b.block, b.append_basic_block("loop"), b.append_basic_block("done")
    b.cbranch(b.icmp_signed(">", depth, number(0)), loop, done)

    b.position_at_end(loop)
    k, sums = b.phi(i64), [b.phi(vector) for _ in places]
    w_now, x_now = b.gep(w, [b.mul(k, w_k)]), b.gep(x, [b.mul(k, x_k)])
    weights, added = [load(place(w_now, q, w_panel, c)) for q, c in columns], []
    for r in range(rows):
        one = b.insert_element(undefined, b.load(place(x_now, r, x_row, 0)), ir.Constant(i32, 0))
        one = b.shuffle_vector(one, undefined, everywhere)
        added += [b.call(fma, [one, weight, sums[len(added) + c]]) for c, weight in enumerate(weights)]
    k_next = b.add(k, number(1))
    for phi, first, following in zip([k, *sums], [number(0), *begin], [k_next, *added], strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(following, loop)
    b.cbranch(b.icmp_signed("<", k_next, depth), loop, done)

    b.position_at_end(done)
    results = [b.phi(vector) for _ in places]
    for result, first, last in zip(results, begin, added, strict=True):
        result.add_incoming(first, before)
        result.add_incoming(last, loop)
    for (r, c), result in zip(places, results, strict=True):
        stored = b.store(result, b.bitcast(place(out, r, out_row, c), vector.as_pointer()))
        stored.align = bits // 8


one_row, one_row_wide, one_row_widest = tile(1, 1), tile(1, 2), tile(1, 4)
two_rows, two_rows_wide = tile(2, 1), tile(2, 2)
three_rows, four_rows, five_rows, six_rows = tile(3, 1), tile(4, 1), tile(5, 1), tile(6, 1)
seven_rows, eight_rows = (tile(7, 1), tile(8, 1)) if ROWS == 8 else (six_rows, six_rows)
one_column, two_columns = tile(1, 1, 1, 1), tile(1, 1, 1, 2)
four_columns, eight_columns, sixteen_columns = (tile(1, 1, 1, lanes) for lanes in (4, 8, 16))


@inner_kernel
def _panel(rows, x, x_row, x_k, w, w_k, start, s_row, out, out_row, depth):
    """Rows times a panel, in tiles as equal as can be: small ones leave registers unused."""
    for left in range((rows + ROWS - 1) // ROWS, 0, -1):
        count = (rows + left - 1) // left
        if count == 1:
            one_row(x, x_row, x_k, w, 0, w_k, start, s_row, out, out_row, depth)
        elif count == 2:
            two_rows(x, x_row, x_k, w, 0, w_k, start, s_row, out, out_row, depth)
        elif count == 3:
            three_rows(x, x_row, x_k, w, 0, w_k, start, s_row, out, out_row, depth)
        elif count == 4:
            four_rows(x, x_row, x_k, w, 0, w_k, start, s_row, out, out_row, depth)
        elif count == 5:
            five_rows(x, x_row, x_k, w, 0, w_k, start, s_row, out, out_row, depth)
        elif count == 6:
            six_rows(x, x_row, x_k, w, 0, w_k, start, s_row, out, out_row, depth)
        elif count == 7:
            seven_rows(x, x_row, x_k, w, 0, w_k, start, s_row, out, out_row, depth)
        else:
            eight_rows(x, x_row, x_k, w, 0, w_k, start, s_row, out, out_row, depth)
        rows -= count
        x, start, out = at(x, count * x_row), at(start, count * s_row), at(out, count * out_row)


@inner_kernel
def _last_panel(rows, x, x_row, x_k, w, w_k, start, s_row, out, out_row, depth, columns):
    """A panel that zeros fill up, by way of an array as wide."""
    like = carray(out, 1)
    part = np.empty((rows, WIDTH), like.dtype)
    for r in range(rows):
        begin = carray(at(start, r * s_row), columns)
        for j in range(WIDTH):
            part[r, j] = begin[j] if j < columns else 0
    _panel(rows, x, x_row, x_k, w, w_k, data(part), WIDTH, data(part), WIDTH, depth)
    for r in range(rows):
        end = carray(at(out, r * out_row), columns)
        for j in range(columns):
            end[j] = part[r, j]


@inner_kernel
def _last_columns(rows, x, x_row, x_k, w, w_k, start, s_row, out, out_row, depth, columns):
    """The same for few rows, or where nothing fills it up: a row's columns in powers of two."""
    for r in range(rows):
        w_now, left = w, columns
        x_now, s_now, out_now = at(x, r * x_row), at(start, r * s_row), at(out, r * out_row)
        while left > 0:
            if left >= 16:
                count = 16
                sixteen_columns(x_now, 0, x_k, w_now, 0, w_k, s_now, 0, out_now, 0, depth)
            elif left >= 8:
                count = 8
                eight_columns(x_now, 0, x_k, w_now, 0, w_k, s_now, 0, out_now, 0, depth)
            elif left >= 4:
                count = 4
                four_columns(x_now, 0, x_k, w_now, 0, w_k, s_now, 0, out_now, 0, depth)
            elif left >= 2:
                count = 2
                two_columns(x_now, 0, x_k, w_now, 0, w_k, s_now, 0, out_now, 0, depth)
            else:
                count = 1
                one_column(x_now, 0, x_k, w_now, 0, w_k, s_now, 0, out_now, 0, depth)
            left, w_now, s_now, out_now = left - count, at(w_now, count), at(s_now, count), at(out_now, count)


@inner_kernel
def product(rows, x, x_row, x_k, w, w_panel, w_k, start, s_row, out, out_row, depth, columns):
    """out [M, N] = start [M, N] + x [M, K] times weights [K, N].

    All arrays are given by pointers; their rows lie so many numbers apart, and so do the k of x and w. Panels
    of w are ``w_panel`` apart: packed ones, or, where that is W, columns of weights as they are.
    """
    for top in range(0, rows, HEIGHT):  # so many rows of x as stay in the cache
        count, panel, left = min(HEIGHT, rows - top), w, columns
        x_now, s_now, out_now = at(x, top * x_row), at(start, top * s_row), at(out, top * out_row)
        while left > 0:
            panels = 1
            if left < WIDTH and (count <= FEW or w_panel == WIDTH):
                _last_columns(
                    count, x_now, x_row, x_k, panel, w_k, s_now, s_row, out_now, out_row, depth, left
                )
            elif left < WIDTH:
                _last_panel(count, x_now, x_row, x_k, panel, w_k, s_now, s_row, out_now, out_row, depth, left)
            elif count == 1 and left >= 4 * WIDTH:
                one_row_widest(x_now, x_row, x_k, panel, w_panel, w_k, s_now, s_row, out_now, out_row, depth)
                panels = 4
            elif count == 1 and left >= 2 * WIDTH:
                one_row_wide(x_now, x_row, x_k, panel, w_panel, w_k, s_now, s_row, out_now, out_row, depth)
                panels = 2
            elif count == 1:
                one_row(x_now, x_row, x_k, panel, w_panel, w_k, s_now, s_row, out_now, out_row, depth)
            elif count == 2 and left >= 2 * WIDTH:
                two_rows_wide(x_now, x_row, x_k, panel, w_panel, w_k, s_now, s_row, out_now, out_row, depth)
                panels = 2
            else:
                _panel(count, x_now, x_row, x_k, panel, w_k, s_now, s_row, out_now, out_row, depth)
            left, panel = left - panels * WIDTH, at(panel, panels * w_panel)
            s_now, out_now = at(s_now, panels * WIDTH), at(out_now, panels * WIDTH)


@kernel
def affine(x, panels, start, out):
    """out [M, N] = start [N] + x [M, K] times weights in panels [P, K, W]."""
    (rows, columns), depth = out.shape, panels.shape[1]
    product(rows, data(x), depth, 1, data(panels), depth * WIDTH, WIDTH,
            data(start), 0, data(out), columns, depth, columns)  # fmt: skip


@kernel
def accumulate(x, panels, out):
    """out [M, N] += x [M, K] times weights in panels [P, K, W]."""
    accumulate_columns(x, 0, panels, out)


@inner_kernel
def accumulate_columns(x, column, panels, out):
    """out [M, N] += K columns of x [M, S], from one on, times weights in panels [P, K, W]."""
    (rows, columns), depth = out.shape, panels.shape[1]
    product(rows, at(data(x), column), x.shape[1], 1, data(panels), depth * WIDTH, WIDTH,
            data(out), columns, data(out), columns, depth, columns)  # fmt: skip


@kernel
def affine_once(x, weights, start, out):
    """out [M, N] = start [N] + x [M, K] times weights [K, N], which are packed where there are many rows."""
    if len(x) >= MANY:
        affine(x, packed(weights), start, out)
        return
    depth, columns = weights.shape
    product(len(x), data(x), depth, 1, data(weights), WIDTH, columns,
            data(start), 0, data(out), columns, depth, columns)  # fmt: skip


@kernel
def accumulate_once(x, column, weights, out):
    """out [M, N] += K columns of x [M, S], from one on, times weights [K, N], packed as there."""
    if len(x) >= MANY:
        accumulate_columns(x, column, packed(weights), out)
        return
    depth, columns = weights.shape
    product(len(out), at(data(x), column), x.shape[1], 1, data(weights), WIDTH, columns,
            data(out), columns, data(out), columns, depth, columns)  # fmt: skip


@kernel
def multiply(x, weights, start, out):
    """out [M, N] = start [N] + x [M, K] times weights [K, N]."""
    affine(x, packed(weights), start, out)


@kernel
def multiply_transposed(x, weights, out):
    """out [M, K] = x [M, N] times the transpose of weights [K, N]."""
    affine(x, packed_transposed(weights), zeros_of(out.shape[1], out), out)


@kernel
def weights_gradient(x, dy, out):
    """out [K, N] = the transpose of x [M, K] times dy [M, N], in order of M."""
    rows, (inputs, columns) = len(x), out.shape
    room = np.empty(((columns + WIDTH - 1) // WIDTH, DEPTH, WIDTH), out.dtype)
    out[:] = 0
    for top in range(0, rows, DEPTH):
        count = min(DEPTH, rows - top)
        pack(dy[top : top + count], room)
        product(inputs, at(data(x), top * inputs), 1, inputs, data(room), DEPTH * WIDTH, WIDTH,
                data(out), columns, data(out), columns, count, columns)  # fmt: skip


@kernel
def pack(weights, panels):
    """weights [K, N] into panels [P, K or more, W], filled up with zeros."""
    depth, columns = weights.shape
    for p in range(len(panels)):
        count = min(WIDTH, columns - p * WIDTH)
        for k in range(depth):
            panel, some = panels[p, k], carray(at(data(weights), k * columns + p * WIDTH), count)
            if count == WIDTH:
                for j in range(WIDTH):
                    panel[j] = some[j]
            else:
                for j in range(WIDTH):
                    panel[j] = some[j] if j < count else 0


@kernel
def packed(weights):
    """weights [K, N] in panels [P, K, W]."""
    depth, columns = weights.shape
    panels = np.empty(((columns + WIDTH - 1) // WIDTH, depth, WIDTH), weights.dtype)
    pack(weights, panels)
    return panels


@kernel
def packed_transposed(weights):
    """The transpose of weights [K, N] in panels [P, N, W]."""
    inputs, depth = weights.shape
    panels = np.empty(((inputs + WIDTH - 1) // WIDTH, depth, WIDTH), weights.dtype)
    for i in range(len(panels) * WIDTH):
        row, panel = weights[min(i, inputs - 1)], panels[i // WIDTH]
        for k in range(depth):
            panel[k, i % WIDTH] = row[k] if i < inputs else 0
    return panels
