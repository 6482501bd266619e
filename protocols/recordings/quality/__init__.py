"""What every recording must fulfil, wherever it was made and whichever command hands it over."""
