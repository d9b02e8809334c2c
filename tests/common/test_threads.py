"""Work that threads share leaves nothing running behind."""

import threading

import pytest

from rlrnn.common.threads import share


def test_all_parts_are_done_and_counted_in_order() -> None:
    done: list[int] = []
    counted: list[int] = []
    share(3, lambda first, last: done.extend(range(first, last)), [(0, 3), (3, 7)], lambda: counted.append(1))
    assert sorted(done) == list(range(7)) and len(counted) == 2


def test_what_fails_stops_the_others_and_waits_for_them() -> None:
    begun, stopped, left = threading.Event(), threading.Event(), []

    def run(part: int) -> None:
        if part == 0:
            begun.wait(60)
            raise ValueError("of part 0")
        begun.set()
        left.append(stopped.wait(60))

    with pytest.raises(ValueError, match="of part 0"):
        share(2, run, [(0,), (1,)], stop=stopped.set)
    assert left == [True]
