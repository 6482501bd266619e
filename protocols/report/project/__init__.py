"""One page over all rounds of a project."""
