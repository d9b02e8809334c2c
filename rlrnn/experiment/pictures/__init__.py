"""Curves, scores, memories and games as pictures, films and pages."""
