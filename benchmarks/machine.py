"""What the machine is, and its limit: float32 matrix products, one thread per process, one process per core.

    python benchmarks/machine.py

prints five probes: GFLOP/s of all cores together, and of one alone. A shared machine's speed drifts, so
``speed.py`` asks again before a measurement and compares with that answer.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from sides import Side, cores


class Limit:
    """A process per core that multiplies matrices when asked; a context manager that ends them."""

    def __init__(self) -> None:
        self.sides = [Side(f"matrix products {k}") for k in range(cores())]
        self.probe(0.01)  # waits until all are up

    def probe(self, seconds: float = 0.2) -> float:
        """GFLOP/s of all cores together, all at once."""
        return sum(_rates(self.sides, seconds))

    def probe_one(self, seconds: float = 0.2) -> float:
        """GFLOP/s of one core while the others rest."""
        return sum(_rates(self.sides[:1], seconds))

    def __enter__(self) -> Limit:
        return self

    def __exit__(self, *_: object) -> None:
        for side in self.sides:
            side.__exit__()


def _rates(sides: list[Side], seconds: float) -> list[float]:
    for side in sides:
        side.send("multiply", seconds=seconds)
    return [float(side.receive()["gflops"]) for side in sides]


def facts() -> dict[str, Any]:
    """Where and with what the figures were taken."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            processor = line.split(":", 1)[1].strip()
    with Side("rlrnn") as side:  # the levels that the libraries run at here
        side.send("kind")
        kind = side.receive()["kind"]
    names = ("rlrnn", "torch", "numpy", "gymnasium", "stable-baselines3", "sb3-contrib", "numba", "scipy")
    known = {d.metadata["Name"].replace("_", "-") for d in importlib.metadata.distributions()}
    return {
        "processor": processor,
        "kind": kind,
        "cores": cores(),
        "load": os.getloadavg()[0],  # before we began: what else is running
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in names if name in known},
    }


def main() -> None:
    with Limit() as limit:
        print(f"{cores()} cores together   one alone   (GFLOP/s)")
        for _ in range(5):
            print(f"{limit.probe():16.0f}   {limit.probe_one():9.0f}")


if __name__ == "__main__":
    main()
