"""Evolution on the rig as files: the folder of each generation, and how far an evolution is."""
