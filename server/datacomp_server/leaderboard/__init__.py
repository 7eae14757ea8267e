"""Leaderboards: ranked rows of what was trained and evaluated here."""
