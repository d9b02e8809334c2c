"""Compiled functions that call each other without containing each other.

numba compiles all that a function calls anew, as a part of it. A kernel is compiled once, for each set of
argument types; other kernels know it by a symbol alone, as object files in C do.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from numba.core import types
from numba.core.funcdesc import ExternalFunctionDescriptor
from numba.core.typing.templates import AbstractTemplate
from numba.extending import lower_builtin

from rlrnn.common.compiling import UNWRAPPED, jit, symbols


class Kernel:
    """A function compiled by ``jit``, for Python and, by its symbol, for other compiled functions."""

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        functools.update_wrapper(self, function)
        self.name = function.__name__
        self.dispatcher: Any = jit(function, **options)
        self._numba_type_ = types.Function(_template(self))  # what numba takes it for

    def __call__(self, *arguments: Any) -> Any:
        return self.dispatcher(*arguments)

    @property
    def signatures(self) -> list[tuple[Any, ...]]:
        """Types of arguments that there is machine code for."""
        return list(self.dispatcher.signatures)

    def link(self, arguments: tuple[Any, ...]) -> tuple[Any, str]:
        """Its signature for arguments of these types, and the symbol by which compiled functions call it."""
        self.dispatcher.compile(arguments)
        made = self.dispatcher.overloads[arguments]
        text = f"{self.__module__}.{self.dispatcher.py_func.__qualname__}{arguments}"
        symbol = f"rlrnn_{self.name}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        if symbol not in symbols:
            llvm.add_symbol(symbol, made.library.get_pointer_to_function(made.fndesc.llvm_func_name))
            symbols[symbol] = functools.partial(_link, self.__module__, self.name, arguments)
        return made.signature, symbol


def kernel(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """A ``Kernel`` of the function, which stands under its name in its module; with numba's own options."""
    return functools.partial(kernel, **options) if function is None else Kernel(function, **options)


def inner_kernel(function: Callable[..., Any]) -> Any:
    """A ``Kernel`` that other kernels alone call: Python cannot."""
    return Kernel(function, **UNWRAPPED)


def _template(called: Kernel) -> type[AbstractTemplate]:
    """How numba finds out what a call returns, and what it compiles for it."""

    class Call(AbstractTemplate):
        key = called

        def generic(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
            return None if keywords else called.link(arguments)[0].replace(pysig=None)

    @lower_builtin(called, types.VarArg(types.Any))  # type: ignore[untyped-decorator]
    def call(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        symbol = called.link(signature.args)[1]
        external = ExternalFunctionDescriptor(symbol, signature.return_type, signature.args)
        return context.call_internal(builder, external, signature, arguments)

    return Call


def _link(module: str, name: str, arguments: tuple[Any, ...]) -> None:
    """Bring a kernel's symbol back, for a function loaded from disk that calls it."""
    getattr(importlib.import_module(module), name).link(arguments)
