"""Teams: people who submit together."""
