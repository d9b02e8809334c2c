"""Results as one JSON line per run: a batch that was broken off goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read(out: Path) -> list[dict[str, Any]]:
    """The runs so far."""
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def add(out: Path, line: dict[str, Any]) -> None:
    """Keep one more."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a") as file:
        file.write(json.dumps(line) + "\n")
