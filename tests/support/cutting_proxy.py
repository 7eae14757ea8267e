"""A TCP proxy on loopback that cuts connections at chosen byte counts, as bad networks do."""

from __future__ import annotations

import random
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field

BUFFER = 64 << 10
"""Small buffers, so that little is on its way at a time and what was sent can be told."""


@dataclass
class CuttingProxy:
    """Forwards to `port`, and cuts the connection in use each time a random number of bytes has passed."""

    port: int
    cuts: int
    every: int
    """Bytes between two cuts, on average."""
    seed: int = 0
    done: int = 0
    """Cuts made."""
    received: int = 0
    """Bytes that came from clients, heads of requests among them."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _left: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._next()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listening.close()

    def _next(self) -> None:
        self._left = self._random.randint(self.every // 2, self.every * 3 // 2)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.port))
            except OSError:  # the server is away
                client.close()
                continue
            for way in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._forward, args=way, daemon=True).start()

    def _forward(self, source: socket.socket, to: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while data := source.recv(BUFFER):
                cut = counted and self._count(len(data))
                to.sendall(data)
                if cut:
                    break
        for end in (source, to):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _count(self, size: int) -> bool:
        """Count bytes from a client; whether the connection is cut behind them."""
        with self._lock:
            self.received += size
            self._left -= size
            if self._left > 0 or self.done >= self.cuts:
                return False
            self.done += 1
            self._next()
            return True
