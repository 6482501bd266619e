"""From a recording to an encoder, its validator and a report; comparisons of candidates; few-shot sites."""
