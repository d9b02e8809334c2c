"""Commands to an object elsewhere and what it answers, as bytes: for processes and Ray's actors alike."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from rlrnn import errors
from rlrnn.errors import GAME_ERRORS, EnvironmentFault, UserError


def sendable(maker: Callable[[], Any], name: str) -> bytes:
    """What makes an object, as bytes that a process can read."""
    try:
        return bytes(cloudpickle.dumps(maker))
    except Exception as error:
        raise UserError(
            f"What makes {name} cannot be sent to a worker process"
            f" ({type(error).__name__}: {error}); use workers=0, or register it as 'module:Class'."
        ) from error


def made(payload: bytes) -> Any:
    """The object that what was sent makes."""
    return cloudpickle.loads(payload)()


def packed(message: Any) -> bytes:
    """A message as bytes; arrays in it are the reader's own, who may write into them."""
    try:
        return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    except Exception:  # holds something defined in a script, which only cloudpickle takes along
        return bytes(cloudpickle.dumps(message))


def read_answer(answer: bytes | bytearray, who: str) -> tuple[bool, Any]:
    """What ``Holder.do`` says: (True, the answer) or (False, the error)."""
    try:
        success, value = pickle.loads(answer)
    except Exception as error:
        return False, EnvironmentFault(
            f"{who} answered what cannot be read here ({type(error).__name__}: {error}): what a game hands "
            "out must be of classes that this process can import, too."
        )
    return success, value


def values(answers: Sequence[tuple[bool, Any]]) -> list[Any]:
    """What was answered; the first error among it is raised."""
    for success, answer in answers:
        if not success:
            raise answer
    return [answer for _, answer in answers]


class Holder:
    """Elsewhere: holds one object, which the command "make" makes, and does what it is told."""

    instance: Any = None

    def do(self, command: bytes) -> bytes:
        """Do a command, (verb, arguments); returns (True, the answer) or (False, the error)."""
        try:
            verb, arguments = pickle.loads(command)
            if verb == "make":
                self.instance, answer = made(*arguments), None
            else:
                answer = getattr(self.instance, verb)(*arguments)
            return packed((True, answer))
        except (*GAME_ERRORS, KeyboardInterrupt) as error:  # nobody's but the game's own: SIGINT is ignored
            return packed((False, plain(error)))

    def close(self) -> None:
        """Close the object."""
        if self.instance is not None:
            self.instance.close()


def plain(error: BaseException) -> Exception:
    """An error that any process can read, with the worker's traceback as a note."""
    plain: Exception
    fault = errors.part_fault(error)
    if isinstance(error, UserError):  # as the nearest class of ours, since another may not be known there
        ours = next(kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
        plain = ours(str(error))
    elif isinstance(error, SystemExit | KeyboardInterrupt):
        plain = errors.game_fault("A worker process", "its work", error)
    elif fault is not None:
        plain = fault
    elif isinstance(error, AttributeError):
        plain = AttributeError(str(error))  # how SB3 asks whether there is such an attribute
    else:
        plain = EnvironmentFault(
            f"A worker process raised {type(error).__name__}: {error}{errors.place(error)}"
        )
    if isinstance(plain, UserError):
        plain.frames = errors.own_frames(error)
    plain.add_note(traceback.format_exc())
    return plain
