"""One torch thread and the same random numbers for every test, on any machine."""

from collections.abc import Iterator

import pytest
import torch

from rlrnn.cells import CELLS

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def cell_registry() -> Iterator[None]:
    """Cells that a test registers are forgotten after it."""
    known = dict(CELLS)
    yield
    CELLS.clear()
    CELLS.update(known)
