"""The HTTP link against a real local server: refusals become typed problems, what may be sent again is sent again."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from datacomp import http
from datacomp.http import Refused, ServerLink
from datacomp.messages import AccountOut, ErrorOut, FileRef
from datacomp.problems import PlatformFault, Problem

ADA = b'{"name": "ada", "role": "participant", "scopes": []}'


class Scripted:
    """A server whose answers a test scripts, request by request."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, bytes]] = []
        self.offsets: list[str | None] = []
        self.answers: list[tuple[int, bytes] | tuple[int, bytes, dict[str, str]] | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.requests.append((self.command, self.path, body))
                outer.offsets.append(self.headers.get("Upload-Offset"))
                answer = outer.answers.pop(0) if outer.answers else (200, ADA)
                if answer is None:  # hang up without a word
                    self.close_connection = True
                    self.connection.close()
                    return
                self.send_response(answer[0])
                for name, value in (answer[2] if len(answer) > 2 else {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer[1])))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer[1])

            do_GET = do_POST = do_PUT = do_HEAD = do_PATCH = serve

            def log_message(self, *arguments: object) -> None:
                """Stay quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    monkeypatch.setattr(http, "RETRY_DELAYS", (0.01, 0.01))
    monkeypatch.setattr(http, "UPLOAD_DELAYS", (0.01, 0.01))
    monkeypatch.setattr(http, "PIECE", 4)
    server = Scripted()
    yield server
    server.server.shutdown()
    server.server.server_close()


def test_reads_survive_cut_connections_and_gateway_errors(scripted: Scripted) -> None:
    scripted.answers = [None, (503, b"busy")]
    assert ServerLink(scripted.url).get("/me", AccountOut).name == "ada"
    assert len(scripted.requests) == 3


def test_a_post_is_not_sent_again_unless_it_may_be(scripted: Scripted) -> None:
    scripted.answers = [None]
    with pytest.raises(PlatformFault, match="server-unreachable"):
        ServerLink(scripted.url).post("/open", None, AccountOut)
    assert len(scripted.requests) == 1
    scripted.answers = [None]
    ServerLink(scripted.url).send("/finish", None)
    assert len(scripted.requests) == 3


def test_refusals_carry_status_and_problems(scripted: Scripted) -> None:
    problem = Problem(code="quota-spent", message="no slot left today", hint="try tomorrow")
    scripted.answers = [(429, ErrorOut(problems=[problem]).model_dump_json().encode()), (404, b"<html>nothing</html>")]
    link = ServerLink(scripted.url)
    with pytest.raises(Refused) as error:
        link.get("/x", AccountOut)
    assert (error.value.status, error.value.problems) == (429, (problem,))
    with pytest.raises(Refused) as error:
        link.get("/x", AccountOut)
    assert error.value.problems[0].code == "http-404"


def test_a_reply_of_another_shape_is_our_fault_not_a_crash(scripted: Scripted) -> None:
    scripted.answers = [(200, b'{"surprise": 1}')]
    with pytest.raises(PlatformFault, match="server-reply"):
        ServerLink(scripted.url).get("/me", AccountOut)


def test_uploads_are_streamed_reported_and_sent_again_whole(scripted: Scripted, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(range(256)) * 10_000)
    reply = FileRef(name="f", digest="0" * 64, size=path.stat().st_size)
    scripted.answers = [None, (200, reply.model_dump_json().encode())]
    seen: list[int] = []
    assert ServerLink(scripted.url).upload("/f", path, FileRef, report=lambda done, total: seen.append(done)) == reply
    assert seen[-1] == path.stat().st_size
    assert scripted.requests[-1][2] == path.read_bytes()


def at(offset: int, status: int = 204) -> tuple[int, bytes, dict[str, str]]:
    """What a server says that is so far with an upload."""
    return status, b"", {"Upload-Offset": str(offset), "Tus-Resumable": "1.0.0"}


def refusal(status: int, code: str) -> tuple[int, bytes]:
    return status, ErrorOut(problems=[Problem(code=code, message="no")]).model_dump_json().encode()


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    path = tmp_path / "ten"
    path.write_bytes(b"0123456789")
    return path


def test_pieces_follow_each_other_and_go_on_after_cuts(scripted: Scripted, ten: Path) -> None:
    # More cuts than there are tries, but each time it got further.
    scripted.answers = [
        *(at(0, 200), at(4), None, at(5, 200), None, (503, b""), at(6, 200), refusal(409, "upload-offset")),
        *(at(7, 200), None, at(8, 200), at(10)),
    ]
    seen: list[int] = []
    ServerLink(scripted.url).upload_pieces("/u", ten, report=lambda done, size: seen.append(done))
    sent = [
        (o, body) for (method, _, body), o in zip(scripted.requests, scripted.offsets, strict=True) if method == "PATCH"
    ]
    assert sent == [
        *(("0", b"0123"), ("4", b"4567"), ("5", b"5678"), ("6", b"6789"), ("7", b"789"), ("8", b"89")),
    ]
    assert seen[0] == 0
    assert seen[-1] == 10


@pytest.mark.parametrize("answers", [[None] * 9, [(503, b"")] * 9, [at(4)] * 9, [at(4), None, None, None]])
def test_an_upload_that_gets_no_further_says_how_far_it_is(scripted: Scripted, ten: Path, answers: list) -> None:
    scripted.answers = [at(4, 200), *answers]
    with pytest.raises(PlatformFault, match="4 of 10 bytes are there") as error:
        ServerLink(scripted.url).upload_pieces("/u", ten)
    assert error.value.problems[0].code == "upload-interrupted"
    assert error.value.problems[0].hint
    assert len(scripted.requests) < 10


def test_a_server_that_asks_for_a_pause_gets_it(scripted: Scripted, ten: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(http.time, "sleep", slept.append)
    scripted.answers = [at(8, 200), (429, b"", {"Retry-After": "7"}), at(8, 200), at(10)]
    ServerLink(scripted.url).upload_pieces("/u", ten)
    assert slept == [7]


def test_an_upload_that_is_refused_is_not_tried_again(scripted: Scripted, ten: Path) -> None:
    for answers, error, code in (
        ([(410, b"")], Refused, "upload-too-late"),
        ([at(0, 200), refusal(422, "upload-digest")], Refused, "upload-digest"),
        ([at(0, 200), refusal(507, "storage-full")], PlatformFault, "storage-full"),
        ([(200, b"")], PlatformFault, "server-reply"),
    ):
        scripted.answers, scripted.requests = answers[:], []
        with pytest.raises(error, match=code):
            ServerLink(scripted.url).upload_pieces("/u", ten)
        assert len(scripted.requests) == len(answers)


def test_downloads_are_complete_or_not_there(scripted: Scripted, tmp_path: Path) -> None:
    scripted.answers = [None, (200, b"content")]
    ServerLink(scripted.url).download("/f", tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"content"
    scripted.answers = [(404, b"{}")]
    with pytest.raises(Refused):
        ServerLink(scripted.url).download("/g", tmp_path / "g")
    assert not (tmp_path / "g").exists()


def test_no_server_at_all_says_so_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "RETRY_DELAYS", ())
    with pytest.raises(PlatformFault) as error:
        ServerLink("http://127.0.0.1:9").get("/", AccountOut)
    assert error.value.problems[0].code == "server-unreachable"
    assert error.value.problems[0].hint
