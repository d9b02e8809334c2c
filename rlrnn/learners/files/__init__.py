"""Agents saved and opened, contrib's too."""
