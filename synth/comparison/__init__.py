"""Images that tell two encoders apart, and triplets that tell two layers apart."""
