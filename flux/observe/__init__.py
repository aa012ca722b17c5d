"""Who listens: trace events, the outlets that get them, and what keeps outlets from steering."""
