"""Agents, settings and states in files, without pickle."""
