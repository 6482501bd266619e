"""Most discriminative stimuli of a project: clusters of sites with one image each, and the types of new sites."""
