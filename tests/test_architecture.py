"""The folders are as CONTRIBUTING says: who may import whom, and what the package offers."""

import ast
import importlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import networkx as nx
import pytest

import rlrnn
from rlrnn.common import registration

PACKAGE = Path(rlrnn.__file__).parent

# Who may know whom: a room is a folder of the package, read off a module's path.
GROUND = {"_version", "errors", "common"}
KNOWS = {
    "_version": set(),
    "errors": set(),
    "common": {"errors"},
    "storage": GROUND,
    "cells": GROUND,
    "games": GROUND,
    "network": GROUND | {"cells", "storage"},
    "envs": GROUND | {"games"},
    "learners": GROUND | {"storage", "cells", "games", "network", "envs"},
    "experiment": GROUND | {"storage", "cells", "games", "network", "envs", "learners"},
    "testing": GROUND | {"storage", "cells", "games", "network", "envs", "learners"},
    "shell": GROUND | {"storage", "cells", "games", "network", "envs", "learners", "experiment"},
}
SOURCES = sorted(PACKAGE.rglob("*.py"))
MODULES = [path for path in SOURCES if path.parent != PACKAGE or path.stem in ("_version", "errors")]


def room_of(path: Path) -> str:
    """games/kernels/pong.py belongs to games."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_names(path: Path) -> set[str]:
    """What a file imports of ours, at its top or later, but for type checkers alone."""
    tree = ast.parse(path.read_text())
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    typing = [block for block in blocks if "TYPE_CHECKING" in ast.unparse(block.test)]
    unseen = {id(node) for block in typing for node in ast.walk(block)}
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in unseen:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.startswith("rlrnn.")}


def imported(path: Path) -> set[str]:
    """Rooms of which a file imports something."""
    return {name.split(".")[1] for name in imported_names(path)}


def name_of(path: Path) -> str:
    """games/pong.py is rlrnn.games.pong, games/__init__.py rlrnn.games."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def circles(arrows: set[tuple[str, str]]) -> list[set[str]]:
    return [c for c in nx.strongly_connected_components(nx.DiGraph(list(arrows))) if len(c) > 1]


def test_every_module_lies_in_a_room() -> None:
    assert {room_of(path) for path in MODULES} == set(KNOWS)
    assert {path.name for path in SOURCES if path not in MODULES} == {"__init__.py", "__main__.py"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows_run_one_way(path: Path) -> None:
    here = path.relative_to(PACKAGE).as_posix()
    known = imported(path) & set(KNOWS)
    assert known <= KNOWS[room_of(path)] | {room_of(path)}, f"{here} knows {known}"


def test_neither_files_nor_folders_know_each_other_in_circles() -> None:
    files = {name_of(path): path for path in MODULES}
    arrows: set[tuple[str, str]] = set()
    for name, path in files.items():
        for known in imported_names(path):
            target = known
            while target not in files and "." in target:
                target = target.rpartition(".")[0]
            if target in files and target != name:
                arrows.add((name, target))
    assert len(arrows) > 400 and circles(arrows) == []
    folder = {name: name_of(path.parent / "__init__.py") for name, path in files.items()}
    of_folders = {(folder[a], folder[b]) for a, b in arrows if folder[a] != folder[b]} - {
        (folder[a], "rlrnn")
        for a in files  # errors and the version, which know nobody
    }
    assert len(of_folders) > 40 and circles(of_folders) == []
    assert circles({("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")}) == [{"a", "b", "c"}]


@pytest.mark.parametrize("folder", sorted({path.parent for path in SOURCES}), ids=lambda path: path.name)
def test_a_folder_is_seen_at_a_glance(folder: Path) -> None:
    assert len([path for path in folder.iterdir() if path.suffix == ".py"]) <= 24
    assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text())), "a folder says what it holds"


def test_an_arrow_that_runs_backwards_is_seen(tmp_path: Path) -> None:
    source = """
import rlrnn.learners.ppo.ppo
def f():
    from rlrnn import envs, __version__
    from rlrnn.cells.gru import Gru
"""
    path = tmp_path / "sequence.py"
    path.write_text(source)
    assert imported(path) == {"learners", "envs", "__version__", "cells"}


def test_everything_on_offer_is_there() -> None:
    assert rlrnn.__all__ == ["__version__", *sorted(rlrnn._HOMES)]
    for name in rlrnn.__all__:
        assert getattr(rlrnn, name) is not None
        assert name in dir(rlrnn)
    with pytest.raises(AttributeError, match="'rlrnn' has no attribute 'RecurrentPpo'"):
        rlrnn.RecurrentPpo  # noqa: B018


def test_no_module_has_the_name_of_something_on_offer() -> None:
    """Importing such a module would replace what ``rlrnn.<name>`` is."""
    assert not set(rlrnn.__all__) & {room_of(path) for path in SOURCES}


def test_what_type_checkers_see_is_what_is_imported() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom) and node.module
        if node.module == "typing":
            continue
        for alias in node.names:
            assert alias.asname == alias.name
            seen[alias.name] = node.module.removeprefix("rlrnn.")
    assert seen == rlrnn._HOMES


@pytest.mark.parametrize("first", ["rlrnn", "rlrnn.shell.cli"])
def test_help_does_not_wait_for_torch(first: str) -> None:
    heavy = "{'torch', 'gymnasium', 'stable_baselines3', 'matplotlib', 'numba', 'scipy'}"
    code = f"import sys, {first}; late = {heavy} & set(sys.modules); sys.exit(str(late) if late else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_gymnasium_knows_our_games_when_it_is_imported_after_us() -> None:
    code = "import rlrnn, gymnasium, sys; sys.exit('rlrnn/Pong-v0' not in gymnasium.registry)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_waits_for_gymnasium_leaves_no_trace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A module of another name in its place, which fails at first."""
    (tmp_path / "awaited.py").write_text(
        "import math, sys\nassert hasattr(sys, 'awaited_may_load')\nvalue = 7\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registration, "AWAITED", "awaited")
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    before = list(sys.meta_path)
    registration.register_games()
    assert len(sys.meta_path) == len(before) + 1
    with pytest.raises(AssertionError):
        importlib.import_module("awaited")
    imported: list[str] = []
    load = importlib.import_module
    monkeypatch.setattr(registration.importlib, "import_module", lambda name: imported.append(name))
    monkeypatch.setattr(sys, "awaited_may_load", True, raising=False)
    module = load("awaited")
    assert (module.value, imported, sys.meta_path) == (7, ["rlrnn.games"], before)
    assert type(module.__spec__.loader).__module__ == "_frozen_importlib_external"  # type: ignore[union-attr]
    monkeypatch.delitem(sys.modules, "awaited")


def test_a_module_is_reached_by_its_dotted_name() -> None:
    vars(rlrnn).pop("storage", None)
    assert rlrnn.storage.encoding.register_class is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        rlrnn.nothing  # noqa: B018


def test_no_benchmark_hides_a_module_that_somebody_imports() -> None:
    """A script's folder comes first where Python looks: benchmarks/coverage.py once broke numba."""
    taken = {*sys.stdlib_module_names, *importlib.metadata.packages_distributions(), "coverage"}
    assert not taken & {path.stem for path in (PACKAGE.parent / "benchmarks").glob("*.py")}
