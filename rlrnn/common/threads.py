"""How the package uses the processor: one torch thread where more would only wait, and memory kept warm."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import torch
from threadpoolctl import ThreadpoolController

_allowed: list[int] = []  # what the user had set, while the package works with one


@contextlib.contextmanager
def one_thread(device: torch.device) -> Iterator[int]:
    """One torch thread on a CPU while the block runs; the user's own number comes back after it.

    The products of a recurrent network are small and many, and torch loses by splitting them. Yields how
    many threads the user allows: that many may run at a time, each with products of its own.
    """
    before = torch.get_num_threads()
    if device.type != "cpu":
        yield 1
        return
    _allowed.append(_allowed[0] if _allowed else before)
    torch.set_num_threads(1)
    try:
        yield _allowed[-1]
    finally:
        _allowed.pop()
        torch.set_num_threads(before)


def one_blas_thread() -> contextlib.AbstractContextManager[Any]:
    """One thread of numpy's BLAS while the block runs: more wait for each other, and round otherwise."""
    limit: contextlib.AbstractContextManager[Any] = _pools().limit(limits=1, user_api="blas")
    return limit


@functools.cache
def _pools() -> ThreadpoolController:
    return ThreadpoolController()


@functools.cache
def workers(threads: int) -> ThreadPoolExecutor:
    """So many threads, each with one of torch's: for work that leaves Python's lock to others."""
    # torch would give a new thread as many of its own as there are cores.
    return ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))


def share(
    threads: int,
    run: Callable[..., None],
    parts: Sequence[tuple[Any, ...]],
    done: Callable[[], object] | None = None,
    stop: Callable[[], object] | None = None,
) -> None:
    """Run all parts by so many threads, and call ``done`` here after each.

    Whatever is raised, here or in a thread, nothing runs any more when it goes on: what has begun is waited
    for, after ``stop`` was called. What waits here hears Ctrl-C at once.
    """
    futures = [workers(threads).submit(run, *part) for part in parts]
    try:
        for future in futures:
            future.result()
            if done is not None:
                done()
    except BaseException:
        if stop is not None:
            stop()
        for future in futures:
            future.cancel()
        wait(futures)
        raise


@functools.cache
def keep_freed_memory() -> None:
    """Let memory that was freed stay with the process, where the C library is glibc.

    By default it returns large arrays to the system at once, which hands them back as fresh pages, zeroed
    one by one: with two threads this took up to a third of an update's time.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        for option in (MMAP_THRESHOLD, TRIM_THRESHOLD):
            library.mallopt(option, 2**31 - 1)


MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # their numbers in malloc.h
