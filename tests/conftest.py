"""One torch thread and the same random numbers for every test, on any machine.

RLRNN_TEST_SEED=1 gives all tests other numbers: what holds by reason, holds for those, too.
"""

import os
import signal
import sys
from collections.abc import Iterator

import pytest
import torch

from rlrnn.cells import CELLS, make_cell
from rlrnn.common import compiling
from rlrnn.network import population
from rlrnn.network.paths import gated

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are told to ignore it


@pytest.fixture(autouse=True, scope="session")
def _compiled() -> None:
    """What is announced once on stderr has been said before a test looks there."""
    if compiling.can_compile():
        for name, options in (("elman", {}), ("gru", {}), ("lstm", {}), ("lstm", {"coupled": True})):
            cell = make_cell(name, 2, 2, **options)
            gated.unroll(
                cell,
                torch.zeros(2, 2, 2),
                torch.zeros(2, 2, dtype=torch.bool),
                torch.zeros(2, cell.state_size),
            )


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(int(os.environ.get("RLRNN_TEST_SEED", "0")))


@pytest.fixture
def cell_registry() -> Iterator[None]:
    """Cells that a test registers are forgotten after it."""
    known = dict(CELLS)
    yield
    CELLS.clear()
    CELLS.update(known)


@pytest.fixture(params=["kernels", "torch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How a population plays."""
    if request.param == "torch":
        monkeypatch.setattr(population, "plan_of", lambda network: None)
    elif not compiling.can_compile():
        pytest.skip("numba is missing or switched off")
    return str(request.param)


@pytest.fixture(params=["kernels", "torch"])
def computed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What computes: compiled kernels, or torch and numpy alone, as where RLRNN_FAST is 0."""
    if request.param == "torch":
        for name, module in list(sys.modules.items()):
            if name.startswith("rlrnn.") and "can_compile" in vars(module):
                monkeypatch.setattr(module, "can_compile", lambda: False)
    elif not compiling.can_compile():
        pytest.skip("numba is missing or switched off")
    return str(request.param)
