"""The encoder that makes a round's images, and whether a new one predicts worse."""
