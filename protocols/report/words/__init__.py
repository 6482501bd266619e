"""What a report says in words: the diagnosis of a round, and what it leaves out."""
