"""A network as a diagram of its units and links."""
