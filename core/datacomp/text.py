"""Text of unknown origin, made fit to be shown."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` with control characters other than newline and tab, and lone surrogates, replaced: it ends in terminals,
    on pages, and in databases that take neither."""
    return "".join(c if c in "\n\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
