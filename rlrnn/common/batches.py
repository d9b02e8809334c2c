"""Batches as Gymnasium's spaces have them: an array, or a dict of arrays (or tensors, or lists) by key.

Whatever is done to a batch is said once here for both kinds, of which a dict is the one with ``keys``: to ask
so takes a fraction of the time of ``isinstance``, and is asked in every step. ``rows`` are an index, a slice
or several.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

Batch = TypeVar("Batch")  # as it came: an array, or a dict


def map_arrays(function: Callable[..., Any], batch: Any, *others: Any) -> Any:
    """The same function on an array, or on each array of a dict, with those of ``others`` under its key.

    A Dict space counts as a dict of spaces.
    """
    if not hasattr(batch, "keys"):
        return function(batch, *others)
    if not others:
        return {key: function(part) for key, part in batch.items()}
    return {key: function(part, *(other[key] for other in others)) for key, part in batch.items()}


def parts_of(whole: Any) -> Any:
    """The arrays of a batch, or the spaces of a Dict space, by key; anything else under ""."""
    if not hasattr(whole, "keys"):
        return {"": whole}
    return getattr(whole, "spaces", whole)  # a dict: a key is never "in" a Dict space


def whole_of(parts: Mapping[Any, Any]) -> Any:
    """The inverse: what ``parts_of`` has put under "", or all as it is."""
    return parts.get("", parts)


def any_array(batch: Any) -> Any:
    """One of the arrays, as all have the same number of rows."""
    return next(iter(batch.values())) if hasattr(batch, "keys") else batch


def new_batch(space: Any, *axes: int, make: Callable[..., Any] = np.empty) -> Any:
    """New arrays [*axes, ...] for observations of the space."""
    if hasattr(space, "keys"):
        return {key: new_batch(part, *axes, make=make) for key, part in parts_of(space).items()}
    return make((*axes, *(space.shape or ())), space.dtype)


def copied(batch: Batch) -> Batch:
    """Copies of the arrays."""
    copies: Batch = map_arrays(np.ndarray.copy, batch)
    return copies


def take(batch: Any, rows: Any) -> Any:
    """These rows."""
    return {key: part[rows] for key, part in batch.items()} if hasattr(batch, "keys") else batch[rows]


def put(batch: Any, rows: Any, values: Any) -> None:
    """Copy values into these rows."""
    if hasattr(batch, "keys"):
        for key, array in batch.items():
            array[rows] = values[key]
    else:
        batch[rows] = values


def join(batches: Sequence[Any], by: Callable[..., Any] = np.concatenate) -> Any:
    """Several batches as one: their arrays one after the other, or what ``by`` makes of a list of them."""
    if hasattr(batches[0], "keys"):
        return {key: by([batch[key] for batch in batches]) for key in batches[0]}
    return by(batches)
