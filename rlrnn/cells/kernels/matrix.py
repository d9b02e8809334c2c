"""A step of the addressable matrix compiled by numba, and its gradient: the equations of ``cells.matrix``.

Row by row: M is [slots * H], a head [H + 5] its key times strength, gate, sharpening and three shifts, w and
r [slots] what the head that writes and the one that reads attend to.
"""

# mypy: ignore-errors

import functools

import numpy as np

from rlrnn.common.compiling import jit

kernel = functools.partial(jit, fastmath={"contract", "reassoc", "nsz", "arcp"})  # long sums in any order

CONTENT, GATED, SHIFTED, SHARP, WEIGHTS = range(5)  # stages of a head's weights, each [slots]


@kernel
def lengths(memory, size, epsilon, inverse):
    """1 / the length of each row of M, as ``unit`` has it, into ``inverse`` [slots]."""
    for s in range(len(inverse)):
        row, square = memory[s * size : (s + 1) * size], epsilon
        for h in range(size):
            square += row[h] * row[h]
        inverse[s] = 1 / np.sqrt(square)


@kernel
def attend(memory, head, offsets, inverse, stages):
    """A head's weights, stage by stage [5, slots]; returns the largest shifted one, the sum of sharp ones."""
    slots = len(inverse)
    size = len(head) - 5
    gate, power = head[size], head[size + 1]
    content, gated, shifted = stages[CONTENT], stages[GATED], stages[SHIFTED]
    max_content = -np.inf
    for s in range(slots):
        row, dot = memory[s * size : (s + 1) * size], head[0] * 0
        for h in range(size):
            dot += head[h] * row[h]
        content[s] = dot * inverse[s]
        max_content = max(max_content, content[s])
    total = head[0] * 0
    for s in range(slots):
        content[s] = np.exp(content[s] - max_content)
        total += content[s]
    for s in range(slots):
        content[s] /= total
        before = offsets[s] + 1 if s == 0 else offsets[s]
        difference = content[s] - before  # torch.lerp: exact at both ends
        gated[s] = before + gate * difference if gate < 0.5 else content[s] - difference * (1 - gate)
    largest = head[0] * 0
    for s in range(slots):
        ahead, behind = gated[(s + 1) % slots], gated[(s + slots - 1) % slots]
        shifted[s] = head[size + 2] * ahead + head[size + 3] * gated[s] + head[size + 4] * behind
        largest = max(largest, abs(shifted[s]))
    total = head[0] * 0
    for s in range(slots):
        stages[SHARP, s] = (abs(shifted[s]) / largest) ** power
        total += stages[SHARP, s]
    for s in range(slots):
        stages[WEIGHTS, s] = stages[SHARP, s] / total
    return largest, total


@kernel
def forward(projected, state, slots, epsilon, y, after):
    """projected [B, G], state [B, S] -> y [B, H] and the state after [B, S]."""
    size = y.shape[1]
    width = size + 5
    flat = slots * size
    inverse, stages = np.empty(slots, y.dtype), np.empty((2, 5, slots), y.dtype)
    for b in range(len(y)):
        memory, controls = state[b, :flat], projected[b]
        erase, add = controls[2 * width : 2 * width + size], controls[2 * width + size :]
        lengths(memory, size, epsilon, inverse)
        for k in range(2):
            offsets = state[b, flat + k * slots : flat + (k + 1) * slots]
            attend(memory, controls[k * width : (k + 1) * width], offsets, inverse, stages[k])
        out, new_state = y[b], after[b]
        out[:] = 0
        for s in range(slots):
            w, r = stages[0, WEIGHTS, s], stages[1, WEIGHTS, s]
            old, new = memory[s * size : (s + 1) * size], new_state[s * size : (s + 1) * size]
            for h in range(size):
                new[h] = old[h] + w * (add[h] - old[h] * erase[h])
            for h in range(size):
                out[h] += r * new[h]
            home = 1 if s == 0 else 0
            new_state[flat + s] = w - home
            new_state[flat + slots + s] = r - home


@kernel
def attend_back(
    memory, head, offsets, inverse, stages, largest, total, d_weights, d_memory, d_head, d_offsets
):
    """From the gradient by a head's weights, ``d_weights`` [slots] (overwritten), to all that they depend on.

    Those by M are added, those by the head and by its weights before, less home, are written.
    """
    slots = len(inverse)
    size = len(head) - 5
    gate, power = head[size], head[size + 1]
    content, gated, shifted, sharp = stages[CONTENT], stages[GATED], stages[SHIFTED], stages[SHARP]
    zero = head[0] * 0
    mean = zero
    for s in range(slots):
        mean += d_weights[s] * stages[WEIGHTS, s]
    d_power = zero
    for s in range(slots):
        d_sharp = (d_weights[s] - mean) / total
        share = abs(shifted[s]) / largest
        if share == 0:  # as is share ** (power - 1), unless power is 1
            d_weights[s] = zero
        else:
            d_power += d_sharp * sharp[s] * np.log(share)
            d_weights[s] = d_sharp * power * sharp[s] / share / largest * np.sign(shifted[s])
    d_head[size + 1] = d_power
    back, stay, on = zero, zero, zero
    for s in range(slots):
        ahead, behind = (s + 1) % slots, (s + slots - 1) % slots
        back += d_weights[s] * gated[ahead]
        stay += d_weights[s] * gated[s]
        on += d_weights[s] * gated[behind]
        d_offsets[s] = (
            head[size + 2] * d_weights[behind]
            + head[size + 3] * d_weights[s]
            + head[size + 4] * d_weights[ahead]
        )
    d_head[size + 2], d_head[size + 3], d_head[size + 4] = back, stay, on
    d_gate, mean = zero, zero
    for s in range(slots):
        before = offsets[s] + 1 if s == 0 else offsets[s]
        d_gate += d_offsets[s] * (content[s] - before)
        mean += gate * d_offsets[s] * content[s]
    d_head[size] = d_gate
    d_head[:size] = 0
    for s in range(slots):
        d_dot = content[s] * (gate * d_offsets[s] - mean)
        d_offsets[s] *= 1 - gate
        old, d_old = memory[s * size : (s + 1) * size], d_memory[s * size : (s + 1) * size]
        dot = zero
        for h in range(size):
            dot += head[h] * old[h]
        along = dot * inverse[s] * inverse[s]
        slope = d_dot * inverse[s]
        for h in range(size):
            d_head[h] += slope * old[h]
        for h in range(size):
            d_old[h] += slope * (head[h] - along * old[h])


@kernel
def backward(projected, state, slots, epsilon, dy, d_after, d_projected, d_state):
    """Gradients by y [B, H] and the state after [B, S] -> by what was projected and by the state before."""
    size = dy.shape[1]
    width = size + 5
    flat = slots * size
    inverse, stages = np.empty(slots, dy.dtype), np.empty((2, 5, slots), dy.dtype)
    d_weights, scales = np.empty((2, slots), dy.dtype), np.empty((2, 2), dy.dtype)
    for b in range(len(dy)):
        memory, controls = state[b, :flat], projected[b]
        erase, add = controls[2 * width : 2 * width + size], controls[2 * width + size :]
        d_erase, d_add = d_projected[b, 2 * width : 2 * width + size], d_projected[b, 2 * width + size :]
        d_erase[:] = 0
        d_add[:] = 0
        lengths(memory, size, epsilon, inverse)
        for k in range(2):
            offsets = state[b, flat + k * slots : flat + (k + 1) * slots]
            scales[k] = attend(memory, controls[k * width : (k + 1) * width], offsets, inverse, stages[k])
        for s in range(slots):
            w, r = stages[0, WEIGHTS, s], stages[1, WEIGHTS, s]
            d_w, d_r = d_after[b, flat + s], d_after[b, flat + slots + s]
            old, d_new = memory[s * size : (s + 1) * size], d_state[b, s * size : (s + 1) * size]
            out, d_after_row = dy[b], d_after[b, s * size : (s + 1) * size]
            for h in range(size):  # several short loops, each of few arrays: these become vector instructions
                d_new[h] = d_after_row[h] + r * out[h]
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
                controls[k * width : (k + 1) * width],
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
