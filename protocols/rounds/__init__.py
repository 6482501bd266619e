"""What is shown in a round: stimuli, control arms, trial order, safety, the outbox."""
