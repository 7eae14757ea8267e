"""Keeps the beginning and the end of a stream of any length."""

from __future__ import annotations

from datacomp.text import printable


class BoundedLog:
    """At most `kept` bytes of what is added: the first half and the last half of it."""

    def __init__(self, kept: int) -> None:
        self.total = 0
        self._half = kept // 2
        self._head = bytearray()
        self._tail = bytearray()

    def add(self, block: bytes) -> None:
        """Append a block."""
        self.total += len(block)
        room = self._half - len(self._head)
        self._head += block[:room]
        self._tail += block[room:]
        if len(self._tail) > 2 * self._half:
            del self._tail[: -self._half]

    def text(self) -> str:
        """What was kept, decoded, control characters replaced, with a note where bytes were left out."""
        tail = bytes(self._tail[-self._half :]) if self._half else b""
        left_out = self.total - len(self._head) - len(tail)
        note = f"\n[... {left_out:,} bytes left out ...]\n".encode() if left_out else b""
        return printable((bytes(self._head) + note + tail).decode(errors="replace"))
