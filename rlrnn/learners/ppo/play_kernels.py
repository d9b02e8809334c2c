"""Many steps of a compiled game, compiled: acting, drawing, stepping, resetting, recording.

Letters: T steps, B copies of a game, F features, O output units, S state.
"""

# mypy: ignore-errors

import numpy as np

from rlrnn.cells.kernels import stepping
from rlrnn.cells.kernels.arithmetic import kernel
from rlrnn.common.addresses import call
from rlrnn.games.kernels import table
from rlrnn.network.kernels import choose


@kernel
def play(
    layers, inner, room, norms, limit, noise, game, functions, shown, columns, first, last,
    seen, start, states, actions, offset, log_probs, values, rewards, terminated, truncated, finals,
    points, lengths, end_points, end_lengths,
):  # fmt: skip
    """T steps of copies first to last of a game with choices, from where it stands.

    All arrays are those of all copies. seen [T + 1, B, F], start [T + 1, B] and states [T + 1, B, S] are
    given at 0 and filled in: seen with ``columns`` [F] of what the game shows, in an array [B, shown].
    noise [T, B, O]; norms [4, F] are mean and deviation of actor and critic, or [0, F].
    Results [T, B]: actions [T, B, 1], counted from 0 where the game has ``offset``, log-probabilities,
    values, rewards, how episodes ended, what was seen last in those [T, B, F], their points and lengths.
    Points and lengths [B] are of the episodes under way; ``functions`` are the addresses of the game's.
    """
    steps, copies = rewards.shape
    count, features = last - first, seen.shape[2]
    begin, advance, look = functions[0], functions[1], functions[2]
    most, taken = table.numbers_of(game)[table.LIMIT], table.steps_of(game)
    outputs, value = np.empty((count, noise.shape[2]), seen.dtype), np.empty((count, 1), seen.dtype)
    x, x_critic = np.empty((count, features), seen.dtype), np.empty((count, features), seen.dtype)
    chosen, over = np.zeros(copies, np.int64), np.zeros(copies, np.bool_)
    for t in range(steps):
        if len(norms):
            normalise(seen[t, first:last], norms[0], norms[1], limit, x)
            normalise(seen[t, first:last], norms[2], norms[3], limit, x_critic)
        else:
            for b in range(count):
                for f in range(features):
                    x[b, f] = x_critic[b, f] = seen[t, first + b, f]
        stepping.step(layers, inner, room, x, x_critic, start[t, first:last], states[t, first:last],
                      states[t + 1, first:last], outputs, value)  # fmt: skip
        for b in range(first, last):
            log_probs[t, b] = 0
        choose(outputs, 0, outputs.shape[1], noise[t, first:last], actions[t, first:last], 0,
               log_probs[t, first:last])  # fmt: skip
        for b in range(first, last):
            values[t, b] = value[b - first, 0]
            chosen[b] = actions[t, b, 0] + offset
        call(advance, (game, first, last, chosen.ctypes.data, rewards[t].ctypes.data, over.ctypes.data))
        table.see(game, look, first, last, columns, shown, seen[t + 1])
        for b in range(first, last):
            taken[b] += 1
            points[b] += rewards[t, b]
            lengths[b] += 1
            terminated[t, b], truncated[t, b] = over[b], not over[b] and 0 <= most <= taken[b]
            ended = terminated[t, b] or truncated[t, b]
            start[t + 1, b] = ended
            if ended:
                for f in range(features):
                    finals[t, b, f] = seen[t + 1, b, f]
                end_points[t, b], end_lengths[t, b] = points[b], lengths[b]
                points[b], lengths[b] = 0.0, 0
                table.start_episode(game, begin, b)
                table.see(game, look, b, b + 1, columns, shown, seen[t + 1])


@kernel
def normalise(seen, mean, deviation, limit, x):
    """Features x [B, F] of observations [B, F], as ``RunningNormalizer`` makes them."""
    for b in range(len(x)):
        for f in range(x.shape[1]):
            z = (seen[b, f] - mean[f]) / deviation[f]
            z = limit if z > limit else z
            x[b, f] = -limit if z < -limit else z
