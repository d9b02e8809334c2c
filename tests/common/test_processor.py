"""A run knows what decides its last bits, as the libraries themselves say it."""

import os
import subprocess
import sys

import pytest
import torch

from rlrnn.common import compiling, processor
from rlrnn.experiment.recipes import NetworkRecipe
from rlrnn.experiment.runs import runs

ALSO = ("MKL_ENABLE_INSTRUCTIONS", "NUMBA_CPU_FEATURES")  # what else may be chosen around a test
X86 = processor._maker() in ("GenuineIntel", "AuthenticAMD")


def test_a_run_notes_the_kind_of_processor() -> None:
    facts = runs.versions(NetworkRecipe(), "cpu")
    assert facts["processor"] == processor.kind()
    told = processor.kind().split(", ")
    assert f"torch {torch.backends.cpu.get_cpu_capability()}" in told
    assert any(part.startswith("BLAS ") for part in told)
    assert any(part.startswith("numba ") for part in told) == compiling.can_compile()


@pytest.mark.skipif(not X86, reason="levels of another architecture")
def test_whatever_chooses_other_instructions_is_another_kind() -> None:
    if not compiling.can_compile():
        pytest.skip("numba is missing or switched off")
    chosen = {
        "ATEN_CPU_CAPABILITY": "default",
        "OPENBLAS_CORETYPE": "Nehalem",
        "NUMBA_CPU_NAME": "nehalem",
        "MKL_CBWR": "COMPATIBLE",
    }
    code = "from rlrnn.common import processor; print(processor.kind())"
    said = subprocess.run(
        [sys.executable, "-c", code],
        env={name: value for name, value in os.environ.items() if name not in ALSO} | chosen,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    told = ", ".join(
        (processor._maker(), "torch DEFAULT", "BLAS Nehalem", "numba nehalem", "MKL_CBWR=COMPATIBLE")
    )
    assert said == told
