"""Rows of papers' tables: shown beside boards, marked, never ranked with what was run here."""
