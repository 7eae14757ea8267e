"""How sure a score, a difference and a rank are."""
