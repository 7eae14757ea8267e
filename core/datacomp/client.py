"""The typed HTTP client: everything the command line does, a script can do with `Client`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import platformdirs
from pydantic import TypeAdapter

from datacomp import bitmap
from datacomp.byod.reading import SUFFIXES
from datacomp.digests import digest_file
from datacomp.http import Report, ServerLink
from datacomp.messages import (
    AccountOut,
    BoardOut,
    Credentials,
    EventOut,
    FileRef,
    LeaderboardOut,
    ManifestOut,
    Registration,
    SubmissionCreate,
    SubmissionKind,
    SubmissionLine,
    SubmissionOut,
    TokenOut,
    Track,
    TrendsOut,
)
from datacomp.pool import Pool
from datacomp.problems import BadInput, PlatformFault
from datacomp.uids import read_subset


@dataclass(frozen=True)
class Login:
    """Where the server is and who we are there."""

    url: str
    token: str
    name: str = ""

    @staticmethod
    def path() -> Path:
        """The file that remembers the login; `DATACOMP_CONFIG` overrides it."""
        return Path(os.environ.get("DATACOMP_CONFIG") or platformdirs.user_config_path("datacomp") / "login.json")

    def save(self) -> None:
        """Remember this login, readable by its owner alone."""
        path = self.path()
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(self), file)

    @classmethod
    def load(cls) -> Login:
        """`DATACOMP_URL` and `DATACOMP_TOKEN`, else the remembered login; `BadInput` when there is none."""
        url, token = os.environ.get("DATACOMP_URL"), os.environ.get("DATACOMP_TOKEN")
        if url:
            return cls(url, token or "")
        try:
            return cls(**json.loads(cls.path().read_text()))
        except FileNotFoundError:
            hint = "run `datacomp login URL`, with --register for a new account"
            raise BadInput.of("not-logged-in", "this machine does not know which server to use", hint=hint) from None
        except (ValueError, TypeError) as error:
            hint = "run `datacomp login URL` again"
            raise BadInput.of(
                "login-unreadable", f"the remembered login is unreadable: {error}", str(cls.path()), hint
            ) from error


def kind_of(path: Path) -> SubmissionKind:
    """The kind of submission that a file is: `.py` is filter code, `.expr` an expression, `.parquet`, `.csv` and
    `.jsonl` are datasets, all else a list of uids."""
    kinds = {".py": SubmissionKind.CODE, ".expr": SubmissionKind.EXPRESSION}
    return kinds.get(path.suffix, SubmissionKind.DATASET if path.suffix in SUFFIXES else SubmissionKind.UIDS)


def _expression(path: Path) -> str | None:
    """The text of an expression's file; None for other kinds. `BadInput` when it is not UTF-8."""
    if kind_of(path) is not SubmissionKind.EXPRESSION:
        return None
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        hint = "write the expression as plain text (UTF-8)"
        raise BadInput.of("rule-encoding", "the file is not UTF-8", f"{path.name}: byte {error.start}", hint) from error


@contextmanager
def sendable(path: Path, pool: Path | None, *, insist: bool = True) -> Iterator[Path]:
    """The file to send: the one named, or for uids of an ingested pool a bitmap of them where that is smaller.

    `BadInput` when the file is missing or empty, and if we `insist` on the pool when it cannot be a subset of it.
    """
    if not path.is_file():
        raise BadInput.of("file-missing", "there is no such file", where=str(path))
    if not path.stat().st_size:
        raise BadInput.of("file-empty", "the file is empty", where=str(path))
    if pool is None or kind_of(path) is not SubmissionKind.UIDS or bitmap.is_bitmap(path):
        yield path
        return
    with TemporaryDirectory(prefix="datacomp-send-") as folder:
        small = Path(folder) / f"{path.stem}{bitmap.SUFFIX}"
        try:
            made = bitmap.write(small, read_subset(path), Pool.open(pool))
        except BadInput:
            if insist:
                raise
            made = False  # whether the file is wrong or this pool, the platform will tell
        yield small if made and small.stat().st_size < path.stat().st_size else path


class Client:
    """A participant's (or organiser's) view of the server."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self._link = ServerLink(url, token)
        self.url = self._link.url

    @classmethod
    def from_login(cls) -> Client:
        """The client of the remembered login."""
        login = Login.load()
        return cls(login.url, login.token)

    def register(self, name: str, password: str, email: str | None = None) -> TokenOut:
        """Make an account; the reply holds its first token."""
        return self._link.post("/api/accounts", Registration(name=name, password=password, email=email), TokenOut)

    def new_token(self, name: str, password: str, label: str = "cli") -> TokenOut:
        """Exchange name and password for an API token."""
        return self._link.post("/api/tokens", Credentials(name=name, password=password, label=label), TokenOut)

    def whoami(self) -> AccountOut:
        """The account of this token."""
        return self._link.get("/api/accounts/me", AccountOut)

    def boards(self) -> list[BoardOut]:
        """All boards."""
        return TypeAdapter(list[BoardOut]).validate_json(self._link.request("GET", "/api/boards").content)

    def board(self, name: str) -> BoardOut:
        """The board of that name."""
        return self._link.get(f"/api/boards/{name}", BoardOut)

    def board_of(self, scale: str, track: str = "filtering") -> BoardOut:
        """The board of a track and scale; `BadInput` lists what there is."""
        boards = self.boards()
        for board in boards:
            if board.scale["name"] == scale and board.track == track:
                return board
        known = ", ".join(f"{b.track}/{b.scale['name']}" for b in boards) or "none"
        raise BadInput.of(
            "board-unknown", f"this server has no {track} board at scale {scale}", hint=f"boards here: {known}"
        )

    def submit(
        self,
        path: Path,
        board: str,
        *,
        method: str | None = None,
        description: str = "",
        link: str = "",
        rehearsal: bool = False,
        pool: Path | None = None,
        insist: bool = True,
        report: Report | None = None,
    ) -> SubmissionOut:
        """Open a submission and send its file; returns the receipt. `BadInput` when the file is missing or refused.

        A submission of this file that was opened before and not completed is gone on with. With the ingested `pool` at
        hand uids are sent as a bitmap, which is some forty times smaller; if we do not `insist` on that pool, a file
        that is no subset of it goes out as it is. `report` gets bytes sent and in all.
        """
        with sendable(path, pool, insist=insist) as file:
            create = SubmissionCreate(
                board=board,
                kind=kind_of(path),
                method=method or path.stem,
                description=description,
                link=link,
                filename=file.name,
                digest=digest_file(file),
                size=file.stat().st_size,
                rehearsal=rehearsal,
                expression=_expression(path),
            )
            submission = self.unfinished(create) or self._link.post("/api/submissions", create, SubmissionOut).id
            return self._send(submission, file, report)

    def resume(
        self, submission: str, path: Path, *, pool: Path | None = None, report: Report | None = None
    ) -> SubmissionOut:
        """Go on sending the file of a submission; returns the receipt. `BadInput` when it is not the file announced."""
        awaited = self.submission(submission)
        with sendable(path, pool, insist=False) as file:
            for candidate in dict.fromkeys((file, path)):
                if digest_file(candidate) == awaited.digest:
                    return self._send(submission, candidate, report)
        hint = "name the file that it was opened with, and --pool if that was named then"
        message = f"this is not the file that the submission awaits ({awaited.filename}, {awaited.size:,} bytes)"
        raise BadInput.of("resume-other-file", message, str(path), hint)

    def files(self, submission: str) -> list[FileRef]:
        """The files of a submission that may be downloaded: one's own, and what its board discloses."""
        reply = self._link.request("GET", f"/api/submissions/{submission}/files")
        return TypeAdapter(list[FileRef]).validate_json(reply.content)

    def download(self, submission: str, name: str, to: Path) -> None:
        """Fetch one of `files`. `BadInput` for a name that is not among them, `PlatformFault` when what came is not
        what the server said: then nothing is left at `to`."""
        files = {file.name: file for file in self.files(submission)}
        if name not in files:
            known = ", ".join(files) or "none; its board says when code and uids of entries become public"
            raise BadInput.of("file-unknown", f"there is no file {name!r} to download", submission, f"files: {known}")
        part = to.with_name(f"{to.name}.part")
        try:
            self._link.download(f"/api/submissions/{submission}/files/{quote(name)}", part)
            if digest_file(part) != files[name].digest:
                raise PlatformFault.of("download-damaged", "another file came than announced", name, "try again")
            part.replace(to)
        finally:
            part.unlink(missing_ok=True)

    def unfinished(self, create: SubmissionCreate) -> str | None:
        """Id of an own submission that still awaits just this file under this name."""
        params = {"digest": create.digest, "state": "uploading"}
        lines = TypeAdapter(list[SubmissionLine]).validate_json(
            self._link.request("GET", "/api/submissions", params=params).content
        )
        same = ("board", "kind", "method", "rehearsal")
        return next(
            (line.id for line in lines if all(getattr(line, name) == getattr(create, name) for name in same)), None
        )

    def _send(self, submission: str, file: Path, report: Report | None) -> SubmissionOut:
        receipt = self.submission(submission)
        if receipt.upload is None and receipt.state == "cancelled":
            message = "the submission was cancelled, or given up because its file did not come"
            raise BadInput.of("upload-too-late", message, submission, "hand the file in again")
        if receipt.upload is None:
            return receipt
        try:
            self._link.upload_pieces(receipt.upload, file, report=report)
        except PlatformFault as fault:
            cause = fault.problems[0]
            if cause.code != "upload-interrupted":
                raise
            hint = f"what arrived is kept: run the same command again, or datacomp submit --resume {submission} FILE"
            raise PlatformFault.of(cause.code, cause.message, cause.where, hint) from fault
        return self.submission(submission)

    def submission(self, submission: str) -> SubmissionOut:
        """The receipt of a submission."""
        return self._link.get(f"/api/submissions/{submission}", SubmissionOut)

    def events(self, submission: str, last: int = 0) -> Iterator[EventOut]:
        """History, then live events, until the submission is final."""
        for data in self._link.events(f"/api/submissions/{submission}/events", last=last):
            yield EventOut.model_validate_json(data)

    def cancel(self, submission: str) -> SubmissionOut:
        """Stop a submission; its running child is stopped too."""
        return self._link.post(f"/api/submissions/{submission}/cancel", None, SubmissionOut)

    def withdraw(self, submission: str) -> SubmissionOut:
        """Take a scored submission off the leaderboard."""
        return self._link.post(f"/api/submissions/{submission}/withdraw", None, SubmissionOut)

    def manifest(self, submission: str) -> ManifestOut:
        """Everything that the result depends on, by digest."""
        return self._link.get(f"/api/submissions/{submission}/manifest", ManifestOut)

    def leaderboard(
        self, *, board: str | None = None, scale: str | None = None, track: str | None = None
    ) -> LeaderboardOut:
        """The leaderboard of a board, or of a scale on a track (default: filtering)."""
        params = {key: value for key, value in {"board": board, "scale": scale, "track": track}.items() if value}
        return self._link.get("/api/leaderboard", LeaderboardOut, params=params)

    def trends(
        self,
        *,
        track: Track = Track.FILTERING,
        suite: str | None = None,
        metric: str = "average",
        x: str = "macs",
        method: str | None = None,
    ) -> TrendsOut:
        """Methods across the scales of a track: how well small scales rank, trends and what they expect."""
        asked = {"track": track.value, "suite": suite, "metric": metric, "x": x, "method": method}
        params = {key: value for key, value in asked.items() if value}
        return self._link.get("/api/trends", TrendsOut, params=params)
