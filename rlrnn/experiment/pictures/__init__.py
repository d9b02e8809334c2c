"""Learning curves, scores, memory, networks and episodes as pictures, films and reports."""
