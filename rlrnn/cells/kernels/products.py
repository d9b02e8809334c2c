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
from numba.extending import intrinsic, overload

from rlrnn.cells.kernels.arithmetic import fma, inlined, kernel
from rlrnn.common.compiling import c_function, vector_bytes

LANES = vector_bytes() // 4  # numbers in a vector register
VECTORS = 2  # side by side in a panel
WIDTH = VECTORS * LANES  # of a panel
ROWS = 8 if LANES == 16 else 6  # of the largest tile: its sums fill most of the 32 or 16 registers
HEIGHT = 96  # rows of x that a panel is used for at once
MANY = 4 * ROWS  # rows that make it worth while to pack weights for one product
DEPTH = 128  # rows of a transposed product that are packed at once


def tile(rows, panels):
    """The intrinsic that makes a tile of so many rows, and of so many panels side by side.

    out [rows, panels * W] = start + x [rows, K] times weights. Arrays are given by addresses; their rows, and
    the k of x and w, and panels, lie so many numbers apart.
    """

    @intrinsic
    def run(typing, x, x_row, x_k, w, w_panel, w_k, start, s_row, out, out_row, depth):
        def generate(context, builder, signature, arguments):
            _generate(rows, panels, builder, *arguments)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 11), generate

    return run


def _generate(rows, panels, b, x, x_row, x_k, w, w_panel, w_k, start, s_row, out, out_row, depth):
    i32, i64, f32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
    vector = ir.VectorType(f32, LANES)

    def number(n):
        return ir.Constant(i64, n)

    def place(base, row, stride, column):
        return b.gep(base, [b.add(b.mul(number(row), stride), number(column))])

    def load(pointer):
        loaded = b.load(b.bitcast(pointer, vector.as_pointer()))
        loaded.align = 4
        return loaded

    fma = cgutils.get_or_insert_function(
        b.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{LANES}f32"
    )
    x, w, start, out = (b.inttoptr(address, f32.as_pointer()) for address in (x, w, start, out))
    everywhere = ir.Constant(ir.VectorType(i32, LANES), [0] * LANES)
    undefined = ir.Constant(vector, ir.Undefined)
    columns = [(q, v * LANES) for q in range(panels) for v in range(VECTORS)]  # of the weights
    places = [(r, c * LANES) for r in range(rows) for c in range(len(columns))]  # of the sums
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
        stored.align = 4


one_row, one_row_wide = tile(1, 1), tile(1, 4)
two_rows, two_rows_wide = tile(2, 1), tile(2, 2)
three_rows, four_rows, five_rows, six_rows = tile(3, 1), tile(4, 1), tile(5, 1), tile(6, 1)
seven_rows, eight_rows = (tile(7, 1), tile(8, 1)) if ROWS == 8 else (six_rows, six_rows)


@inlined
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
        x, start, out = x + 4 * count * x_row, start + 4 * count * s_row, out + 4 * count * out_row


@intrinsic
def pointer(typing, address):
    """Of float32 numbers."""
    pointer = types.CPointer(types.float32)

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(pointer))

    return pointer(types.intp), generate


@inlined
def _last_panel(rows, x, x_row, x_k, w, w_k, start, s_row, out, out_row, depth, columns):
    """A panel that zeros fill up, by way of an array as wide."""
    part = np.zeros(rows * WIDTH, np.float32)
    begin, end = carray(pointer(start), rows * s_row + columns), carray(pointer(out), rows * out_row)
    for r in range(rows):
        for j in range(columns):
            part[r * WIDTH + j] = begin[r * s_row + j]
    at = part.ctypes.data
    _panel(rows, x, x_row, x_k, w, w_k, at, WIDTH, at, WIDTH, depth)
    for r in range(rows):
        for j in range(columns):
            end[r * out_row + j] = part[r * WIDTH + j]


@inlined
def _last_columns(rows, x, x_row, x_k, w, w_k, start, s_row, out, out_row, depth, columns):
    """The same where nothing fills it up: number by number."""
    for r in range(rows):
        begin = carray(pointer(start + 4 * r * s_row), columns)
        end = carray(pointer(out + 4 * r * out_row), columns)
        for j in range(columns):
            end[j] = begin[j]
        for k in range(depth):
            one = carray(pointer(x + 4 * (r * x_row + k * x_k)), 1)[0]
            weights = carray(pointer(w + 4 * k * w_k), columns)
            for j in range(columns):
                end[j] = fma(one, weights[j], end[j])


@c_function("rlrnn_product", types.void(*[types.intp] * 13))
def _product(rows, x, x_row, x_k, w, w_panel, w_k, start, s_row, out, out_row, depth, columns):
    """``product`` by addresses: compiled once, and part of no kernel that calls it."""
    for top in range(0, rows, HEIGHT):  # so many rows of x as stay in the cache
        count, at, left = min(HEIGHT, rows - top), w, columns
        x_top, s_top, out_top = x + 4 * top * x_row, start + 4 * top * s_row, out + 4 * top * out_row
        while left > 0:
            panels = 1
            if left < WIDTH and w_panel == WIDTH:
                _last_columns(count, x_top, x_row, x_k, at, w_k, s_top, s_row, out_top, out_row, depth, left)
            elif left < WIDTH:
                _last_panel(count, x_top, x_row, x_k, at, w_k, s_top, s_row, out_top, out_row, depth, left)
            elif count == 1 and left >= 4 * WIDTH:
                one_row_wide(x_top, x_row, x_k, at, w_panel, w_k, s_top, s_row, out_top, out_row, depth)
                panels = 4
            elif count == 2 and left >= 2 * WIDTH:
                two_rows_wide(x_top, x_row, x_k, at, w_panel, w_k, s_top, s_row, out_top, out_row, depth)
                panels = 2
            else:
                _panel(count, x_top, x_row, x_k, at, w_k, s_top, s_row, out_top, out_row, depth)
            left, at = left - panels * WIDTH, at + 4 * panels * w_panel
            s_top, out_top = s_top + 4 * panels * WIDTH, out_top + 4 * panels * WIDTH


def _in_double(
    rows, x, x_at, x_row, x_k, w, w_at, w_panel, w_k, start, s_at, s_row, out, out_at, out_row, depth, columns
):
    """``product`` in float64, for which no tiles are made."""
    for r in range(rows):
        for j in range(columns):
            total, at = start[s_at + r * s_row + j], w_at + j // WIDTH * w_panel + j % WIDTH
            for k in range(depth):
                total = fma(x[x_at + r * x_row + k * x_k], w[at + k * w_k], total)
            out[out_at + r * out_row + j] = total


def product(
    rows, x, x_at, x_row, x_k, w, w_at, w_panel, w_k, start, s_at, s_row, out, out_at, out_row, depth, columns
):
    """out [M, N] = start [M, N] + x [M, K] times weights [K, N].

    All arrays are flat: each begins at an offset, its rows lie a stride apart, and so do the k of x and w.
    Panels of w are ``w_panel`` apart: packed ones, or, where that is W, columns of weights as they are.
    """
    raise NotImplementedError("compiled code only")


def _by_tiles(
    rows, x, x_at, x_row, x_k, w, w_at, w_panel, w_k, start, s_at, s_row, out, out_at, out_row, depth, columns
):
    x_data, w_data = x.ctypes.data + 4 * x_at, w.ctypes.data + 4 * w_at
    start_data, out_data = start.ctypes.data + 4 * s_at, out.ctypes.data + 4 * out_at
    _product(rows, x_data, x_row, x_k, w_data, w_panel, w_k,
             start_data, s_row, out_data, out_row, depth, columns)  # fmt: skip


@overload(product)
def _choose_product(
    rows, x, x_at, x_row, x_k, w, w_at, w_panel, w_k, start, s_at, s_row, out, out_at, out_row, depth, columns
):
    return _by_tiles if x.dtype == types.float32 else _in_double


@kernel
def affine(x, panels, start, out):
    """out [M, N] = start [N] + x [M, K] times weights in panels [P, K, W]."""
    depth, columns = panels.shape[1], out.shape[1]
    product(len(x), x.reshape(-1), 0, depth, 1, panels.reshape(-1), 0, depth * WIDTH, WIDTH,
            start, 0, 0, out.reshape(-1), 0, columns, depth, columns)  # fmt: skip


@kernel
def accumulate(x, panels, out):
    """out [M, N] += x [M, K] times weights in panels [P, K, W]."""
    depth, columns, flat = panels.shape[1], out.shape[1], out.reshape(-1)
    product(len(x), x.reshape(-1), 0, depth, 1, panels.reshape(-1), 0, depth * WIDTH, WIDTH,
            flat, 0, columns, flat, 0, columns, depth, columns)  # fmt: skip


@kernel
def affine_once(x, weights, start, out):
    """out [M, N] = start [N] + x [M, K] times weights [K, N], which are packed where there are many rows."""
    if len(x) >= MANY:
        affine(x, packed(weights), start, out)
        return
    depth, columns = weights.shape
    product(len(x), x.reshape(-1), 0, depth, 1, weights.reshape(-1), 0, WIDTH, columns,
            start, 0, 0, out.reshape(-1), 0, columns, depth, columns)  # fmt: skip


@kernel
def accumulate_once(x, column, weights, out):
    """out [M, N] += K columns of x [M, S], from one on, times weights [K, N], packed as there."""
    (depth, columns), size, flat = weights.shape, x.shape[1], out.reshape(-1)
    w, w_panel, w_k = weights.reshape(-1), WIDTH, columns
    if len(x) >= MANY:
        w, w_panel, w_k = packed(weights).reshape(-1), depth * WIDTH, WIDTH
    product(len(out), x.reshape(-1), column, size, 1, w, 0, w_panel, w_k,
            flat, 0, columns, flat, 0, columns, depth, columns)  # fmt: skip


@kernel
def multiply(x, weights, start, out):
    """out [M, N] = start [N] + x [M, K] times weights [K, N]."""
    affine(x, packed(weights), start, out)


@kernel
def multiply_transposed(x, weights, out):
    """out [M, K] = x [M, N] times the transpose of weights [K, N]."""
    affine(x, packed_transposed(weights), np.zeros(out.shape[1], out.dtype), out)


@kernel
def weights_gradient(x, dy, out):
    """out [K, N] = the transpose of x [M, K] times dy [M, N], in order of M."""
    rows, inputs = x.shape
    columns, flat, zeros = dy.shape[1], out.reshape(-1), np.zeros(dy.shape[1], out.dtype)
    if rows == 0:
        out[:] = 0
    room = np.empty(((columns + WIDTH - 1) // WIDTH, DEPTH, WIDTH), out.dtype)
    for top in range(0, rows, DEPTH):
        count = min(DEPTH, rows - top)
        pack(dy[top : top + count], room)
        start, s_row = (flat, columns) if top > 0 else (zeros, 0)
        product(inputs, x.reshape(-1), top * inputs, 1, inputs, room.reshape(-1), 0, DEPTH * WIDTH, WIDTH,
                start, 0, s_row, flat, 0, columns, count, columns)  # fmt: skip


@kernel
def pack(weights, panels):
    """weights [K, N] into panels [P, K or more, W], filled up with zeros."""
    columns = weights.shape[1]
    for k in range(len(weights)):
        row = weights[k]
        for p in range(columns // WIDTH):
            some, panel = row[p * WIDTH : (p + 1) * WIDTH], panels[p, k]
            for j in range(WIDTH):
                panel[j] = some[j]
        first = columns // WIDTH * WIDTH
        if first < columns:
            panel = panels[len(panels) - 1, k]
            for j in range(WIDTH):
                panel[j] = row[first + j] if first + j < columns else 0


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
    panels = np.zeros(((inputs + WIDTH - 1) // WIDTH, depth, WIDTH), weights.dtype)
    for i in range(inputs):
        row, panel = weights[i], panels[i // WIDTH]
        for k in range(depth):
            panel[k, i % WIDTH] = row[k]
    return panels
