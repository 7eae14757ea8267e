"""A generated gallery on loopback: pictures of the tiny world with true captions, served to be brought as data.

Some of its addresses lead nowhere, and some pictures are copies of evaluation images, as on the web.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from datacomp.suite import Suite
from datacomp_worker.evaluation.data import IMAGE_TYPES, TaskFolder

LOST_SHARE = 0.02
LEAKED = 16
LICENSES = ("CC0-1.0", "CC-BY-4.0")


def draw(count: int, seed: int) -> tuple[list[bytes], list[str]]:
    """New pictures of the world with true captions, as PNG files; the same seed gives the same."""
    from datacomp_worker.world import captions, handwriting, pictures, reference, render, scenes

    writing, rng = handwriting.load(), np.random.default_rng(seed)
    found = scenes.sample(count, reference.MIX, writing.reference, rng)
    texts = [captions.describe(scene, rng) for scene in found]
    canvases = render.render(found, writing.images, rng)
    return [pictures.encode_as("png", canvas) for canvas in canvases], texts


def evaluation_images(suite: Suite, suite_dir: Path, count: int) -> list[bytes]:
    """The first few images of a suite."""
    found = []
    for sample in TaskFolder.of(suite.tasks[0], suite_dir).samples():
        found += [data for kind, data in sample.files.items() if kind in IMAGE_TYPES][:1]
        if len(found) == count:
            break
    return found


@contextmanager
def serving(images: list[bytes], port: int = 0) -> Iterator[str]:
    """Serve images as `/<number>.png` on loopback; anything else is not found. Gives the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            number = self.path.strip("/").removesuffix(".png")
            there = number.isascii() and number.isdigit() and int(number) < len(images)
            body = images[int(number)] if there else b""
            self.send_response(200 if there else 404)
            self.send_header("Content-Type", "image/png")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def write_dataset(path: Path, address: str, captions: list[str], leaked: int) -> int:
    """Write the gallery's rows as a participant would: url, caption, license. The last `leaked` pictures are copies of
    evaluation images. Returns how many rows there are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    lost = max(round(LOST_SHARE * len(captions)), 1)
    texts = [*captions, *[f"a picture found elsewhere {i}" for i in range(leaked)], *["a picture that is gone"] * lost]
    rows = {
        "url": [f"{address}/{i}.png" for i in range(len(texts))],
        "caption": texts,
        "license": [LICENSES[i % 2] for i in range(len(texts))],
    }
    temporary = path.with_name(f".{path.name}.part")
    pq.write_table(pa.table(rows), temporary)
    temporary.replace(path)
    return len(texts)
