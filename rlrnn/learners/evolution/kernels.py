"""Rounds of a compiled game, compiled: members of a population play their episodes to the end.

Letters: P members, E episodes of each, B = P * E copies of the game, F features, O output units, S state.
"""

# mypy: ignore-errors

import numpy as np

from rlrnn.cells.kernels import stepping
from rlrnn.cells.kernels.arithmetic import kernel
from rlrnn.common.addresses import call, keep
from rlrnn.games.kernels import table


@kernel
def play(
    layers, inner, room, norm, limit, game, functions, shown, columns, first, last, episodes, units, offset,
    low, high, seen, state, moments, points, lengths, longest, stop,
):  # fmt: skip
    """Members first to last play one episode in each of their copies, from where these stand.

    seen [B, F] is what they see then, ``columns`` [F] of what the game shows, in an array [B, shown];
    state [B, S] what they remember; norm [2, F]: mean and deviation of what is seen, or [0, F]. Choices are
    counted from ``offset``; where low [A] has numbers, outputs are actions, cut off at low and high. Into
    points and lengths [B], and moments [2, B, F]: sums of deviations from the means and of their squares,
    unless F is 0 there. Ends early where ``stop`` [1] is true. Returns whether all actions were numbers, and
    all episodes shorter than ``longest``.
    """
    begin, end, features = first * episodes, last * episodes, seen.shape[1]
    advance, look = functions[1], functions[2]
    most, taken = table.numbers_of(game)[table.LIMIT], table.steps_of(game)
    places = np.empty(stepping.INNER + len(inner), np.int64)
    space, outputs = np.empty(episodes * room, np.float32), np.empty((episodes, units), np.float32)
    x = np.empty((episodes, features), np.float32)
    left = stepping.begin(inner, places, episodes, space.ctypes.data)
    places[stepping.FEATURES], places[stepping.OUTPUTS] = x.ctypes.data, outputs.ctypes.data
    copies, numbers = len(points), len(low)
    chosen, pushed = np.zeros(copies, np.int64), np.zeros((copies, max(1, numbers)))
    actions = pushed.ctypes.data if numbers else chosen.ctypes.data
    rewards, over, playing = np.zeros(copies), np.zeros(copies, np.bool_), np.zeros(copies, np.bool_)
    for b in range(begin, end):
        playing[b] = True
    remaining = np.full(last - first, episodes)  # episodes of each member that go on
    for step in range(longest):
        if stop[0]:
            break
        low_row, high_row = end, begin  # of those that play
        for p in range(first, last):
            if remaining[p - first] == 0:
                continue
            for e in range(episodes):
                b = p * episodes + e
                for f in range(features):
                    x[e, f] = seen[b, f]
                    if len(norm):
                        z = (seen[b, f] - norm[0, f]) / norm[1, f]
                        z = limit if z > limit else z
                        x[e, f] = -limit if z < -limit else z
                        if playing[b]:
                            d = np.float64(seen[b, f]) - np.float64(norm[0, f])
                            moments[0, b, f] += d
                            moments[1, b, f] += d * d
            at = state.ctypes.data + 4 * p * episodes * state.shape[1]
            stepping.run(layers, places, p, episodes, at, left)
            for e in range(episodes):
                b = p * episodes + e
                if not playing[b]:
                    continue
                low_row, high_row = min(low_row, b), max(high_row, b + 1)
                if numbers == 0:
                    chosen[b] = best(outputs[e]) + offset
                    continue
                for a in range(numbers):
                    y = outputs[e, a]
                    y = low[a] if y < low[a] else y
                    y = high[a] if y > high[a] else y
                    if np.isnan(y):
                        return False, True
                    pushed[b, a] = y
        if low_row == end:
            break
        call(advance, (game, low_row, high_row, actions, rewards.ctypes.data, over.ctypes.data))
        table.see(game, look, low_row, high_row, columns, shown, seen)
        for b in range(low_row, high_row):
            taken[b] += 1
            if playing[b]:
                points[b] += rewards[b]
                lengths[b] = step + 1
                if over[b] or 0 <= most <= taken[b]:
                    playing[b] = False
                    remaining[b // episodes - first] -= 1
    keep(space)
    return True, not playing.any()


@kernel
def best(row):
    """The index of the largest number, the first one among equals or of those that are none."""
    index = 0
    for j in range(1, len(row)):
        if row[index] == row[index] and not row[j] <= row[index]:
            index = j
    return index
