"""Settings that may be functions of how much of the learning remains."""

from __future__ import annotations

import math
import sys

from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import FloatSchedule

from rlrnn.common.settings import plain
from rlrnn.errors import UserError


def value_now(name: str, schedule: float | Schedule, remaining: float) -> float:
    """A setting that may be a function of the progress remaining, and may have been set since the start."""
    while isinstance(schedule, FloatSchedule):
        schedule = schedule.value_schedule
    value = plain(schedule(remaining) if callable(schedule) else schedule)
    try:
        number = math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    least = -sys.float_info.max if name == "ent_coef" else 0.0
    if not number >= least:
        allowed = "a number" if name == "ent_coef" else "a number of at least 0"
        raise UserError(
            f"{name} returned {value!r} where {remaining:.3g} of the learning remained: a schedule must "
            f"return {allowed}, whatever remains from 1 to 0."
        )
    return number
