"""Evolution of images without gradients: ask, score, tell; by an encoder or by recorded responses."""
