"""A gallery on loopback that fails in every way the web does."""

import io
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

import numpy as np
from loopback import serving
from PIL import Image

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def picture(seed: int = 0, side: int = 48, form: str = "JPEG", mode: str = "RGB") -> bytes:
    """A picture of its own for every seed."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    small.convert(mode).save(out, form)
    return out.getvalue()


def animation() -> bytes:
    """A GIF of two frames."""
    frames = [Image.open(io.BytesIO(picture(seed))).convert("P") for seed in (1, 2)]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    return out.getvalue()


def deep_png(value: int = 0x4000, side: int = 48, *, colour: bool = True) -> bytes:
    """A PNG of 16 bits a channel, all of one value."""
    row = b"\0" + struct.pack(">H", value) * side * (3 if colour else 1)
    return _png(side, side, 16, 2 if colour else 0, zlib.compress(row * side))


def bomb() -> bytes:
    """A PNG of a few kilobytes that says it has 900 million pixels, and has."""
    return _png(30_000, 30_000, 1, 0, zlib.compress(bytes(30_000 * 3751)))


def _png(width: int, height: int, depth: int, colour: int, data: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@dataclass
class Gallery:
    """What it serves, and what it was asked."""

    url: str = ""
    bodies: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, tuple[str, str]] = field(default_factory=dict)
    asked: list[tuple[float, str]] = field(default_factory=list)
    most_at_once: int = 0
    busy: int = 0
    """Answers under way."""
    slow: set[str] = field(default_factory=set)
    """Paths that take a second."""
    flaky: dict[str, int] = field(default_factory=dict)
    """Paths that reset this many connections before they answer."""

    def at(self, path: str) -> str:
        """The address of a path."""
        return f"{self.url}/{path}"


@contextmanager
def gallery() -> Iterator[Gallery]:
    """Serve until the context ends. `/404`, `/slow`, `/silent`, `/reset`, `/huge`, `/cut`, `/to/URL` fail."""
    made = Gallery()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.lstrip("/")
            with lock:
                made.asked.append((time.monotonic(), path))
                made.busy += 1
                made.most_at_once = max(made.most_at_once, made.busy)
            try:
                self.answer(path)
            except OSError:
                pass
            finally:
                with lock:
                    made.busy -= 1
                self.close_connection = True

        def answer(self, path: str) -> None:
            if path == "reset" or made.flaky.get(path, 0) > 0:
                made.flaky[path] = made.flaky.get(path, 0) - 1
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            elif path == "silent":
                time.sleep(3)
            elif path == "slow":
                self.begin(200, {"Content-Length": "100000"})
                for _ in range(40):
                    self.wfile.write(b"x")
                    time.sleep(0.1)
            elif path == "huge":
                self.begin(200, {"Content-Length": str(1 << 40)})
            elif path == "endless":
                self.begin(200, {})
                while True:
                    self.wfile.write(bytes(1 << 16))
            elif path == "cut":
                self.begin(200, {"Content-Length": "100000"})
                self.wfile.write(picture()[:500])
            elif path.startswith("to/"):
                self.begin(302, {"Location": path.removeprefix("to/"), "Content-Length": "0"})
            elif path in made.bodies:
                time.sleep(path in made.slow)
                extra = dict([made.headers[path]]) if path in made.headers else {}
                self.begin(200, {"Content-Length": str(len(made.bodies[path])), **extra})
                self.wfile.write(made.bodies[path])
            else:
                self.begin(404, {"Content-Length": "0"})

        def begin(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as made.url:
        yield made
