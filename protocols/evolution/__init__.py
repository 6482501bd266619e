"""Evolution on the rig, generation by generation: images out, responses in, the next images."""
