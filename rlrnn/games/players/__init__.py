"""Scripted players of our games: the ceilings that their points are measured by."""
