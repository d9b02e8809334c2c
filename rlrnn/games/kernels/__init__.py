"""Steps of games compiled by numba: equal to the arrays bit for bit."""
