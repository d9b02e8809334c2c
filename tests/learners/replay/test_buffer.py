"""The replay hands out what was played, slot by slot, however often its rings have gone round."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlrnn.common.batches import any_array, map_arrays, parts_of
from rlrnn.errors import UserError
from rlrnn.learners.replay.buffer import FLAGS, Rows, SequenceReplay

CPU = torch.device("cpu")
VECTOR = spaces.Box(-10, 10, (2,))
SPACES: dict[str, spaces.Space[Any]] = {
    "vector": VECTOR,
    "Discrete": spaces.Discrete(1000),
    "image": spaces.Box(0, 255, (1, 4, 3), np.uint8),
    "Dict": spaces.Dict({"a": spaces.Discrete(1000), "b": spaces.Box(-10, 10, (2, 1), np.float64)}),
}
STATE = 3


@dataclass(frozen=True)
class Slot:
    """What is kept of one; of one that only fills a row up, nothing but that."""

    start: bool
    weight: float
    observation: Any = None  # None: not known
    state: Any = None  # before it
    action: Any = None
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False


class History:
    """Everything that one environment ever played, in a plain list."""

    def __init__(self, seq_len: int, whole_episodes: bool) -> None:
        self.slots: list[Slot] = []
        self.seq_len, self.whole_episodes = seq_len, whole_episodes

    @property
    def goes_on(self) -> bool:
        """Whether the newest slot's episode has not ended."""
        last = self.slots[-1] if self.slots else Slot(start=True, weight=0.0)
        return bool(last.weight) and not (last.terminated or last.truncated)

    def add(self, slot: Slot, final: Any, state_after: Any) -> None:
        if slot.start and self.goes_on:  # the episode before was left: nobody knows where its last step led
            self.slots[-1] = replace(self.slots[-1], weight=0.0)
            self.fill()
        self.slots.append(slot)
        if slot.terminated or slot.truncated:
            self.slots.append(Slot(start=False, weight=0.0, observation=final, state=state_after))
            self.fill()

    def fill(self) -> None:
        while self.whole_episodes and len(self.slots) % self.seq_len:
            self.slots.append(Slot(start=True, weight=0.0))


class Play:
    """Several environments that play at random, kept by a replay and by hand."""

    def __init__(
        self,
        n_envs: int = 3,
        seq_len: int = 4,
        burn_in: int = 0,
        size: int = 40,
        space: spaces.Space[Any] = VECTOR,
        whole_episodes: bool = False,
        seed: int = 0,
        leaving: float = 0.05,
    ) -> None:
        self.rng, self.space, self.leaving = np.random.default_rng(seed), space, leaving
        space.seed(seed)
        self.replay = SequenceReplay(
            size, n_envs, seq_len, burn_in, space, 2, np.int64, STATE, whole_episodes=whole_episodes
        )
        self.histories = [History(seq_len, whole_episodes) for _ in range(n_envs)]
        self.starts = np.ones(n_envs, np.bool_)
        self.lengths = [4.0, 9.0, 2.0, 30.0][:n_envs]  # of episodes, in the mean: all end at other times

    def observe(self, n: int) -> Any:
        drawn = [self.space.sample() for _ in range(n)]
        return map_arrays(lambda _, *values: np.stack(values), self.space, *drawn)

    def step(self) -> None:
        n, rng = len(self.histories), self.rng
        start = self.starts | (rng.random(n) < self.leaving)
        observation, state, after = self.observe(n), rng.normal(size=(n, STATE)), rng.normal(size=(n, STATE))
        action, reward = rng.integers(9, size=(n, 2)), rng.normal(size=n)
        ended = rng.random(n) * np.array(self.lengths) < 1
        truncated = ended & (rng.random(n) < 0.5)
        known, finals = rng.random(n) < 0.8, self.observe(n)
        finals_of = {
            b: map_arrays(lambda a: a[b], finals)  # noqa: B023
            for b in range(n)
            if ended[b] and known[b]
        }
        self.replay.add(
            observation,
            start,
            state.astype(np.float32),
            action,
            reward,
            ended & ~truncated,
            truncated,
            finals_of,
            after.astype(np.float32),
        )
        for b, history in enumerate(self.histories):
            slot = Slot(
                start=bool(start[b]),
                weight=1.0,
                observation=map_arrays(lambda a: a[b], observation),  # noqa: B023
                state=state[b],
                action=action[b],
                reward=reward[b],
                # where it led is not known: as if nothing were to be won there
                terminated=bool(ended[b] and not (truncated[b] and known[b])),
                truncated=bool(truncated[b]),
            )
            history.add(slot, finals_of.get(b), after[b])
        self.starts = ended


def drawable(play: Play) -> list[tuple[int, int]]:
    """Rows, by number and environment, all of whose slots were played and not written over."""
    replay, found = play.replay, []
    length = replay.burn_in + replay.seq_len + 1
    for b, history in enumerate(play.histories):
        oldest = max(len(history.slots) - replay.slots, 0)
        beginnings = range(0, len(history.slots) - length + 1, replay.seq_len)
        found += [(first // replay.seq_len, b) for first in beginnings if first >= oldest]
    return found


def assert_row(rows: Rows, r: int, slots: list[Slot]) -> None:
    """The r-th row is this slice of history."""
    assert rows.start[:, r].tolist() == [slot.start for slot in slots]
    assert rows.weight[:, r].tolist() == [slot.weight for slot in slots]
    if slots[0].state is not None:
        assert np.array_equal(rows.state[r], np.float32(slots[0].state))
    seen = [t for t, slot in enumerate(slots) if slot.observation is not None]
    for key, found in parts_of(rows.observation).items() if seen else ():
        wanted = np.stack([parts_of(slots[t].observation)[key] for t in seen])
        assert np.array_equal(found[seen, r], wanted)
    done = [t for t, slot in enumerate(slots[:-1]) if slot.weight]
    assert rows.action[done, r].tolist() == [slots[t].action.tolist() for t in done]
    assert rows.reward[done, r].tolist() == [np.float32(slots[t].reward) for t in done]
    assert rows.terminated[done, r].tolist() == [slots[t].terminated for t in done]
    # what a step led to is seen next, by the same memory
    assert not any(slots[t + 1].start for t in done if not slots[t].terminated)


SETTINGS = list(itertools.product((1, 3), (1, 4, 7), (0, 1, 9), (False, True)))


@pytest.mark.parametrize(("n_envs", "seq_len", "burn_in", "whole_episodes"), SETTINGS)
def test_every_row_is_that_slice_of_history(
    n_envs: int, seq_len: int, burn_in: int, whole_episodes: bool
) -> None:
    play = Play(n_envs, seq_len, burn_in, size=17 * n_envs, whole_episodes=whole_episodes)
    compared = 0
    for count in range(150):
        play.step()
        expected = drawable(play)
        assert play.replay.n_rows() == len(expected)
        used = [min(len(history.slots), play.replay.slots) for history in play.histories]
        assert play.replay.size() == sum(used)
        assert play.replay.full == all(n == play.replay.slots for n in used)
        if count % 13 or not expected:
            continue
        numbers, who = (np.array(each) for each in zip(*expected, strict=True))
        rows = play.replay.rows(numbers, who, CPU)
        assert len(rows) == len(expected) and len(rows.start) == burn_in + seq_len + 1
        for r, (number, b) in enumerate(expected):
            first = number * seq_len
            slots = play.histories[b].slots[first : first + burn_in + seq_len + 1]
            assert_row(rows, r, slots)
            compared += 1
    assert all(len(history.slots) > 4 * play.replay.slots for history in play.histories)  # rings went round
    assert compared > 10


@pytest.mark.parametrize("name", SPACES)
def test_any_observations_are_kept_as_they_were(name: str) -> None:
    play = Play(space=SPACES[name])
    for _ in range(100):
        play.step()
    numbers, who = (np.array(each) for each in zip(*drawable(play), strict=True))
    rows = play.replay.rows(numbers, who, CPU)
    for key, part in parts_of(SPACES[name]).items():
        found = parts_of(rows.observation)[key]
        assert found.numpy().dtype == part.dtype and found.shape == (5, len(numbers), *part.shape)
    for r, (number, b) in enumerate(drawable(play)):
        assert_row(rows, r, play.histories[b].slots[4 * number : 4 * number + 5])


def test_an_episode_begins_a_row_where_whole_episodes_are_asked_for() -> None:
    """Also the one after an episode that was left."""
    play = Play(seq_len=6, whole_episodes=True, size=200, leaving=0.3)
    for _ in range(200):
        play.step()
    for history in play.histories:
        begun = [number for number, slot in enumerate(history.slots) if slot.start and slot.weight]
        assert len(begun) > 5 and not any(number % 6 for number in begun)
    replay = play.replay
    assert replay.n_rows() == len(drawable(play)) > 20
    rows = replay.sample(np.random.default_rng(0), 100, CPU)
    starts, weight = rows.start[:-1].numpy(), rows.weight[:-1].numpy() > 0
    assert not (starts & weight)[1:].any() and (starts & weight)[0].any()


class Counter:
    """In the place of a generator: draws each number once."""

    def integers(self, high: int, size: int) -> Any:
        assert size == high
        return np.arange(high)


@pytest.mark.parametrize("steps", [9, 60])
def test_each_whole_row_is_drawn_by_as_many_numbers(steps: int) -> None:
    """Environments whose episodes are shorter have more slots, and so more rows."""
    play = Play(n_envs=4, size=4 * 24)
    for _ in range(steps):
        play.step()
    numbers, who = play.replay.draw(Counter(), play.replay.n_rows())
    assert sorted(zip(numbers, who, strict=True)) == sorted(drawable(play))
    drawn = play.replay.draw(np.random.default_rng(5), 7)  # with one call for all
    wanted = np.random.default_rng(5).integers(len(numbers), size=7)
    np.testing.assert_array_equal(drawn, [numbers[wanted], who[wanted]])


def test_before_a_whole_row_was_played_there_is_none() -> None:
    play = Play(n_envs=1, seq_len=50, size=500)
    for _ in range(10):
        play.step()
    with pytest.raises(UserError, match="holds no whole row of seq_len=50 steps yet"):
        play.replay.draw(np.random.default_rng(0), 1)


@pytest.mark.parametrize("burn_in", [0, 1, 3, 4, 5, 20])
def test_once_there_is_a_whole_row_there_always_is(burn_in: int) -> None:
    """However small the ring was asked to be."""
    play, seen = Play(n_envs=1, burn_in=burn_in, size=1), False
    for _ in range(200):
        play.step()
        seen = seen or play.replay.n_rows() > 0
        assert (play.replay.n_rows() > 0) == seen
    assert seen


@pytest.mark.parametrize("name", SPACES)
def test_its_bytes_are_those_of_its_arrays(name: str) -> None:
    replay = Play(n_envs=3, seq_len=7, size=100, space=SPACES[name]).replay
    arrays = [getattr(replay, each) for each in ("actions", "rewards", "states", *FLAGS)]
    arrays += parts_of(replay.observations).values()
    assert replay.bytes == sum(array.nbytes for array in arrays)
    assert replay.slots == 35 and replay.buffer_size == 105  # whole rows of each, at least what was asked for
    assert len(any_array(replay.observations)) == 35 and replay.states.shape == (5, 3, STATE)


@pytest.mark.parametrize("steps", [0, 3, 25, 130])
@pytest.mark.parametrize("whole_episodes", [False, True])
def test_one_that_was_restored_goes_on_as_the_first(steps: int, whole_episodes: bool) -> None:
    """Byte for byte, and what it is filled with afterwards."""
    for name in SPACES:
        play = Play(space=SPACES[name], whole_episodes=whole_episodes)
        for _ in range(steps):
            play.step()
        contents = play.replay.contents()
        used = max(min(len(history.slots), play.replay.slots) for history in play.histories)
        assert len(contents["rewards"]) == used  # and not what was never written
        again = Play(space=SPACES[name], whole_episodes=whole_episodes).replay
        again.restore(contents)
        first, play.replay = play.replay, again
        for _ in range(30):
            assert_same(first, again)
            play.step()  # into the second alone
            with_final = play.replay.contents()
            first.restore(with_final)
        draws = [replay.sample(np.random.default_rng(1), 9, CPU) for replay in (first, again)]
        for field in ("start", "state", "action", "reward", "terminated", "weight"):
            assert torch.equal(*(getattr(rows, field) for rows in draws)), field


def assert_same(one: SequenceReplay, other: SequenceReplay) -> None:
    for name in ("actions", "rewards", "states", *FLAGS, "written", "open"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name
    for mine, theirs in zip(*(parts_of(each.observations).values() for each in (one, other)), strict=True):
        assert mine.tobytes() == theirs.tobytes()


def test_what_was_handed_out_stays_as_it_was() -> None:
    """Contents are copies, and so are rows: the play goes on above them."""
    play = Play()
    for _ in range(60):
        play.step()
    contents, rows = play.replay.contents(), play.replay.sample(np.random.default_rng(0), 5, CPU)
    kept = {name: np.array(contents[name]) for name in contents}
    observation = rows.observation.clone()
    for _ in range(60):
        play.step()
    assert all(np.array_equal(contents[name], kept[name]) for name in kept)
    assert torch.equal(rows.observation, observation)


def test_a_reset_forgets_everything() -> None:
    play = Play()
    for _ in range(60):
        play.step()
    play.replay.reset()
    assert play.replay.size() == play.replay.n_rows() == 0 and not play.replay.full
    assert not play.replay.open.any()
    play.histories = [History(4, False) for _ in play.histories]
    for _ in range(30):
        play.step()
    numbers, who = (np.array(each) for each in zip(*drawable(play), strict=True))
    rows = play.replay.rows(numbers, who, CPU)
    for r, (number, b) in enumerate(drawable(play)):
        assert_row(rows, r, play.histories[b].slots[4 * number : 4 * number + 5])
