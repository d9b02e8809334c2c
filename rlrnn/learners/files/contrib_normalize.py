"""What SB3's VecNormalize had learned of observations, from the pickle that it saves, without running it.

sb3-contrib's agents are saved without these statistics, and play worse without them; they lie beside, as
``vecnormalize.pkl``. Of the pickle nothing but numpy's arrays and numbers and SB3's RunningMeanStd is made;
whatever else it names becomes an empty object, and no code that it names is run.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rlrnn.common.batches import parts_of
from rlrnn.errors import FileFault

ARRAYS = {"_reconstruct", "scalar"}  # functions of numpy's multiarray module that rebuild what it saved
LARGEST = 2**26  # bytes of such a file, and many times more than any needs


class Blank:
    """In the place of any object that is not wanted: it keeps its state, and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.state: Any = {}

    def __new__(cls, *_: Any, **__: Any) -> Blank:
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, *_: Any) -> None:
        """Of a dict's subclass, say."""

    def append(self, *_: Any) -> None:
        """Of a list's subclass."""

    extend = append


class Normalizer(Blank):
    """VecNormalize's state."""


class Statistics(Blank):
    """RunningMeanStd's: mean, var and count."""


class Reader(pickle.Unpickler):
    """Knows these names and no others."""

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the pickle stands for."""
        if re.fullmatch(r"numpy\.(_core|core)\.multiarray", module) and name in ARRAYS:
            return getattr(np._core.multiarray, name)  # type: ignore[attr-defined]
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        return {"VecNormalize": Normalizer, "RunningMeanStd": Statistics}.get(name, Blank)


def read_normalization(path: Path) -> dict[str, Any] | None:
    """The numbers of a VecNormalize as an agent's note has them; None if it normalises no observations."""
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it has {path.stat().st_size:,} bytes")
        with path.open("rb") as file:
            return _numbers(file)
    except FileNotFoundError:
        raise FileFault(f"there is no {path}.") from None
    except Exception as error:  # a file may hold anything
        why = str(error).rstrip(".") or type(error).__name__
        raise FileFault(f"{path} is not what SB3's VecNormalize saves: {why}.") from None


def _numbers(file: BinaryIO) -> dict[str, Any] | None:
    whole = Reader(file).load()
    if not isinstance(whole, Normalizer) or not isinstance(whole.state, dict):
        raise ValueError("it holds another object")
    state = whole.state
    if not state["norm_obs"]:
        return None
    keys = state["norm_obs_keys"]
    statistics = {}
    for key, one in parts_of(state["obs_rms"]).items():
        mean, var = (np.asarray(one.state[name], np.float64) for name in ("mean", "var"))
        if mean.shape != var.shape or not (
            np.isfinite(mean).all() and np.isfinite(var).all() and (var >= 0).all()
        ):
            raise ValueError("its means and variances are no finite numbers of one shape")
        count = float(one.state["count"])
        if not 0 < count < np.inf:
            raise ValueError(f"it has counted {count} observations")
        statistics[str(key)] = {"mean": mean, "var": var, "count": count}
    return {
        "statistics": statistics,
        "clip_obs": float(state["clip_obs"]),
        "epsilon": float(state["epsilon"]),
        "norm_obs_keys": None if keys is None else [str(key) for key in keys],
    }


def beside(agent: Path) -> Path | None:
    """The statistics beside an agent's file, where SB3's callback or its zoo put them; None without any."""
    checkpoint = re.fullmatch(r"(.*)_(\d+)_steps", agent.stem)
    named = [agent.with_name("vecnormalize.pkl"), agent.parent / agent.stem / "vecnormalize.pkl"]
    if checkpoint is not None:
        named.insert(0, agent.with_name(f"{checkpoint[1]}_vecnormalize_{checkpoint[2]}_steps.pkl"))
    found = [path for path in named if path.is_file()]
    below = sorted(agent.parent.glob("*/vecnormalize.pkl"))  # of the zoo's best_model.zip
    return found[0] if found else below[0] if len(below) == 1 else None
