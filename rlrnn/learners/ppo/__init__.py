"""Proximal policy optimisation for networks with memory."""
