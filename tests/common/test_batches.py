"""Whatever is done to an array is done to each array of a dict."""

from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete

from rlrnn.common.batches import any_array, copied, join, map_arrays, new_batch, parts_of, put, take, whole_of

ARRAY = np.arange(6.0).reshape(3, 2)
KEYED = {"a": ARRAY, "": -ARRAY[:, 0]}


def same(one: Any, other: Any) -> bool:
    """Equal in their keys, in the order of these, and in their numbers."""
    ones, others = parts_of(one), parts_of(other)
    return list(ones) == list(others) and all(np.array_equal(ones[key], others[key]) for key in ones)


def test_a_function_is_applied_to_each_array_with_those_under_its_key() -> None:
    assert same(map_arrays(np.negative, ARRAY), -ARRAY)
    assert same(map_arrays(np.negative, KEYED), {"a": -ARRAY, "": ARRAY[:, 0]})
    assert same(map_arrays(np.add, ARRAY, ARRAY), 2 * ARRAY)
    assert same(map_arrays(np.add, KEYED, dict(reversed(KEYED.items()))), map_arrays(lambda a: 2 * a, KEYED))


def test_the_spaces_of_a_dict_are_found_under_the_keys_of_their_arrays() -> None:
    space = Dict({"a": Box(-1, 1, (2,)), "b": Discrete(3)})
    assert parts_of(space) is space.spaces
    assert "a" in parts_of(space)
    assert parts_of(Discrete(3)) == {"": Discrete(3)}
    sizes = map_arrays(lambda array, part: (len(array), part), {"b": [1], "a": [1, 2]}, space)
    assert sizes == {"b": (1, Discrete(3)), "a": (2, Box(-1, 1, (2,)))}


@pytest.mark.parametrize("batch", [ARRAY, {"a": ARRAY, "b": ARRAY}])
def test_the_parts_make_the_whole(batch: Any) -> None:
    assert whole_of(parts_of(batch)) is batch
    assert any_array(batch) is ARRAY


def test_new_arrays_have_the_shapes_and_types_of_their_spaces() -> None:
    new = new_batch(Dict({"a": Box(-1, 1, (2, 3)), "b": Discrete(3)}), 5, 4, make=np.zeros)
    assert {key: (part.shape, part.dtype) for key, part in new.items()} == {
        "a": ((5, 4, 2, 3), np.float32),
        "b": ((5, 4), np.int64),
    }
    assert not new["a"].any()
    assert new_batch(Discrete(3), 0).shape == (0,)


def test_copies_are_arrays_of_their_own() -> None:
    for batch in (ARRAY, KEYED):
        copies = copied(batch)
        assert same(copies, batch)
        assert not any(np.shares_memory(parts_of(copies)[key], part) for key, part in parts_of(batch).items())


@pytest.mark.parametrize("rows", [1, slice(1, 3), [2, 0], np.array([True, False, True])])
def test_rows_are_taken_and_put(rows: Any) -> None:
    assert same(take(ARRAY, rows), ARRAY[rows])
    assert same(take(KEYED, rows), {key: array[rows] for key, array in KEYED.items()})
    for batch in (ARRAY, KEYED):
        target = map_arrays(np.zeros_like, batch)
        put(target, rows, take(batch, rows))
        assert same(take(target, rows), take(batch, rows))
        assert sum(np.count_nonzero(part) for part in parts_of(target).values()) == sum(
            np.count_nonzero(part) for part in parts_of(take(batch, rows)).values()
        )


def test_batches_are_joined_one_after_the_other_or_as_is_asked() -> None:
    assert same(join([ARRAY, ARRAY[:1]]), np.concatenate([ARRAY, ARRAY[:1]]))
    twice = join([KEYED, KEYED], np.stack)
    assert same(twice, {key: np.stack([part, part]) for key, part in KEYED.items()})
    assert join([{"a": 1, "b": 2}, {"b": 4, "a": 3}], list) == {"a": [1, 3], "b": [2, 4]}
