"""What is asked of controllers that are made: groups against each other, tuning series, simpler images, levels."""
