"""A replay in a file, without pickle: all that was kept of the play, checked whole before any is taken over.

The file is one of ``storage.archive``. What must be alike in who saved it and who loads it stands beside the
arrays, so that a sentence can name both sides.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rlrnn.common import arrays
from rlrnn.common.batches import parts_of
from rlrnn.errors import FileFault, UserError
from rlrnn.learners.replay.buffer import FLAGS, SequenceReplay
from rlrnn.network.actuators import Actuators
from rlrnn.storage import archive

if TYPE_CHECKING:
    from rlrnn.learners.replay.learner import ReplayLearner

Array = npt.NDArray[Any]
SUFFIX = ".replay"  # of a path without one, where the agent's would be .zip
MOST = 2**53  # slots that were ever written: a thousand years of play

# What both must have alike -> how it is said, and what to do where it is not; in the order it is compared.
OWN_GAME = "load it into an agent of its own game"
ALIKE_OR_EMPTY = "make the agent so, or begin with an empty replay"
ALIKE = {
    "observation_space": ("observations of {}", OWN_GAME),
    "action_space": ("actions of {}", OWN_GAME),
    "learner": ("play by {}", "load it into an agent of that kind"),
    "memory": ("memories of {}", ALIKE_OR_EMPTY),
    "n_envs": ("play of n_envs={}", ALIKE_OR_EMPTY),
    "seq_len": ("rows of seq_len={}", ALIKE_OR_EMPTY),
    "burn_in": ("rows of burn_in={}", ALIKE_OR_EMPTY),
    "whole_episodes": ("rows of whole_episodes={}", ALIKE_OR_EMPTY),
}


def save(learner: ReplayLearner, file: archive.File) -> None:
    """Write all that the replay holds, or nothing: after a failure an older file is still there."""
    replay = learner.replay_buffer
    data = {**facts(learner), "slots": replay.slots, "contents": replay.contents()}
    archive.write_agent(_named(file), data, {}, kind=archive.REPLAY)


def load(learner: ReplayLearner, file: archive.File) -> None:
    """Take over what a file holds; where it does not fit, the replay stays as it is."""
    is_path = isinstance(file, str | os.PathLike)
    place = file if is_path and Path(file).is_file() else _named(file)  # type: ignore[arg-type]
    label = os.fspath(place) if is_path else f"the {type(file).__name__}"  # type: ignore[arg-type]
    saved = archive.read_agent(place)
    if saved.kind != archive.REPLAY:
        raise UserError(f"{label} holds a {saved.kind}, not a replay: give a file of save_replay_buffer.")
    try:
        problem = _unlike(learner, saved)
        if not problem:
            network = learner.policy.network
            check(learner.replay_buffer, saved.data["contents"], network.actuators, saved.data["slots"])
    except UserError as error:
        raise FileFault(f"{label} cannot be taken over: {error}") from error
    except Exception as error:  # what a whole file holds may still be anything
        raise archive.corrupted(str(label), "agent.json", error) from error
    if problem:
        raise UserError(f"{label} holds {problem}.")
    learner.replay_buffer.restore(saved.data["contents"])


def _named(file: archive.File) -> archive.File:
    """A path without suffix gets that of replays: an agent may have been saved under the same name."""
    if isinstance(file, str | os.PathLike) and not Path(file).suffix:
        return Path(f"{os.fspath(file)}{SUFFIX}")
    return file


def facts(learner: ReplayLearner) -> dict[str, Any]:
    """What must be alike, by the names of ``ALIKE``."""
    replay, d = learner.replay_buffer, learner.policy.description
    layers = f"{d.n_layers} layers of " if d.n_layers > 1 else ""
    kind = next(each for each in type(learner).__mro__ if "recipe_table" in vars(each))  # a user's own is one
    return {
        "observation_space": learner.observation_space,
        "action_space": learner.action_space,
        "learner": kind.__name__,
        "memory": f"{d.cell} with {layers}{d.hidden_size} units ({replay.states.shape[-1]} numbers)",
        "n_envs": replay.n_envs,
        "seq_len": replay.seq_len,
        "burn_in": replay.burn_in,
        "whole_episodes": replay.whole_episodes,
    }


def _unlike(learner: ReplayLearner, saved: archive.Agent) -> str:
    """The first difference, as words after "holds"; "" if there is none."""
    own = facts(learner)
    for name, (words, remedy) in ALIKE.items():
        if name in saved.missing:  # a space of a user's own class: arrays are compared all the same
            continue
        theirs = saved.data[name]
        if theirs != own[name]:
            return f"{words.format(theirs)}, but this agent has {words.format(own[name])}: {remedy}"
    return ""


def check(replay: SequenceReplay, contents: Mapping[str, Any], actuators: Actuators, slots: int) -> None:
    """Refuse contents of a ring of so many slots of each copy that ``replay.restore`` cannot take over whole.

    What it takes over leads no index astray: choices are among those there are.
    """
    written = contents["written"]
    counted = _is_array(written, (replay.n_envs,), np.int64) and 0 <= written.min() <= written.max() < MOST
    if not counted:
        raise UserError("the replay does not say how much was written of each copy.")
    if slots != replay.slots and written.max() > min(slots, replay.slots):
        raise UserError(
            f"the replay is a ring of {slots} steps of each copy, but this agent's is one of {replay.slots}: "
            f"make the agent with buffer_size={slots * replay.n_envs}."
        )
    used = int(min(written.max(), replay.slots))
    seen, own_seen = parts_of(contents["observations"]), parts_of(replay.observations)
    pairs = [("observations", seen.get(key), own[:used]) for key, own in own_seen.items()]
    pairs += [(name, contents[name], getattr(replay, name)[:used]) for name in ("actions", "rewards", *FLAGS)]
    pairs.append(("states", contents["states"], replay.states[: -(-used // replay.seq_len)]))
    pairs.append(("open", contents["open"], replay.open))
    for name, found, own in pairs:
        if not _is_array(found, own.shape, own.dtype):
            raise UserError(f"the replay's {name} are no array of {own.dtype} in the shape {own.shape}.")
    for name in ("rewards", "states"):
        if not np.isfinite(contents[name]).all():
            raise UserError(f"not all {name} of the replay are finite numbers.")
    for key, space in parts_of(replay.observation_space).items():
        stray = arrays.flaw(seen[key].reshape(-1, *seen[key].shape[2:]), space)
        if stray:
            raise UserError(f"an observation of the replay holds {stray[1]}, but {stray[2]}.")
    _check_actions(contents["actions"], actuators)


def _check_actions(actions: Array, actuators: Actuators) -> None:
    """actions [C, B, A] as the actuators have them: choices from 0 on, or numbers in [-1, 1]."""
    low, high = (-1, 1) if actions.dtype.kind == "f" else (0, np.array(getattr(actuators, "sizes", ())) - 1)
    inside = (actions >= low) & (actions <= high)  # NaN is neither
    if not inside.all():
        raise UserError(
            f"an action of the replay is {actions[~inside][0]}, which must lie from {low} to {high}."
        )


def _is_array(value: Any, shape: tuple[int, ...], dtype: npt.DTypeLike) -> bool:
    return isinstance(value, np.ndarray) and value.shape == shape and value.dtype == dtype
