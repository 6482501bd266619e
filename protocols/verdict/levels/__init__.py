"""Photographs at graded levels as they were recorded: described, never tested."""
