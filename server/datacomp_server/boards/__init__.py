"""Boards: what one competition holds constant, described in one TOML file."""
