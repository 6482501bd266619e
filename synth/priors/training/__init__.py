"""Training of the network of `natural`; used by scripts only."""
