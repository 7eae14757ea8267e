"""Servers on the loopback that hear what the platform sends: webhooks and mail."""

import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A web server on the loopback, and its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@dataclass
class Heard:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Hook:
    """A webhook's own end."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    """Of the next answers; then 204."""
    heard: list[Heard] = field(default_factory=list)
    location: str = ""
    slow: float = 0
    """Seconds that each byte of the answer takes."""


@contextmanager
def hook() -> Iterator[Hook]:
    """An HTTP server that answers as it is told."""
    made = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            made.heard.append(Heard(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            status = made.statuses.pop(0) if made.statuses else 204
            answer = f"HTTP/1.1 {status} Answer\r\n"
            answer += f"Location: {made.location}\r\n" if made.location else ""
            answer += "Content-Length: 0\r\nConnection: close\r\n\r\n"
            for sign in answer.encode() if made.slow else ():
                try:
                    self.wfile.write(bytes((sign,)))
                except OSError:
                    return
                time.sleep(made.slow)
            if not made.slow:
                self.wfile.write(answer.encode())
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as made.url:
        yield made


@dataclass
class Mailbox:
    """A mail server's end: what it took, and whether it takes any."""

    port: int = 0
    refuse: bool = False
    mails: list[tuple[list[str], str]] = field(default_factory=list)
    """Recipients and the mail as it came."""


@contextmanager
def mailbox() -> Iterator[Mailbox]:
    """An SMTP server, as much of one as smtplib needs."""
    made = Mailbox()

    class Handler(socketserver.StreamRequestHandler):
        def say(self, line: str) -> None:
            self.wfile.write(line.encode() + b"\r\n")

        def handle(self) -> None:
            self.say("220 loopback")
            to: list[str] = []
            while line := self.rfile.readline().decode().strip():
                verb = line[:4].upper()
                if verb == "RCPT":
                    to.append(line.partition("<")[2].partition(">")[0])
                    self.say("550 no" if made.refuse else "250 ok")
                elif verb == "DATA":
                    self.say("354 go on")
                    text = b""
                    while not text.endswith(b"\r\n.\r\n"):
                        text += self.rfile.readline()
                    made.mails.append((to, text.decode()))
                    self.say("250 ok")
                elif verb == "QUIT":
                    self.say("221 bye")
                    return
                else:
                    self.say("250 ok")

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    made.port = server.server_address[1]
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
