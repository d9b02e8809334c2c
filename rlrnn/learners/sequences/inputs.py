"""Sequences and their targets as users give them: what does not fit is refused in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rlrnn.errors import UserError

Array = npt.NDArray[Any]


def array_of(what: str, number: int, values: Any) -> Array:
    """What a user gives as an array, a tensor (of any device, whether it learns or not) or nested lists."""
    try:
        if isinstance(values, list | tuple) and any(isinstance(each, Tensor) for each in values):
            values = torch.stack([torch.as_tensor(each).detach().cpu() for each in values])
        if isinstance(values, Tensor):
            values = values.detach().cpu()
            values = values.float() if values.dtype is torch.bfloat16 else values
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"the {what} of sequence {number} are not one array ({str(error).splitlines()[0]}): give numbers "
            "whose rows are equally long."
        ) from error


def listed(what: str, entries: Any) -> list[Any]:
    """One thing for each sequence."""
    try:
        return list(entries)
    except TypeError:
        raise UserError(
            f"{what} are {entries!r:.60}: give a list with one entry for each sequence."
        ) from None


def inputs_of(inputs: Sequence[npt.ArrayLike], features: int | None) -> list[npt.NDArray[np.float32]]:
    """Arrays [T, F], checked; ``features`` None takes those of the first sequence."""
    arrays = [array_of("inputs", number, each) for number, each in enumerate(listed("inputs", inputs))]
    if not arrays:
        raise UserError("there are no sequences: give a list of arrays [steps, features], at least one.")
    for number, each in enumerate(arrays):
        if each.ndim != 2 or each.dtype.kind not in "fiub":
            raise UserError(
                f"the inputs of sequence {number} are {each.dtype} of shape {each.shape}: give numbers in an "
                "array [steps, features]."
            )
        if len(each) == 0:
            raise UserError(f"sequence {number} is empty: leave it out, or give at least one step.")
        features = each.shape[1] if features is None else features
        if each.shape[1] != features or not features:
            raise UserError(
                f"sequence {number} has {each.shape[1]} features per step, but {features} are expected: give "
                f"an array [{len(each)}, {max(1, features)}]."
            )
        if not np.isfinite(each).all():
            step, feature = np.argwhere(~np.isfinite(each))[0]
            raise UserError(
                f"sequence {number} holds {each[step, feature]} at step {step}, feature {feature}: inputs "
                "must be finite; fill gaps, for instance with 0, and add a feature that marks them."
            )
    return [each.astype(np.float32) for each in arrays]


def paired(
    count: int, targets: Sequence[Any], mask: Sequence[npt.ArrayLike] | None = None
) -> tuple[list[Any], list[Any]]:
    """Targets and masks, one of each for every sequence: arrays, words as they are."""
    entries = listed("targets", targets)
    masks = [None] * count if mask is None else listed("mask", mask)
    for what, some in (("targets", entries), ("masks", masks)):
        if len(some) != count:
            raise UserError(
                f"there are {what} for {len(some)} sequences, but {count} sequences: give one each."
            )
    return (
        [one if isinstance(one, str) else array_of("targets", k, one) for k, one in enumerate(entries)],
        [None if one is None else array_of("mask values", k, one) for k, one in enumerate(masks)],
    )


def at_the_end(number: int, value: Array, mask: Any, steps: int) -> tuple[Array, Array]:
    """One target for a whole sequence, as targets of which only the last step's counts."""
    if mask is not None:
        raise UserError(
            f"sequence {number} has one target, which stands at its last step, and a mask: leave mask out, "
            "or give a target for each step."
        )
    return np.full(steps, value), np.arange(steps) == steps - 1


def check_length(number: int, what: str, array: Array, steps: int) -> None:
    if len(array) != steps:
        raise UserError(
            f"the {what} of sequence {number} have {len(array)} steps, but its inputs have {steps}: give one "
            "row per step, and a mask that says where they count."
        )


def mask_of(number: int, mask: Any, values: Array) -> Array:
    """The mask [T] or as the values, in the values' shape; None is true everywhere."""
    if mask is None:
        return np.ones(values.shape, np.bool_)
    flags = np.asarray(mask)
    if flags.dtype != np.bool_ or flags.shape not in (values.shape, values.shape[:1]):
        raise UserError(
            f"the mask of sequence {number} is {flags.dtype} of shape {flags.shape}, but its targets have "
            f"shape {values.shape}: give one truth value per step{' or per output' * (values.ndim > 1)}."
        )
    broadcast = flags.reshape(*flags.shape, *(1,) * (values.ndim - flags.ndim))  # [T] or [T, 1] or [T, O]
    return broadcast | np.zeros(values.shape, np.bool_)
