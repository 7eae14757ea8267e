"""What to expect at the next scale: published recipes re-implemented, and trends of a board's own entries."""
