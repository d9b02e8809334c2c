"""The search for settings: trials in waves, halved at rungs, the best of them verified on fresh seeds."""
