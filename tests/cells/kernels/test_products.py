"""Products: right to rounding, and in one order, which no tile, row, panel or processor changes."""

import hashlib
import itertools

import numpy as np
import pytest

from rlrnn.common import compiling

if not compiling.can_compile():
    pytest.skip("numba cannot compile here, or is switched off", allow_module_level=True)

import numba

from rlrnn.cells.kernels import arithmetic, products
from rlrnn.cells.kernels.arithmetic import fma
from rlrnn.cells.kernels.products import ROWS, WIDTH

ROW_COUNTS = [1, 2, 3, 4, 5, ROWS, ROWS + 1, 2 * ROWS + 1, products.HEIGHT + 3]
WIDTHS = [1, 2, WIDTH - 1, WIDTH, WIDTH + 1, 4 * WIDTH, 5 * WIDTH + 3]
DEPTHS = [0, 1, 7, 64]


def numbers(*shape: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    """Between -1 and 1; the same on every machine, as they are whole multiples of 2^-20."""
    whole = np.random.default_rng(seed).integers(-(2**20), 2**20, shape, endpoint=True)
    return (whole / 2**20).astype(dtype)


@numba.njit
def in_order(x, weights, start, out):
    """Number by number: what every product has to equal."""
    for r in range(len(x)):
        for j in range(weights.shape[1]):
            total = start[j]
            for k in range(x.shape[1]):
                total = fma(x[r, k], weights[k, j], total)
            out[r, j] = total


def made(rows: int, depth: int, width: int, dtype: str = "float32") -> tuple[np.ndarray, ...]:
    x, weights = numbers(rows, depth, dtype=dtype), numbers(depth, width, seed=1, dtype=dtype)
    return x, weights, numbers(width, seed=2, dtype=dtype), np.full((rows, width), np.nan, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("depth", DEPTHS)
def test_a_product_is_its_sums_in_order_whatever_its_shape(depth: int, dtype: str) -> None:
    for rows, width in itertools.product(ROW_COUNTS, WIDTHS):
        x, weights, start, out = made(rows, depth, width, dtype)
        wanted = out.copy()
        in_order(x, weights, start, wanted)
        np.testing.assert_allclose(wanted, start + x.astype(float) @ weights.astype(float), atol=1e-5)
        for product in (products.multiply, products.affine_once):
            out[:] = np.nan
            product(x, weights, start, out)
            assert out.tobytes() == wanted.tobytes(), (rows, width)
        twice, both = wanted.copy(), wanted.copy()
        products.accumulate(x, products.packed(weights), twice)
        products.accumulate_once(np.pad(x, ((0, 0), (2, 3))), 2, weights, both)
        assert twice.tobytes() == both.tobytes()
        np.testing.assert_allclose(twice - wanted, wanted - start, atol=5e-5)


@pytest.mark.parametrize("rows", [0, 1, 5, products.DEPTH, products.DEPTH + 1, 3 * products.DEPTH + 7])
def test_the_gradients_of_a_product(rows: int) -> None:
    for inputs, width in itertools.product([1, 3, 2 * ROWS + 1], WIDTHS):
        x, weights, _, dy = made(rows, inputs, width)
        dy = numbers(*dy.shape, seed=3)
        wanted = np.empty((inputs, width), np.float32)
        for i in range(inputs):  # a sum over the rows, in their order
            in_order(x[:, i : i + 1].T.copy(), dy, np.zeros(width, np.float32), wanted[i : i + 1])
        found = np.full_like(wanted, np.nan)
        products.weights_gradient(x, dy, found)
        assert found.tobytes() == wanted.tobytes()
        wanted = np.empty_like(x)
        in_order(dy, weights.T.copy(), np.zeros(inputs, np.float32), wanted)
        found = np.full_like(wanted, np.nan)
        products.multiply_transposed(dy, weights, found)
        assert found.tobytes() == wanted.tobytes()


@numba.njit
def inside(x, panels, start, around, depth, columns):
    """A product in the middle of an array: from its second row and its third column on."""
    row = around.shape[1]
    products.product(
        len(x), products.data(x), depth, 1, products.data(panels), depth * WIDTH, WIDTH,
        products.data(start), 0, products.at(products.data(around), row + 2), row, depth, columns,
    )  # fmt: skip


def test_nothing_beside_the_result_is_touched() -> None:
    """Rows and columns around it keep their numbers, in what is read and in what is written."""
    x, weights, start, _ = made(ROWS + 1, 5, WIDTH + 3)
    around = np.full((ROWS + 3, WIDTH + 9), 7.0, np.float32)
    columns = WIDTH + 3
    inside(x, products.packed(weights), start, around, 5, columns)
    wanted = np.empty((len(x), columns), np.float32)
    in_order(x, weights, start, wanted)
    within = np.zeros(around.shape, bool)
    within[1:-1, 2 : 2 + columns] = True
    assert around[within].tobytes() == wanted.tobytes() and (around[~within] == 7.0).all()


def test_nan_and_infinity_stay_where_they_belong() -> None:
    x, weights, start, out = made(ROWS, 4, WIDTH + 1)
    x[1, 2], weights[:, WIDTH] = np.nan, np.inf
    products.multiply(x, weights, start, out)
    assert np.isnan(out[1]).all() and np.isfinite(np.delete(out, 1, axis=0)[:, :WIDTH]).all()


def test_functions_of_nan_are_nan_and_those_of_infinity_their_limits() -> None:
    @numba.njit(error_model="numpy")
    def each(x, y):
        for i in range(len(x)):
            y[i, 0], y[i, 1], y[i, 2] = arithmetic.tanh(x[i]), arithmetic.sigmoid(x[i]), arithmetic.exp(x[i])

    x = np.array([np.nan, np.inf, -np.inf], np.float32)
    y = np.empty((3, 3), np.float32)
    each(x, y)
    assert np.isnan(y[0]).all()
    np.testing.assert_allclose(y[1:, :2], [[1.0, 1.0], [-1.0, 0.0]], atol=2e-7)
    assert y[1, 2] > 6e37 and 0.0 <= y[2, 2] < 2e-38  # kept finite


DIGESTS = {  # of float32 results; whatever the processor, these are the bytes
    "products": "5dcb027930af5294",
    "gradients": "eaca615a8096c9d9",
    "tanh": "b855535cf4a07d4f",
    "exp": "dd9f056af6af154c",
    "log": "00ed013976a2338a",
    "sigmoid": "40fba6391b08960d",
}


def results() -> dict[str, list[np.ndarray]]:
    found: dict[str, list[np.ndarray]] = {"products": [], "gradients": []}
    for rows, width in ((1, 5), (2, 64), (13, 40), (100, 131)):
        x, weights, start, out = made(rows, 33, width)
        products.multiply(x, weights, start, out)
        found["products"].append(out)
        gradient = np.empty_like(weights)
        products.weights_gradient(x, out, gradient)
        found["gradients"].append(gradient)
    for name in ("tanh", "exp", "log", "sigmoid"):
        function, x = getattr(arithmetic, name), 20.0 * numbers(10_000)
        x = np.abs(x) if name == "log" else x

        @numba.njit(error_model="numpy")
        def each(x, y, function=function):
            for i in range(len(x)):
                y[i] = function(x[i])

        y = np.empty_like(x)
        each(x, y)
        found[name] = [y]
    return found


def test_the_bytes_are_the_same_on_every_processor() -> None:
    digests = {
        name: hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()[:16]
        for name, arrays in results().items()
    }
    assert digests == DIGESTS
