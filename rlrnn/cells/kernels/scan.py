"""Linear recurrences h' = a * h + b compiled for this processor: what ``paths/scan`` runs on a CPU.

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
    varies = a.shape[:2] == (steps, rows)
    for row in range(rows):
        before = first[row]
        for t in range(steps):
            b_t, h_t = b[t, row], h[t, row]
            if start[t, row]:
                h_t[:] = b_t
            else:
                a_t = a[t, row] if varies else a[0, 0]
                for j in range(size):
                    h_t[j] = a_t[j] * before[j] + b_t[j]
            before = h_t


@kernel
def real_backward(a, start, first, h, d_h, d_a, d_b, d_first):
    """From the gradient by every h: writes those by b and the first h, adds that by a to ``d_a``."""
    steps, rows, size = h.shape
    varies = a.shape[:2] == (steps, rows)
    for row in range(rows):
        d_carry = d_first[row]
        d_carry[:] = 0.0
        for t in range(steps - 1, -1, -1):
            d_h_t, d_b_t = d_h[t, row], d_b[t, row]
            if start[t, row]:
                for j in range(size):
                    d_b_t[j] = d_h_t[j] + d_carry[j]
                    d_carry[j] = 0.0
                continue
            before = h[t - 1, row] if t > 0 else first[row]
            a_t, d_a_t = (a[t, row], d_a[t, row]) if varies else (a[0, 0], d_a[0, 0])
            for j in range(size):
                d = d_h_t[j] + d_carry[j]
                d_b_t[j] = d
                d_a_t[j] += d * before[j]
                d_carry[j] = d * a_t[j]


@kernel
def complex_forward(a, b, start, first, h):
    """As ``real_forward``."""
    steps, rows, size = b.shape
    varies, n = a.shape[:2] == (steps, rows), size // 2
    for row in range(rows):
        re, im = first[row, :n], first[row, n:]
        for t in range(steps):
            b_re, b_im = b[t, row, :n], b[t, row, n:]
            new_re, new_im = h[t, row, :n], h[t, row, n:]
            if start[t, row]:
                new_re[:], new_im[:] = b_re, b_im
            else:
                a_t = a[t, row] if varies else a[0, 0]
                a_re, a_im = a_t[:n], a_t[n:]
                for j in range(n):
                    new_re[j] = a_re[j] * re[j] - a_im[j] * im[j] + b_re[j]
                    new_im[j] = a_re[j] * im[j] + a_im[j] * re[j] + b_im[j]
            re, im = new_re, new_im


@kernel
def complex_backward(a, start, first, h, d_h, d_a, d_b, d_first):
    """As ``real_backward``; a gradient comes back through the conjugates of what it was multiplied with."""
    steps, rows, size = h.shape
    varies, n = a.shape[:2] == (steps, rows), size // 2
    for row in range(rows):
        d_first[row] = 0.0
        d_carry_re, d_carry_im = d_first[row, :n], d_first[row, n:]
        for t in range(steps - 1, -1, -1):
            d_h_re, d_h_im = d_h[t, row, :n], d_h[t, row, n:]
            d_b_re, d_b_im = d_b[t, row, :n], d_b[t, row, n:]
            if start[t, row]:
                for j in range(n):
                    d_b_re[j], d_b_im[j] = d_h_re[j] + d_carry_re[j], d_h_im[j] + d_carry_im[j]
                    d_carry_re[j] = d_carry_im[j] = 0.0
                continue
            before = h[t - 1, row] if t > 0 else first[row]
            re, im = before[:n], before[n:]
            a_t, d_a_t = (a[t, row], d_a[t, row]) if varies else (a[0, 0], d_a[0, 0])
            a_re, a_im, d_a_re, d_a_im = a_t[:n], a_t[n:], d_a_t[:n], d_a_t[n:]
            for j in range(n):
                d_re, d_im = d_h_re[j] + d_carry_re[j], d_h_im[j] + d_carry_im[j]
                d_b_re[j], d_b_im[j] = d_re, d_im
                d_a_re[j] += d_re * re[j] + d_im * im[j]
                d_a_im[j] += d_im * re[j] - d_re * im[j]
                d_carry_re[j] = d_re * a_re[j] + d_im * a_im[j]
                d_carry_im[j] = d_im * a_re[j] - d_re * a_im[j]
