"""Modules of a package by their dotted names, and a user's own, which register games and cells."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from rlrnn.errors import GAME_ERRORS, UserError, place


def modules_of(package: str) -> Callable[[str], ModuleType]:
    """What that package takes as its ``__getattr__``."""

    def module(name: str) -> ModuleType:
        if not name.startswith("_") and find_spec(f"{package}.{name}"):
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return module


def import_module(name: str) -> None:
    """Import a user's module, by its dotted name or as a file, so that it can register games and cells."""
    path = Path(name)
    sys.path.insert(0, str(path.parent.resolve() if path.suffix == ".py" else Path.cwd()))
    if path.suffix != ".py":
        if importlib.util.find_spec(name.partition(".")[0]) is None:
            raise UserError(f"--import {name}: there is no such module; give a file (.py) or a dotted name.")
        _execute(name, name)
        return
    if not path.exists():
        raise UserError(f"--import {name}: there is no such file; check the path.")
    loaded = sys.modules.get(path.stem)
    if loaded is not None and Path(loaded.__file__ or "").resolve() != path.resolve():
        raise UserError(f"--import {name}: another module is called {path.stem}; rename the file.")
    _execute(path.stem, name)


@dataclass(frozen=True)
class Modules:
    """Modules that another process imports when this is called there."""

    names: tuple[str, ...]
    sources: Mapping[str, str] = field(default_factory=dict)  # what files hold, for a machine that has none

    @classmethod
    def travelling(cls, names: Sequence[str]) -> Modules:
        """With what their files hold now."""
        files = [name for name in names if name.endswith(".py")]
        return cls(tuple(names), {name: Path(name).read_text(encoding="utf-8") for name in files})

    def __call__(self) -> None:
        """Import them."""
        for name in self.names:
            source = self.sources.get(name)
            if source is None:
                import_module(name)
            elif Path(name).stem not in sys.modules:
                path = Path(tempfile.mkdtemp(prefix="rlrnn-"), Path(name).name)
                path.write_text(source, encoding="utf-8")
                import_module(str(path))


def _execute(module: str, name: str) -> None:
    try:
        importlib.import_module(module)
    except UserError as error:  # what it registers is refused
        raise UserError(f"--import {name}: {str(error).removesuffix('.')}{place(error)}.") from error
    except GAME_ERRORS as error:
        where = "" if isinstance(error, SyntaxError) else place(error)  # which says by itself where it is
        raise UserError(f"--import {name} raised {type(error).__name__}: {error}{where}.") from error
