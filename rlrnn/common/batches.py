"""Batches as Gymnasium's spaces have them: an array, or a dict of arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def map_arrays(function: Callable[[Any], Any], batch: Any) -> Any:
    """The same function on an array, or on each array of a dict."""
    if isinstance(batch, Mapping):
        return {key: function(array) for key, array in batch.items()}
    return function(batch)
