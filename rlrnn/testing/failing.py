"""How a check fails: in one sentence, whatever the part under test does."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from rlrnn.errors import GAME_ERRORS, CheckError, UserError, place


def fail(sentence: str) -> NoReturn:
    """Fail the part under test: what is wrong, with its values, and how to mend it."""
    raise CheckError(sentence)


@contextmanager
def running(what: str) -> Iterator[None]:
    """What a user's code raises within the block becomes one sentence, with its file and line.

    ``what`` is running, such as "the step of the leaky cell".
    """
    try:
        yield
    except CheckError:
        raise
    except UserError as error:
        raise CheckError(str(error)) from error
    except GAME_ERRORS as error:
        message = f": {error}" if str(error) else ""
        raise CheckError(f"{what} raised {type(error).__name__}{place(error)}{message}") from error


def laws_without(skip: Collection[str], known: Iterable[str], check: str) -> list[str]:
    """The names of the laws to check, in order; an unknown name to skip is refused."""
    names = list(known)
    odd = sorted(set([skip] if isinstance(skip, str) else skip) - set(names))
    if odd:
        raise UserError(f"{check} has no law {odd[0]!r} to skip: it knows {', '.join(names)}.")
    return [name for name in names if name not in skip]
