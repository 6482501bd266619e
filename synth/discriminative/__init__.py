"""Most discriminative stimuli: images and clusters of sites found in turns."""
