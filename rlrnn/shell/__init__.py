"""The command ``rlrnn``."""
