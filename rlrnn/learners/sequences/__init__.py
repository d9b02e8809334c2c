"""Learning from sequences with targets, and from recorded play."""
