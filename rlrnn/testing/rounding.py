"""How far two ways of computing the same may be apart: by rounding alone, on any processor.

Which instructions a processor has, and how a library cuts a product up, decide in which order sums are taken.
So bytes are the same only where the same operations ran in the same order; elsewhere two results differ by at
most the roundings on the way, each of a unit in the last place of the greatest number around (Higham 2002,
"Accuracy and Stability of Numerical Algorithms", equation 3.2, with n for gamma_n).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

LAYER_NORM = 1e-5**-0.5  # a rounding is divided by the deviation of the units, which is at least that root


def bound(dtype: torch.dtype, steps: int, rows: int, units: int, normed: bool = False) -> float:
    """Of an unrolled cell's results and gradients, as a fraction of the greatest number in each.

    A step sums over its units, a gradient over steps and rows; some 16 operations are added to the products,
    and divided by a deviation in up to two norms. Kernel and loop are as near to the truth: of 60 LSTMs with
    coupled gates and norms in float32, beside the loop in float64, the kernel is nearer in 24, the median
    errors are 1.4e-6 and 1.2e-6, the greatest 1.4e-5 and 5.8e-5.
    """
    roundings = steps * (units + rows + 16) + normed * 2 * 16 * LAYER_NORM
    return roundings * torch.finfo(dtype).eps


def assert_close(found: Sequence[Tensor], wanted: Sequence[Tensor], within: float) -> None:
    """To a fraction of the greatest number in each, or of 1 if that is greater; NaN where wanted."""
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        numbers = other.isfinite()
        assert torch.equal(one.isfinite(), numbers) and torch.equal(one.isnan(), other.isnan())
        if numbers.any():
            one, other = one[numbers].double(), other[numbers].double()
            error = (one - other).abs().max() / other.abs().max().clamp(min=1.0)
            assert error <= within, f"{error} is more than {within}"
