"""Images for objectives: for a round, or a batch of its own."""
