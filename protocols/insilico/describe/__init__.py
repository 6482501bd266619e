"""What the sites of a fitted encoder prefer, as one page: images, neighbours, maps, clusters, layers, words."""
