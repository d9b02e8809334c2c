"""A step of the addressable matrix compiled by numba, there and back: the equations of ``cells.matrix``.

Row by row: M is [slots * H], a head [H + 5] its key times strength, gate, sharpening and three shifts, w and
r [slots] what the head that writes and the one that reads attend to.
"""

# mypy: ignore-errors

import numpy as np

from rlrnn.cells.kernels.arithmetic import kernel

CONTENT, MIXED, MOVED, SHARP, WEIGHTS = range(5)  # stages of finding where a head is, each [slots]


@kernel
def lengths(memory, size, short, inverse):
    """1 / the length of each row of M, as ``unit`` has it, into ``inverse`` [slots]."""
    for s in range(len(inverse)):
        row, square = memory[s * size : (s + 1) * size], short
        for h in range(size):
            square += row[h] * row[h]
        inverse[s] = 1 / np.sqrt(square)


@kernel
def attend(memory, head, away, inverse, stages):
    """Where a head is, stage by stage [5, slots]; returns the largest of those moved and their sharp sum."""
    slots = len(inverse)
    size = len(head) - 5
    gate, power = head[size], head[size + 1]
    content, mixed, moved = stages[CONTENT], stages[MIXED], stages[MOVED]
    most = -np.inf
    for s in range(slots):
        row, alike = memory[s * size : (s + 1) * size], head[0] * 0
        for h in range(size):
            alike += head[h] * row[h]
        content[s] = alike * inverse[s]
        most = max(most, content[s])
    total = head[0] * 0
    for s in range(slots):
        content[s] = np.exp(content[s] - most)
        total += content[s]
    for s in range(slots):
        content[s] /= total
        was = away[s] + 1 if s == 0 else away[s]
        apart = content[s] - was  # torch.lerp: exact at both ends
        mixed[s] = was + gate * apart if gate < 0.5 else content[s] - apart * (1 - gate)
    largest = head[0] * 0
    for s in range(slots):
        ahead, behind = mixed[(s + 1) % slots], mixed[(s + slots - 1) % slots]
        moved[s] = head[size + 2] * ahead + head[size + 3] * mixed[s] + head[size + 4] * behind
        largest = max(largest, abs(moved[s]))
    total = head[0] * 0
    for s in range(slots):
        stages[SHARP, s] = (abs(moved[s]) / largest) ** power
        total += stages[SHARP, s]
    for s in range(slots):
        stages[WEIGHTS, s] = stages[SHARP, s] / total
    return largest, total


@kernel
def forward(projected, state, slots, short, y, after):
    """projected [B, G], state [B, S] -> y [B, H] and the state after [B, S]."""
    size = y.shape[1]
    width = size + 5
    flat = slots * size
    inverse, stages = np.empty(slots, y.dtype), np.empty((2, 5, slots), y.dtype)
    for b in range(len(y)):
        memory, told = state[b, :flat], projected[b]
        erase, add = told[2 * width : 2 * width + size], told[2 * width + size :]
        lengths(memory, size, short, inverse)
        for k in range(2):
            away = state[b, flat + k * slots : flat + (k + 1) * slots]
            attend(memory, told[k * width : (k + 1) * width], away, inverse, stages[k])
        out, now = y[b], after[b]
        out[:] = 0
        for s in range(slots):
            w, r = stages[0, WEIGHTS, s], stages[1, WEIGHTS, s]
            old, new = memory[s * size : (s + 1) * size], now[s * size : (s + 1) * size]
            for h in range(size):
                new[h] = old[h] + w * (add[h] - old[h] * erase[h])
            for h in range(size):
                out[h] += r * new[h]
            home = 1 if s == 0 else 0
            now[flat + s] = w - home
            now[flat + slots + s] = r - home


@kernel
def attend_back(memory, head, away, inverse, stages, largest, total, d_weights, d_memory, d_head, d_away):
    """Gradients by where a head is, ``d_weights`` [slots] (used up), to all that it was found from.

    Those by M are added, those by the head and by where it was before are written.
    """
    slots = len(inverse)
    size = len(head) - 5
    gate, power = head[size], head[size + 1]
    content, mixed, moved, sharp = stages[CONTENT], stages[MIXED], stages[MOVED], stages[SHARP]
    zero = head[0] * 0
    mean = zero
    for s in range(slots):
        mean += d_weights[s] * stages[WEIGHTS, s]
    d_power = zero
    for s in range(slots):
        d_sharp = (d_weights[s] - mean) / total
        share = abs(moved[s]) / largest
        if share == 0:  # as is share ** (power - 1), unless power is 1
            d_weights[s] = zero
        else:
            d_power += d_sharp * sharp[s] * np.log(share)
            d_weights[s] = d_sharp * power * sharp[s] / share / largest * np.sign(moved[s])
    d_head[size + 1] = d_power
    back, stay, on = zero, zero, zero
    for s in range(slots):
        ahead, behind = (s + 1) % slots, (s + slots - 1) % slots
        back += d_weights[s] * mixed[ahead]
        stay += d_weights[s] * mixed[s]
        on += d_weights[s] * mixed[behind]
        d_away[s] = (
            head[size + 2] * d_weights[behind]
            + head[size + 3] * d_weights[s]
            + head[size + 4] * d_weights[ahead]
        )
    d_head[size + 2], d_head[size + 3], d_head[size + 4] = back, stay, on
    d_gate, mean = zero, zero
    for s in range(slots):
        was = away[s] + 1 if s == 0 else away[s]
        d_gate += d_away[s] * (content[s] - was)
        mean += gate * d_away[s] * content[s]
    d_head[size] = d_gate
    d_head[:size] = 0
    for s in range(slots):
        d_alike = content[s] * (gate * d_away[s] - mean)
        d_away[s] *= 1 - gate
        old, d_old = memory[s * size : (s + 1) * size], d_memory[s * size : (s + 1) * size]
        alike = zero
        for h in range(size):
            alike += head[h] * old[h]
        along = alike * inverse[s] * inverse[s]
        slope = d_alike * inverse[s]
        for h in range(size):
            d_head[h] += slope * old[h]
        for h in range(size):
            d_old[h] += slope * (head[h] - along * old[h])


@kernel
def backward(projected, state, slots, short, dy, d_after, d_projected, d_state):
    """Gradients by y [B, H] and the state after [B, S] -> by what was projected and by the state before."""
    size = dy.shape[1]
    width = size + 5
    flat = slots * size
    inverse, stages = np.empty(slots, dy.dtype), np.empty((2, 5, slots), dy.dtype)
    d_weights, scales = np.empty((2, slots), dy.dtype), np.empty((2, 2), dy.dtype)
    for b in range(len(dy)):
        memory, told = state[b, :flat], projected[b]
        erase, add = told[2 * width : 2 * width + size], told[2 * width + size :]
        d_erase, d_add = d_projected[b, 2 * width : 2 * width + size], d_projected[b, 2 * width + size :]
        d_erase[:] = 0
        d_add[:] = 0
        lengths(memory, size, short, inverse)
        for k in range(2):
            away = state[b, flat + k * slots : flat + (k + 1) * slots]
            scales[k] = attend(memory, told[k * width : (k + 1) * width], away, inverse, stages[k])
        for s in range(slots):
            w, r = stages[0, WEIGHTS, s], stages[1, WEIGHTS, s]
            d_w, d_r = d_after[b, flat + s], d_after[b, flat + slots + s]
            old, d_new = memory[s * size : (s + 1) * size], d_state[b, s * size : (s + 1) * size]
            out, d_now = dy[b], d_after[b, s * size : (s + 1) * size]
            for h in range(size):  # several short loops, each of few arrays: these become vector instructions
                d_new[h] = d_now[h] + r * out[h]
            for h in range(size):
                d_r += out[h] * (old[h] + w * (add[h] - old[h] * erase[h]))
            for h in range(size):
                d_w += d_new[h] * (add[h] - old[h] * erase[h])
            for h in range(size):
                d_add[h] += w * d_new[h]
            for h in range(size):
                d_erase[h] -= w * d_new[h] * old[h]
            for h in range(size):
                d_new[h] *= 1 - w * erase[h]
            d_weights[0, s], d_weights[1, s] = d_w, d_r
        for k in range(2):
            first, last = flat + k * slots, flat + (k + 1) * slots
            attend_back(
                memory,
                told[k * width : (k + 1) * width],
                state[b, first:last],
                inverse,
                stages[k],
                scales[k, 0],
                scales[k, 1],
                d_weights[k],
                d_state[b, :flat],
                d_projected[b, k * width : (k + 1) * width],
                d_state[b, first:last],
            )
