"""One way to talk to the server: retries where that is safe, and refusals turned into typed errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from datacomp import __version__
from datacomp.digests import BLOCK
from datacomp.messages import ErrorOut
from datacomp.problems import BadInput, PlatformFault, Problem

Model = TypeVar("Model", bound=BaseModel)
Report = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""

RETRY_DELAYS = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds between tries of a request that may be sent again."""
UPLOAD_DELAYS = (*RETRY_DELAYS, *[8.0] * 14)
"""Seconds between tries of an upload that gets no further: two minutes in all, so that a server may restart."""
LONGEST_WAIT = 60.0
PIECE = 8 << 20
"""Bytes of a file in one request."""
BUSY = frozenset({423, 429, 502, 503, 504})
"""Statuses after which the same piece may be taken."""


class Refused(BadInput):
    """The server refused the request; `status` is the HTTP status."""

    def __init__(self, status: int, *problems: Problem) -> None:
        super().__init__(*problems)
        self.status = status


class _TryAgain(Exception):
    """The server cannot take a piece just now, or is further than we thought."""

    wait = 0.0
    """Seconds for which it asks to be left alone."""


class ServerLink:
    """An authenticated connection to one server. Usable from several threads."""

    def __init__(self, url: str, token: str | None = None, *, timeout: float = 30.0) -> None:
        headers = {"User-Agent": f"datacomp/{__version__}"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self.url = url.rstrip("/")
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def request(self, method: str, path: str, *, retry: bool | None = None, **options: Any) -> httpx.Response:
        """Send a request. GET, PUT and DELETE (or `retry=True`) are tried again after connection errors and 502 to 504.

        Raises `Refused` for 4xx and `PlatformFault` when the server cannot be reached or fails.
        """
        again = method in {"GET", "PUT", "DELETE"} if retry is None else retry
        for delay in (*(RETRY_DELAYS if again else ()), None):
            try:
                response = self._http.request(method, path, **options)
            except httpx.TransportError as error:
                if delay is None:
                    raise self._unreachable(error) from error
            else:
                if delay is None or response.status_code not in {502, 503, 504}:
                    return self._accept(response)
            time.sleep(delay)
        raise AssertionError("unreachable")  # pragma: no cover

    def get(self, path: str, model: type[Model], **options: Any) -> Model:
        """GET a message."""
        return self._parse(self.request("GET", path, **options), model)

    def post(self, path: str, body: BaseModel | None, model: type[Model], *, retry: bool = False) -> Model:
        """POST a message and read one back."""
        return self._parse(self.send(path, body, retry=retry), model)

    def send(self, path: str, body: BaseModel | None, *, retry: bool = True) -> httpx.Response:
        """POST a message that may be sent again; the reply's content does not matter."""
        return self.request("POST", path, content=_json(body), headers=_JSON, retry=retry)

    def upload_pieces(self, path: str, file: Path, *, report: Report | None = None) -> None:
        """Send a file in pieces (tus 1.0.0), going on from where the server says it is, until all of it is there.

        Connection errors and a server that is away are waited for, as long as it gets any further. Raises `Refused`,
        and `PlatformFault` (`upload-interrupted`) in the end; what arrived until then stays.
        """
        size = file.stat().st_size
        best = -1
        offset: int | None = None
        failures = silence = 0  # since it got any further, and since the server answered
        while offset != size:
            try:
                offset = self._reached(path) if offset is None else self._send_piece(path, file, offset, report)
            except (httpx.TransportError, _TryAgain) as error:
                if failures == len(UPLOAD_DELAYS):
                    raise self._interrupted(error, max(best, 0), size) from error
                delay = UPLOAD_DELAYS[silence]
                failures, silence, offset = failures + 1, silence + 1, None
                time.sleep(max(delay, error.wait) if isinstance(error, _TryAgain) else delay)
                continue
            if report:
                report(offset, size)
            silence = 0
            if offset > best:
                best, failures = offset, 0

    def _reached(self, path: str) -> int:
        response = self._http.head(path, headers=_TUS)
        if response.status_code == 410:  # an answer to HEAD cannot say it itself
            hint = "hand the file in again"
            problem = Problem(code="upload-too-late", message="this upload has ended", where=path, hint=hint)
            raise Refused(410, problem)
        return self._offset_of(response)

    def _send_piece(self, path: str, file: Path, offset: int, report: Report | None) -> int:
        size = file.stat().st_size
        length = min(PIECE, size - offset)
        headers = {**_TUS, "Upload-Offset": str(offset), "Content-Length": str(length)}
        headers["Content-Type"] = "application/offset+octet-stream"

        def told(sent: int, _: int) -> None:
            if report:
                report(offset + sent, size)

        # With the last piece the server puts the file together, which takes a while for a large one.
        body = _blocks(file, length, told, start=offset)
        reached = self._offset_of(self._http.patch(path, content=body, headers=headers, timeout=600))
        if reached <= offset:
            raise _TryAgain(f"the server took the piece at {offset:,} and did not move on")
        return reached

    def _offset_of(self, response: httpx.Response) -> int:
        if response.status_code in BUSY or _codes(response) & {"upload-offset", "upload-cut"}:
            again = _TryAgain(str(_problems(response)[0]))
            asked = response.headers.get("Retry-After", "")
            again.wait = min(float(asked), LONGEST_WAIT) if asked.isascii() and asked.isdigit() else 0.0
            raise again
        self._accept(response)
        reached = response.headers.get("Upload-Offset", "")
        if not (reached.isascii() and reached.isdigit()):
            hint = "is this the address of a DataComp server, or is something in between?"
            raise PlatformFault.of("server-reply", "the server's answer names no offset", str(response.url), hint)
        return int(reached)

    def _interrupted(self, error: Exception, reached: int, size: int) -> PlatformFault:
        message = f"the upload does not get any further: {reached:,} of {size:,} bytes are there ({error})"
        return PlatformFault.of("upload-interrupted", message, self.url, "go on with it later: what arrived is kept")

    def upload(self, path: str, file: Path, model: type[Model], *, report: Report | None = None) -> Model:
        """PUT a file's bytes, streamed and reported as they go out; sent again whole after a connection error."""
        size = file.stat().st_size
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        for delay in (*RETRY_DELAYS, None):
            try:
                response = self._http.put(path, content=_blocks(file, size, report), headers=headers, timeout=600)
                return self._parse(self._accept(response), model)
            except httpx.TransportError as error:
                if delay is None:
                    raise self._unreachable(error) from error
                time.sleep(delay)
        raise AssertionError("unreachable")  # pragma: no cover

    def download(self, path: str, to: Path) -> None:
        """GET a file into `to`, streamed; complete or not there at all."""
        part = to.with_name(to.name + ".part")
        for delay in (*RETRY_DELAYS, None):
            try:
                with self._http.stream("GET", path, timeout=600) as response:
                    if response.is_error:
                        response.read()
                    self._accept(response)
                    with part.open("wb") as file:
                        for block in response.iter_bytes(BLOCK):
                            file.write(block)
                part.replace(to)
            except httpx.TransportError as error:
                if delay is None:
                    raise self._unreachable(error) from error
                time.sleep(delay)
            else:
                return

    def events(self, path: str, *, last: int = 0) -> Iterator[str]:
        """The `data:` payloads of a server-sent event stream, until the server ends it."""
        with self._http.stream(
            "GET", path, headers={"Last-Event-ID": str(last)}, timeout=httpx.Timeout(30, read=90)
        ) as response:
            if response.is_error:
                response.read()
            self._accept(response)
            for line in response.iter_lines():
                if line.startswith("data:"):
                    yield line[5:].strip()

    def _accept(self, response: httpx.Response) -> httpx.Response:
        if response.is_success or response.is_redirect:
            return response
        problems = _problems(response)
        if response.status_code < 500:
            raise Refused(response.status_code, *problems)
        raise PlatformFault(*problems)

    def _parse(self, response: httpx.Response, model: type[Model]) -> Model:
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            raise PlatformFault.of(
                "server-reply", f"the server's reply is not a {model.__name__}: {error.errors()[0]['msg']}",
                where=str(response.url), hint="server and client may have different versions",
            ) from error  # fmt: skip

    def _unreachable(self, error: Exception) -> PlatformFault:
        hint = "is the server running, and is the address right?"
        return PlatformFault.of("server-unreachable", f"no answer from {self.url}: {error}", where=self.url, hint=hint)


_JSON = {"Content-Type": "application/json"}
_TUS = {"Tus-Resumable": "1.0.0"}


def _json(body: BaseModel | None) -> bytes:
    return body.model_dump_json().encode() if body is not None else b"{}"


def _blocks(file: Path, size: int, report: Report | None, *, start: int = 0) -> Iterator[bytes]:
    sent = 0
    with file.open("rb") as stream:
        stream.seek(start)
        while block := stream.read(min(BLOCK, size - sent)):
            yield block
            sent += len(block)
            if report:
                report(sent, size)


def _codes(response: httpx.Response) -> set[str]:
    return {problem.code for problem in _problems(response)} if response.is_error else set()


def _problems(response: httpx.Response) -> tuple[Problem, ...]:
    try:
        return tuple(ErrorOut.model_validate_json(response.content).problems)
    except ValidationError:
        text = response.text.strip()[:300] or response.reason_phrase
        message = f"the server answered {response.status_code}: {text}"
        return (Problem(code=f"http-{response.status_code}", message=message, where=str(response.url)),)
