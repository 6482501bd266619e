"""What a map says, taken from the arrays of files: numbers, images, presentations, sites, time bins."""
