"""Our games are known to Gymnasium once both packages are imported, in either order.

Importing Gymnasium takes many times as long as importing this package, so that is not done here: if it is
there, our games are registered now, else when it comes.
"""

from __future__ import annotations

import importlib
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # which would take longer than all else here
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

AWAITED = "gymnasium"


def register_games() -> None:
    """Now, or as soon as Gymnasium has been imported."""
    if AWAITED in sys.modules:
        importlib.import_module("rlrnn.games")
    else:
        sys.meta_path.insert(0, Finder())


class Finder:
    """Finds Gymnasium as the other finders do, and adds our games to what is done when it is loaded."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Nothing but Gymnasium."""
        if fullname != AWAITED:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((each for each in found if each is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = Loading(spec.loader, self)  # type: ignore[assignment]
        return spec


class Loading:
    """The loader that was found, and our games after it."""

    def __init__(self, loader: Any, finder: Finder) -> None:
        self.loader, self.finder = loader, finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)  # get_data and the like, which its own loader may have

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As found."""
        made: ModuleType | None = self.loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """As found; then the finder has done its work."""
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        if self.finder in sys.meta_path:
            sys.meta_path.remove(self.finder)
        importlib.import_module("rlrnn.games")
