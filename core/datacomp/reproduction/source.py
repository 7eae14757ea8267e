"""Where a manifest comes from: a file, or a server by the submission's id."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from datacomp.client import Client, Login
from datacomp.digests import digest_file, digest_json
from datacomp.messages.manifest import READABLE, Manifest
from datacomp.problems import BadInput, DatacompError, Problem

UPLOAD = "upload"


@dataclass(frozen=True)
class Source:
    """A manifest that was read and checked, and the server that has its files, where one is known."""

    manifest: Manifest
    digest: str
    client: Client | None

    def upload(self, folder: Path, given: Path | None) -> Path:
        """The participant's file, as it was handed in: the one given, one fetched before, or from the server.

        `BadInput` when it is another file, or not to be had.
        """
        wanted = self.manifest.submission.upload
        if given is not None:
            return _same(given, wanted.digest)
        path = folder / UPLOAD
        if path.is_file() and digest_file(path) == wanted.digest:
            return path
        if self.client is None:
            raise BadInput.of("file-missing", "the participant's file is not at hand", wanted.filename, AT_HAND)
        try:
            self.client.download(self.manifest.submission.id, UPLOAD, path)
        except BadInput as error:
            if error.problems[0].code != "file-unknown":
                raise
            message = "the participant's file is not public, and not yours"
            raise BadInput.of("file-undisclosed", message, wanted.filename, AT_HAND) from error
        return _same(path, wanted.digest)


AT_HAND = "give it with --file, or the uids that were trained on with --subset; --server names a server that has them"


def _same(path: Path, digest: str) -> Path:
    if not path.is_file():
        raise BadInput.of("file-missing", "there is no such file", where=str(path))
    if digest_file(path) != digest:
        message = "this is not the file that was handed in: its digest is another"
        hint = "uids may have been sent as a bitmap; the uids that were trained on can be given with --subset"
        raise BadInput.of("file-other", message, where=str(path), hint=hint)
    return path


def open_source(what: str, server: str | None) -> Source:
    """The manifest in a file, or of a submission on the server named, else on that of the remembered login.

    `BadInput` for what is no manifest, or one that was changed since its digest was taken.
    """
    path = Path(what)
    if path.suffix == ".json" or path.is_file():
        return _from_file(path, server)
    client = _client(server) or Client.from_login()
    answer = client.manifest(what)
    return Source(_parse(answer.body, what), answer.digest, client)


def _client(server: str | None) -> Client | None:
    """A client of a named server, with the remembered token if it is that server's."""
    if server is None:
        return None
    try:
        login = Login.load()
    except DatacompError:
        return Client(server)
    return Client(server, login.token if login.url.rstrip("/") == server.rstrip("/") else None)


def _from_file(path: Path, server: str | None) -> Source:
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise BadInput.of("file-missing", f"the manifest cannot be read: {error.strerror}", str(path)) from error
    except (ValueError, UnicodeDecodeError) as error:
        raise BadInput.of("manifest-invalid", f"this is no JSON: {error}", str(path)) from error
    wrapped = isinstance(content, dict) and "body" in content
    body = content["body"] if wrapped else content
    manifest, digest = _parse(body, str(path)), digest_json(body)
    if wrapped and content.get("digest") != digest:
        hint = "fetch it again: datacomp manifest ID"
        raise BadInput.of("manifest-digest", "the manifest was changed: its digest is another", str(path), hint)
    return Source(manifest, digest, _client(server))


def _parse(body: Any, where: str) -> Manifest:
    format_ = body.get("format") if isinstance(body, dict) else None
    if format_ not in READABLE:
        message = f"this is no manifest that this version reads, but {format_!r}"
        raise BadInput.of("manifest-format", message, where, f"it reads {', '.join(READABLE)}")
    try:
        return Manifest.model_validate(body)
    except ValidationError as error:
        found = error.errors()
        raise BadInput(
            *(Problem("manifest-invalid", one["msg"], f"{where}: {'.'.join(map(str, one['loc']))}") for one in found)
        ) from error
