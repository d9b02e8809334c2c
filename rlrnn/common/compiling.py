"""Functions compiled by numba: whether it can, what it keeps on disk, the line that says so.

A folder of machine code that cannot be read or written, damaged or full, is no reason to end a training.
"""

from __future__ import annotations

import ast
import functools
import gc
import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

SWITCH = "RLRNN_FAST"  # "0" in the environment: torch and numpy run everything
OPTIONS: dict[str, Any] = {
    "nogil": True,
    "boundscheck": False,
    "error_model": "numpy",
    "no_cfunc_wrapper": True,  # compiled code calls the function itself, by its symbol
}
UNWRAPPED: dict[str, Any] = {"no_cpython_wrapper": True}  # what Python cannot call, made in less time


@functools.cache
def can_compile() -> bool:
    """Whether numba is there, not switched off, and starts; why it does not is said once, on stderr."""
    if os.environ.get(SWITCH, "1") == "0":
        return False
    if importlib.util.find_spec("numba") is None:
        return _without("numba is not installed")
    try:
        import numba
    except Exception as error:  # it refuses a numpy that is newer than itself, or its LLVM cannot be loaded
        return _without(f"numba cannot start: {' '.join(str(error).split())}")
    if vars(numba.config)["DISABLE_JIT"]:
        return _without("NUMBA_DISABLE_JIT is set")
    import llvmlite.binding as llvm

    if vars(numba.config)["CPU_NAME"] is None and not llvm.get_host_cpu_features().get("fma", True):
        return _without("this processor has no fused multiply-add, which they would emulate slowly")
    return True


@functools.cache
def load(module: str) -> ModuleType | None:
    """This module of compiled functions, by its full name; None where numba cannot compile."""
    return importlib.import_module(module) if can_compile() else None


def jit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Machine code for this processor, kept on disk for the next process if that can be.

    What was kept counts as long as no source has changed: not the function's own alone, which is all that
    numba looks at, but also none that it is made from. So kernels may call those of other modules.
    """
    if function is None:
        return functools.partial(jit, **options)
    import numba

    _ours.add(function.__module__)
    _announce()
    _add_digest(function)
    options = OPTIONS | options
    try:
        made = numba.njit(function, cache=True, **options)
    except RuntimeError:  # no folder to keep it in can be written
        return numba.njit(function, **options)
    _tolerate(made._cache)
    return made


def contained(function: Callable[..., Any]) -> Any:
    """A function that becomes a part of the compiled ones that call it; Python cannot."""
    import numba

    return numba.njit(function, **(UNWRAPPED | OPTIONS))


# Symbols of functions that compiled code calls without containing them, and what brings them back.
symbols: dict[str, Callable[[], None]] = {}


class Callback:
    """Machine code of one signature among many of its kind, which compiled code calls by its address.

    It is made when its address is first asked for.
    """

    def __init__(self, function: Callable[..., Any], signature: Any) -> None:
        self.function, self.signature = function, signature
        _ours.add(function.__module__)

    @functools.cached_property
    def address(self) -> int:
        """Where the machine code begins."""
        return int(self._code.address)

    def __call__(self, *arguments: int) -> None:
        """Run it from Python; other threads may go on meanwhile."""
        self._code.ctypes(*arguments)

    @functools.cached_property
    def _code(self) -> Any:
        return _c_code(self.function, self.signature)


def _c_code(function: Callable[..., Any], signature: Any) -> Any:
    """The function as C calls it, kept on disk as others are."""
    from numba.core.ccallback import CFunc
    from numba.core.compiler_lock import global_compiler_lock

    _add_digest(function)
    made: Any = CFunc(function, (signature.args, signature.return_type), locals={}, options=dict(OPTIONS))
    try:
        made.enable_caching()
    except RuntimeError:  # no folder to keep it in can be written
        _say_once(kept=False)
    else:
        _tolerate(made._cache)
        made._cache.load_overload = _told(made._cache.load_overload)
    with global_compiler_lock:
        _collecting.rarely()
        try:
            made.compile()
        finally:
            _collecting.as_before()
    return made


def _add_digest(function: Callable[..., Any]) -> None:
    """Make the digest of its sources a part of the name that its machine code is kept under."""
    tag = f"_{digest(function.__code__.co_filename)[:12]}"
    if not function.__qualname__.endswith(tag):
        function.__qualname__ += tag


def _tolerate(cache: Any) -> None:
    """Let it be nothing worse than slow where the folder fails."""
    cache.load_overload = _tolerant(cache.load_overload, cache.cache_path)
    cache.save_overload = _tolerant(_with_symbols(cache.save_overload), cache.cache_path)


def _with_symbols(save: Any) -> Any:
    """The same, but with what is called by symbol, which numba brings back before it loads what calls it."""

    def saved(signature: Any, made: Any) -> Any:
        called = [symbols[name] for name in sorted(_declared(made.library) & symbols.keys())]
        return save(signature, made._replace(reload_init=[*made.reload_init, *called]))

    return saved


def _declared(library: Any) -> set[str]:
    """Names that a function calls by, and those that functions call by which are parts of it."""
    names = {each.name for each in library._final_module.functions if each.is_declaration}
    return names.union(*map(_declared, library._linking_libraries))


@functools.cache
def digest(path: str) -> str:
    """Of a module's source and of all those of the package that it imports, directly or not."""
    sources: dict[str, bytes] = {}
    queue = [path]
    while queue:
        path = queue.pop()
        if path not in sources:
            sources[path], imported = _source(path)
            queue += imported
    return hashlib.sha256(b"".join(sources[path] for path in sorted(sources))).hexdigest()


@functools.cache
def _source(path: str) -> tuple[bytes, list[str]]:
    """The source of a module, and the files of the package that it imports."""
    try:
        source = Path(path).read_bytes()
    except OSError:  # a module without a file
        return b"", []
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("rlrnn"):
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    files = (getattr(sys.modules.get(name), "__file__", None) for name in names)
    return source, [file for file in files if file]


@functools.cache
def vector_bytes() -> int:
    """Of a vector register of the processor that numba compiles for: 64 with AVX-512, else 32."""
    import llvmlite.binding as llvm
    from numba.core import config

    name, features = vars(config)["CPU_NAME"], vars(config)["CPU_FEATURES"]
    this = name in (None, "host", llvm.get_host_cpu_name())
    has = llvm.get_host_cpu_features().get("avx512f", False) if features is None else "+avx512f" in features
    return 64 if this and has else 32


def _without(reason: str) -> bool:
    print(f"rlrnn: torch runs instead of its compiled kernels, as {reason}", file=sys.stderr)
    return False


def _tolerant(exchange: Any, folder: str) -> Any:
    """The same, but with nothing found, or nothing kept, where the folder fails."""

    @functools.wraps(exchange)
    def guarded(*arguments: Any) -> Any:
        try:
            return exchange(*arguments)
        except Exception as error:  # of the disk, or of what a damaged file holds
            _warn(folder, " ".join(str(error).split()) or type(error).__name__)
            return None

    return guarded


@functools.cache
def _warn(folder: str, reason: str) -> None:
    print(
        f"rlrnn: compiled kernels cannot be kept in {folder} ({reason}), so each process compiles its own: "
        "make room there, delete it, or set NUMBA_CACHE_DIR to another folder",
        file=sys.stderr,
    )


_ours: set[str] = set()  # modules of compiled functions


@functools.cache
def _announce() -> None:
    """Say, once in a process, that numba compiles for us: it takes seconds and looks like standing still."""
    from numba.core import event

    class Announcement(event.Listener):
        def on_start(self, event: Any) -> None:
            dispatcher = event.data["dispatcher"]
            if dispatcher.py_func.__module__ in _ours:
                _say_once(kept=dispatcher.stats.cache_path is not None)
            _collecting.rarely()

        def on_end(self, event: Any) -> None:
            _collecting.as_before()

    event.register("numba:compile", Announcement())


class _Collecting:
    """How often Python looks for garbage: rarely while numba compiles, an eighth of whose time that took.

    Calls come in pairs that contain each other, under numba's lock.
    """

    RARELY = 20_000, 20, 50  # objects made, and rounds: some megabytes of garbage more at a time

    def __init__(self) -> None:
        self.depth, self.before = 0, gc.get_threshold()

    def rarely(self) -> None:
        if not self.depth:
            self.before = gc.get_threshold()
            if self.before[0]:  # 0: somebody wants none at all
                gc.set_threshold(*self.RARELY)
        self.depth += 1

    def as_before(self) -> None:
        self.depth -= 1
        if not self.depth:
            gc.set_threshold(*self.before)


_collecting = _Collecting()


def _told(load: Any) -> Any:
    """The same, but it says so where there is nothing to load, so that numba compiles."""

    def loaded(*arguments: Any) -> Any:
        found = load(*arguments)
        if found is None:
            _say_once(kept=True)
        return found

    return loaded


def _say_once(kept: bool) -> None:
    if not _said:
        _said.append(True)
        how = "once" if kept else "anew in each process (set NUMBA_CACHE_DIR to a folder that keeps them)"
        print(f"rlrnn: compiling its kernels for this machine, {how}: some seconds ...", file=sys.stderr)


_said: list[bool] = []
