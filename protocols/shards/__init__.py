"""Work in shards: a plan of pieces that are pure functions of their inputs, one file each; any executor runs it."""
