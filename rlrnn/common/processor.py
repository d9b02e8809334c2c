"""What rounds: what decides the last bits of a result, beside the versions of the packages."""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path

import torch
from threadpoolctl import threadpool_info

from rlrnn.common.compiling import can_compile

# By which a user chooses what MKL runs, which does not say it itself.
_MKL = ("MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")


@functools.cache
def kind() -> str:
    """The kind of processor, as the libraries that compute see it: where it is the same, so are the bytes.

    Such as "AuthenticAMD, torch AVX2, BLAS Haswell, numba znver3": the maker (by which MKL chooses its
    kernels), the instructions that torch uses, the kernels of the BLAS under numpy, and the processor that
    numba compiles for, if it does.
    """
    parts = [_maker(), f"torch {torch.backends.cpu.get_cpu_capability()}"]
    kernels = {library.get("architecture") for library in threadpool_info() if library["user_api"] == "blas"}
    parts.append("BLAS " + "/".join(sorted(filter(None, kernels)) or ["unknown"]))
    if can_compile():
        from llvmlite.binding import get_host_cpu_name
        from numba.core import config

        settings = vars(config)  # by NUMBA_CPU_NAME, NUMBA_CPU_FEATURES
        target = settings.get("CPU_NAME") or get_host_cpu_name(), settings.get("CPU_FEATURES")
        parts.append(" ".join(["numba", *filter(None, target)]))
    return ", ".join(parts + [f"{name}={os.environ[name]}" for name in _MKL if os.environ.get(name)])


def _maker() -> str:
    """Who made it, where Linux tells; else the architecture alone."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8", errors="replace").splitlines() if facts.exists() else []
    vendors = (line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id"))
    return next(vendors, platform.machine())
