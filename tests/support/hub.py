"""A hub of data sets on the loopback device, which answers as the real one does: listings, commits, digests, ranges."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

LARGE = 2000
"""Bytes from which on a file is kept by its SHA-256, as the hub keeps large files."""


@dataclass
class Hub:
    """Folders by repository and revision."""

    root: Path
    url: str = ""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """(method, path, Range) of every request."""
    cut: dict[str, int] = field(default_factory=dict)
    """By file name: break the connection after so many bytes, once."""
    lies: set[str] = field(default_factory=set)
    """Names of files that come with another content than announced."""

    def folder(self, repository: str, revision: str = "main") -> Path:
        return self.root / repository / revision.replace("/", "-")

    def commit(self, repository: str, revision: str) -> str:
        return hashlib.sha1(f"{repository}@{revision}".encode()).hexdigest()

    def find(self, repository: str, revision: str) -> tuple[Path, str] | None:
        """The folder of a revision, by name or commit."""
        base = self.root / repository
        for path in base.iterdir() if base.is_dir() else ():
            for name in (path.name, path.name.replace("refs-convert-", "refs/convert/")):
                if revision in {name, self.commit(repository, path.name)}:
                    return path, self.commit(repository, path.name)
        return None

    def fetched(self, name: str) -> list[str]:
        """Ranges with which a file's content was asked for."""
        return [range_ for method, path, range_ in self.asked if method == "GET" and path.endswith(f"/{name}")]


class _Answer(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = urlparse(self.path).path
        self.hub.asked.append((self.command, unquote(path), self.headers.get("Range", "")))
        listing = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/revision/(.+))?", path)
        file = re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if listing:
            self._list(listing[1], unquote(listing[2] or "main"))
        elif file:
            self._send(file[1], unquote(file[2]), unquote(file[3]), body=body)
        else:
            self._refuse()

    def _refuse(self) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _list(self, repository: str, revision: str) -> None:
        found = self.hub.find(repository, revision)
        if found is None:
            self._refuse()
            return
        folder, commit = found
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        siblings = [{"rfilename": str(p.relative_to(folder)), "size": p.stat().st_size, **_names(p)} for p in files]
        content = json.dumps({"id": repository, "sha": commit, "siblings": siblings}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _send(self, repository: str, revision: str, name: str, *, body: bool) -> None:
        found = self.hub.find(repository, revision)
        path = found[0] / name if found else None
        if found is None or path is None or not path.is_file():
            self._refuse()
            return
        content = path.read_bytes()
        etag = _names(path)["lfs"]["sha256"] if len(content) >= LARGE else _names(path)["blobId"]
        content = bytes(len(content)) if path.name in self.hub.lies else content
        begin = int((re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) or (0, 0))[1])
        part = content[begin:]
        self.send_response(206 if begin else 200)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", found[1])
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if body:
            cut = self.hub.cut.pop(path.name, None)
            self.wfile.write(part[:cut])
            self.close_connection = cut is not None


def _names(path: Path) -> dict:
    content = path.read_bytes()
    blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    lfs = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return {"blobId": blob, **({"lfs": lfs} if len(content) >= LARGE else {})}


@contextmanager
def serving_hub(root: Path) -> Iterator[Hub]:
    """A running hub of the folders under `root`: owner/name/revision."""
    hub = Hub(root)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answer", (_Answer,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
