"""Linear recurrences h' = a * h + b compiled for this processor: what ``paths/scan`` runs with ``[fast]``.

b and h [T, B, S], the h before the first step [B, S]; a [T, B, S], or [1, 1, S] where it is the same for
all. Where ``start`` [T, B] is true h is cleared first. Complex numbers stand as [real | imaginary] along the
last axis, S = 2N. All arrays are C-contiguous and of one floating type.
"""

# mypy: ignore-errors

from rlrnn.cells.kernels.arithmetic import kernel


@kernel
def real_forward(a, b, start, first, h):
    """Writes ``h``."""
    steps, rows, size = b.shape
    moves = a.shape[:2] == (steps, rows)
    for row in range(rows):
        before = first[row]
        for t in range(steps):
            told, after = b[t, row], h[t, row]
            if start[t, row]:
                after[:] = told
            else:
                kept = a[t, row] if moves else a[0, 0]
                for j in range(size):
                    after[j] = kept[j] * before[j] + told[j]
            before = after


@kernel
def real_backward(a, start, first, h, d_h, d_a, d_b, d_first):
    """From the gradient by every h: writes those by b and the first h, adds that by a to ``d_a``."""
    steps, rows, size = h.shape
    moves = a.shape[:2] == (steps, rows)
    for row in range(rows):
        carried = d_first[row]
        carried[:] = 0.0
        for t in range(steps - 1, -1, -1):
            felt, by_b = d_h[t, row], d_b[t, row]
            if start[t, row]:
                for j in range(size):
                    by_b[j] = felt[j] + carried[j]
                    carried[j] = 0.0
                continue
            before = h[t - 1, row] if t > 0 else first[row]
            kept, by_a = (a[t, row], d_a[t, row]) if moves else (a[0, 0], d_a[0, 0])
            for j in range(size):
                d = felt[j] + carried[j]
                by_b[j] = d
                by_a[j] += d * before[j]
                carried[j] = d * kept[j]


@kernel
def complex_forward(a, b, start, first, h):
    """As ``real_forward``."""
    steps, rows, size = b.shape
    moves, n = a.shape[:2] == (steps, rows), size // 2
    for row in range(rows):
        re, im = first[row, :n], first[row, n:]
        for t in range(steps):
            told_re, told_im = b[t, row, :n], b[t, row, n:]
            new_re, new_im = h[t, row, :n], h[t, row, n:]
            if start[t, row]:
                new_re[:], new_im[:] = told_re, told_im
            else:
                kept = a[t, row] if moves else a[0, 0]
                a_re, a_im = kept[:n], kept[n:]
                for j in range(n):
                    new_re[j] = a_re[j] * re[j] - a_im[j] * im[j] + told_re[j]
                    new_im[j] = a_re[j] * im[j] + a_im[j] * re[j] + told_im[j]
            re, im = new_re, new_im


@kernel
def complex_backward(a, start, first, h, d_h, d_a, d_b, d_first):
    """As ``real_backward``; a gradient comes back through the conjugates of what it was multiplied with."""
    steps, rows, size = h.shape
    moves, n = a.shape[:2] == (steps, rows), size // 2
    for row in range(rows):
        d_first[row] = 0.0
        carried_re, carried_im = d_first[row, :n], d_first[row, n:]
        for t in range(steps - 1, -1, -1):
            felt_re, felt_im = d_h[t, row, :n], d_h[t, row, n:]
            b_re, b_im = d_b[t, row, :n], d_b[t, row, n:]
            if start[t, row]:
                for j in range(n):
                    b_re[j], b_im[j] = felt_re[j] + carried_re[j], felt_im[j] + carried_im[j]
                    carried_re[j] = carried_im[j] = 0.0
                continue
            before = h[t - 1, row] if t > 0 else first[row]
            re, im = before[:n], before[n:]
            kept, by_a = (a[t, row], d_a[t, row]) if moves else (a[0, 0], d_a[0, 0])
            kept_re, kept_im, by_re, by_im = kept[:n], kept[n:], by_a[:n], by_a[n:]
            for j in range(n):
                d_re, d_im = felt_re[j] + carried_re[j], felt_im[j] + carried_im[j]
                b_re[j], b_im[j] = d_re, d_im
                by_re[j] += d_re * re[j] + d_im * im[j]
                by_im[j] += d_im * re[j] - d_re * im[j]
                carried_re[j] = d_re * kept_re[j] + d_im * kept_im[j]
                carried_im[j] = d_im * kept_re[j] - d_re * kept_im[j]
