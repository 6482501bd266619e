"""Fine-tuning of a fitted encoder's network together with its readouts."""
