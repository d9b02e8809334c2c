"""Data that travels with the package: in the installed wheel within it, in a checkout beside it."""

from __future__ import annotations

from pathlib import Path

from rlrnn.errors import FileFault

PACKAGE = Path(__file__).parents[1]


def folders(name: str, checkout: str | None = None) -> list[Path]:
    """Where such a folder may be, the installed one first; in a checkout it may have another name."""
    return [PACKAGE / "data" / name, PACKAGE.parent / (checkout or name)]


def toml_files(folder: str) -> dict[str, Path]:
    """The TOML files of a catalogue by name."""
    for place in folders(folder):
        if place.is_dir():
            return dict(sorted((path.stem, path) for path in place.glob("*.toml")))
    raise FileFault(f"the catalogue {folder}/ is not beside the package {PACKAGE}: install rlrnn again.")
