"""The network's face toward SB3."""
