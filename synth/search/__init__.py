"""Search in a library of photographs: exhaustive, or hill climbing on a graph of neighbours."""
