"""HTTP that connects to nobody but whom the limits admit.

A host's name is looked up once for each connection, the address found is judged, and that very address is connected to:
a name server that answers otherwise the second time gains nothing. Redirects come through the same door. Proxies of the
environment are not used: behind one, nobody could tell who is connected to.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from datacomp_worker.download.limits import Limits

PIECE = 1 << 16
SCHEMES = ("http", "https")
PASSING = frozenset({"timeout", "reset", "truncated", "unreachable", "http-broken", "http-408", "http-429"})
PAUSE = 0.2
"""Seconds before the second try; each further one waits longer."""


class Refusal(Exception):
    """An image that is not had, with its cause: a stable word that reports count by."""

    def __init__(self, cause: str, detail: str = "") -> None:
        super().__init__(f"{cause}: {detail}" if detail else cause)
        self.cause = cause

    @property
    def passing(self) -> bool:
        """Whether another try may go better."""
        return self.cause in PASSING or self.cause.startswith("http-5")


class Network:
    """Fetches by limits. One for each process; its threads share the hosts' turns."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._turns: dict[str, _Turn] = defaultdict(lambda: _Turn(limits.host_connections, limits.host_interval))
        self._lock = threading.Lock()

    def fetch(self, url: str, forbidden: Callable[[Message], bool] = lambda headers: False) -> bytes:
        """The body behind an address; tried again where that may help. `Refusal` says why there is none, for instance
        that its headers are `forbidden`."""
        body = io.BytesIO()
        self._fetch(url, forbidden, body)
        return body.getvalue()

    def fetch_file(self, url: str, path: Path, forbidden: Callable[[Message], bool] = lambda headers: False) -> None:
        """The same into a file."""
        with path.open("wb") as body:
            self._fetch(url, forbidden, body)

    def _fetch(self, url: str, forbidden: Callable[[Message], bool], body: IO[bytes]) -> None:
        for left in reversed(range(self.limits.retries + 1)):
            try:
                body.seek(0)
                body.truncate()
                self._try(url, forbidden, body)
                return
            except Refusal as refusal:
                if not left or not refusal.passing:
                    raise
                time.sleep(PAUSE * (self.limits.retries - left + 1))

    def _try(self, url: str, forbidden: Callable[[Message], bool], body: IO[bytes]) -> None:
        deadline = time.monotonic() + self.limits.seconds
        request = self._request(url)
        try:
            with self._turn(request.host or "", deadline), self._opener(deadline).open(request) as answer:
                if answer.status != http.client.OK:
                    raise Refusal(f"http-{answer.status}")
                if forbidden(answer.headers):
                    raise Refusal("robots", "X-Robots-Tag forbids the use")
                self._read(answer, deadline, body)
        except Refusal:
            raise
        except Exception as error:  # whatever a foreign server can provoke is a cause in the report
            raise _refusal(error) from error

    def _request(self, url: str) -> urllib.request.Request:
        agent = f"Mozilla/5.0 (compatible; {self.limits.user_agent}; img2dataset)"
        try:
            url = url.strip()
            if urlsplit(url).scheme.lower() not in SCHEMES or not urlsplit(url).hostname:
                raise Refusal("url-invalid", url[:200])
            return urllib.request.Request(_quoted(url), headers={"User-Agent": agent})  # noqa: S310 - checked above
        except ValueError as error:
            raise Refusal("url-invalid", f"{url[:200]}: {error}") from error

    def _read(self, answer: IO[bytes], deadline: float, body: IO[bytes]) -> None:
        most = self.limits.bytes
        announced = getattr(answer, "length", None)
        if announced is not None and announced > most:
            raise Refusal("too-large", f"{announced:,} bytes announced, {most:,} allowed")
        read1 = answer.read1  # type: ignore[attr-defined]
        while piece := read1(PIECE):
            body.write(piece)
            if body.tell() > most:
                raise Refusal("too-large", f"more than {most:,} bytes")
            if time.monotonic() > deadline:
                raise Refusal("timeout", f"not whole after {self.limits.seconds:g} s")
        if announced is not None and body.tell() < announced:
            raise Refusal("truncated", f"{body.tell():,} of {announced:,} bytes came")

    def _opener(self, deadline: float) -> urllib.request.OpenerDirector:
        opener = urllib.request.OpenerDirector()
        plain = _handler(urllib.request.HTTPHandler, http.client.HTTPConnection, self.limits, deadline)
        secure = _handler(urllib.request.HTTPSHandler, http.client.HTTPSConnection, self.limits, deadline)
        errors = (urllib.request.HTTPDefaultErrorHandler(), urllib.request.HTTPErrorProcessor())
        for handler in (plain, secure, _Redirects(self.limits.redirects), *errors):
            opener.add_handler(handler)
        return opener

    @contextmanager
    def _turn(self, host: str, deadline: float) -> Iterator[None]:
        with self._lock:
            turn = self._turns[host.lower()]
        turn.take(deadline)
        try:
            yield
        finally:
            turn.leave()


class _Turn:
    """Whose turn it is at one host."""

    def __init__(self, connections: int, interval: float) -> None:
        self._free = threading.Semaphore(connections)
        self._lock, self._interval, self._next = threading.Lock(), interval, 0.0

    def take(self, deadline: float) -> None:
        """Wait until the host may be asked. Waiting is not the host's fault: it does not count against the deadline
        of the connection, but ends there."""
        if not self._free.acquire(timeout=max(deadline - time.monotonic(), 0.1) * 10):
            raise Refusal("host-busy", "other requests to this host took too long")
        with self._lock:
            at = max(time.monotonic(), self._next)
            self._next = at + self._interval
        time.sleep(max(at - time.monotonic(), 0))

    def leave(self) -> None:
        self._free.release()


class _Redirects(urllib.request.HTTPRedirectHandler):
    def __init__(self, most: int) -> None:
        self._most = most
        for name in ("max_redirections", "max_repeats"):  # the class's own, which typing forbids to set by name
            setattr(self, name, max(most, 1))

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if self._most == 0:
            raise Refusal("redirects", "none is followed")
        if urlsplit(newurl).scheme.lower() not in SCHEMES:
            raise Refusal("redirect-invalid", newurl[:200])
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _handler(base: type[Any], connection: type[Any], limits: Limits, deadline: float) -> Any:
    """A handler whose connections are made by `_connect`."""

    def connect(address: tuple[str, int], *_: Any, **__: Any) -> socket.socket:
        return _connect(address, limits, deadline)

    def make(host: str, **given: Any) -> Any:
        made = connection(host, **{**given, "timeout": limits.connect_seconds})
        made._create_connection = connect  # what http.client calls to connect: judged and pinned, then TLS as ever
        return made

    class Handler(base):  # type: ignore[misc]
        def http_open(self, request: urllib.request.Request) -> Any:
            return self.do_open(make, request)

        def https_open(self, request: urllib.request.Request) -> Any:
            return self.do_open(make, request, context=ssl.create_default_context())

    if connection is http.client.HTTPConnection:
        del Handler.https_open
    else:
        del Handler.http_open
    return Handler()


def _connect(address: tuple[str, int], limits: Limits, deadline: float) -> socket.socket:
    """A connection to the first address of a host that answers; all must be admitted."""
    host, port = address
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for *_, place in found:
        if not limits.admits(str(place[0])):
            raise Refusal("address-private", f"{host} is {place[0]}")
    last: OSError | None = None
    for family, kind, protocol, _, place in found:
        left = deadline - time.monotonic()
        if left <= 0:
            raise Refusal("timeout", "not connected in time")
        made = socket.socket(family, kind, protocol)
        made.settimeout(min(left, limits.connect_seconds))
        try:
            made.connect(place)
        except OSError as error:
            made.close()
            last = error
        else:
            return made
    raise last or OSError("the name has no address")


def _refusal(error: BaseException) -> Refusal:
    """A foreign failure by its cause."""
    reason = getattr(error, "reason", None)
    if isinstance(error, urllib.error.HTTPError):
        redirected = "redirect" in str(error.msg).lower() and error.code in {301, 302, 303, 307, 308}
        return Refusal("redirects" if redirected else f"http-{error.code}", str(error.msg)[:200])
    if isinstance(error, urllib.error.URLError) and isinstance(reason, BaseException):
        return reason if isinstance(reason, Refusal) else _refusal(reason)
    kinds: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
        (TimeoutError, "timeout"),
        (ConnectionRefusedError, "refused"),
        (ssl.SSLError, "tls"),
        (socket.gaierror, "host-unknown"),
        ((ConnectionError, http.client.RemoteDisconnected), "reset"),
        (http.client.IncompleteRead, "truncated"),
        (http.client.InvalidURL, "url-invalid"),
        (http.client.HTTPException, "http-broken"),
        ((ValueError, UnicodeError), "url-invalid"),
        (OSError, "unreachable"),
    )
    cause = next((cause for kind, cause in kinds if isinstance(error, kind)), "failed")
    return Refusal(cause, f"{type(error).__name__}: {error}"[:300])


def _quoted(url: str) -> str:
    """The address with what no request line may carry written in percents; hosts beyond ASCII in IDNA."""
    from urllib.parse import quote, urlunsplit

    parts = urlsplit(url)
    netloc = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
    safe = "/%:=&?~#+!$,;'@()*[]"
    return urlunsplit((parts.scheme, netloc, quote(parts.path, safe), quote(parts.query, safe), ""))
