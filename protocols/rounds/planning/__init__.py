"""How often each image of a round is shown: expectations, expected verdicts, the search for the best division."""
