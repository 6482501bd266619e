"""What is asked of finished controllers: groups against each other, tuning series, simpler images."""
