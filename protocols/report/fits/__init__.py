"""A fit as one page and one table: which sites the encoder predicts, how well, and which may be controlled."""
