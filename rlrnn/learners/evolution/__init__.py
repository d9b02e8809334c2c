"""Evolution of networks with memory by a fitness."""
