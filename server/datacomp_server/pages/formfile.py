"""The file of the web form: set aside under its own name, and looked at before anything is opened."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from starlette.datastructures import UploadFile

from datacomp.bitmap import is_bitmap, read_header
from datacomp.byod.reading import SUFFIXES
from datacomp.checks import check_file
from datacomp.digests import BLOCK, digest_bytes
from datacomp.filtering.load import LARGEST_SOURCE
from datacomp.messages import BoardOut, SubmissionKind
from datacomp.problems import BadInput, Problem
from datacomp.uids import open_subset
from datacomp_server.pages.filters import size
from datacomp_server.pages.web import spool_fault

ODD_CHARACTERS = re.compile(r"[^A-Za-z0-9._+-]+")
LONGEST_FILENAME = 100
EXPRESSION_FILE = "expression.expr"
CHECKED = frozenset({SubmissionKind.UIDS, SubmissionKind.CODE, SubmissionKind.DATASET})
PARQUET = b"PAR1"
"""How every Parquet file begins."""


@dataclass(frozen=True)
class Upload:
    """The form's file, set aside under its own name."""

    path: Path
    digest: str
    size: int


@contextmanager
def set_aside(field: object) -> Iterator[Upload | None]:
    """The form's file in a folder of its own until the context ends, or None. Raises `PlatformFault`.

    Checks map files by path, and messages name them, which the nameless spool does not allow.
    """
    if not isinstance(field, UploadFile) or not field.filename:
        yield None
        return
    with temporary_folder() as name:
        yield _copy(field, Path(name) / safe_name(field.filename))


@contextmanager
def set_text_aside(text: str) -> Iterator[Upload | None]:
    """An expression as the file that the API takes, until the context ends; None for an empty one."""
    data = text.encode("utf-8", "replace")
    if not data:
        yield None
        return
    with temporary_folder() as name:
        path = Path(name) / EXPRESSION_FILE
        try:
            path.write_bytes(data)
        except OSError as error:
            raise spool_fault(error) from error
        yield Upload(path, digest_bytes(data), len(data))


def temporary_folder() -> TemporaryDirectory[str]:
    """A folder of its own. Raises `PlatformFault`."""
    try:
        return TemporaryDirectory(prefix="datacomp-form-")
    except OSError as error:
        raise spool_fault(error) from error


def safe_name(filename: str) -> str:
    """The last part of a name that a browser sent, in characters that every file system and header takes."""
    last = re.split(r"[/\\]", filename)[-1]
    return ODD_CHARACTERS.sub("_", last)[-LONGEST_FILENAME:].lstrip(".-") or "upload"


def _copy(field: UploadFile, path: Path) -> Upload:
    sha, count = hashlib.sha256(), 0
    try:
        field.file.seek(0)
        with path.open("xb") as file:
            while block := field.file.read(BLOCK):
                sha.update(block)
                count += file.write(block)
    except OSError as error:
        raise spool_fault(error) from error
    return Upload(path, sha.hexdigest(), count)


def file_problems(upload: Upload | None, kind: str) -> list[Problem]:
    """All that is wrong with the file at first sight, each at its place in the file. Code is parsed, never run."""
    if upload is None or not upload.size or kind not in CHECKED:
        return []
    if kind == SubmissionKind.CODE and upload.size > LARGEST_SOURCE:
        message = f"the file has {size(upload.size)}; code may have {size(LARGEST_SOURCE)}"
        return [Problem(code="filter-too-large", message=message, where=upload.path.name)]
    return list(check_file(upload.path, None, SubmissionKind(kind)).problems)


def as_announced(head: Upload, digest: str, size: str, boards: list[BoardOut]) -> Upload:
    """The file whose first bytes are here, as large as it will be: a hole in the disk stands for the rest."""
    count = int(size) if size.isascii() and size.isdigit() and len(size) < 20 else 0
    if head.size < count <= max((board.max_upload_bytes for board in boards), default=0):
        os.truncate(head.path, count)
    return Upload(head.path, digest, count)


def head_problems(upload: Upload | None, kind: str) -> list[Problem]:
    """What the first bytes of a file tell of what is wrong with it."""
    if kind == SubmissionKind.CODE:
        return file_problems(upload, kind)
    if upload is None or upload.path.stat().st_size != upload.size:
        return []
    if kind == SubmissionKind.DATASET:
        return _dataset_head_problems(upload.path)
    if kind != SubmissionKind.UIDS:
        return []
    try:
        if is_bitmap(upload.path):
            read_header(upload.path)
        else:
            open_subset(upload.path)
    except BadInput as error:
        return list(error.problems)
    return []


def _dataset_head_problems(path: Path) -> list[Problem]:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        hint = f"name the file {', '.join(SUFFIXES)}"
        message = f"{suffix or 'no ending'} is no kind of dataset"
        return [Problem(code="dataset-format", message=message, where=path.name, hint=hint)]
    with path.open("rb") as file:
        if suffix == ".parquet" and file.read(len(PARQUET)) != PARQUET:
            return [Problem(code="dataset-format", message="this is no Parquet file", where=path.name)]
    return []
