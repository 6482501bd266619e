"""Statistics: pure functions on arrays. Nothing here knows of rounds, sites or files."""
