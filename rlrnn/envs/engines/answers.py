"""What a single environment answers to ``reset`` and ``step``, taken apart where it comes in.

A `Flaw` is raised of what cannot be taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rlrnn.errors import Flaw

STEP = "observation, reward, terminated, truncated and info"
RESET = "an observation and an info"


def parts(answer: Any, names: str, count: int) -> Any:
    """The answer, if it is as many things as Gymnasium asks for."""
    if not isinstance(answer, tuple | list) or len(answer) != count:
        received = f"{len(answer)} things" if isinstance(answer, tuple | list) else type(answer).__name__
        raise Flaw(f"{received}, where Gymnasium asks for {names},")
    return answer


def points(reward: Any) -> float:
    """The reward of a step as a number, also one in an array."""
    if isinstance(reward, float):
        return reward
    if isinstance(reward, np.ndarray) and reward.size == 1:
        reward = reward.reshape(())
    if not isinstance(reward, str | bytes) and hasattr(reward, "__float__"):
        try:
            return float(reward)
        except OverflowError:
            raise Flaw("a reward that is too large for a float,") from None
        except (TypeError, ValueError):  # several numbers
            pass
    raise Flaw(f"the reward {repr(reward)[:40]}, which is no number,")


def truth(value: Any, what: str) -> bool:
    """Whether an episode is over: true, false, 1 or 0; None is false."""
    if value is True or value is False:
        return value
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(())[()]
    if value is None:
        return False
    if isinstance(value, str | bytes | list | tuple | Mapping) or np.ndim(value) or value not in (0, 1):
        raise Flaw(f"{value!r} as {what}, which is neither true nor false,")
    return bool(value)


def facts(info: Any) -> dict[str, Any]:
    """The info as a dict of our own."""
    if not isinstance(info, Mapping):
        raise Flaw(f"the info {repr(info)[:40]}, which is no dict,")
    return dict(info)
