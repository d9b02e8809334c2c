"""Cells' equations compiled by numba: arrays in, arrays out, no autograd."""
