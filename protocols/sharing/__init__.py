"""A finished experiment for others: archives readable without stimsynth, and exports to shared formats."""
