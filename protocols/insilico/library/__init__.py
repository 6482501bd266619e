"""The best and the worst photographs of a large library, by every one or by climbing."""
