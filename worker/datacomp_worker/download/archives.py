"""Webdataset tars by address: fetched under the guards of images, read member by member, never unpacked to paths.

What becomes of an archive lies in the folder `archives` beside the shards of single images, as img2dataset would leave
it: `a0000.tar` with the samples' images resized, captions and json, `a0000.parquet` with what became of each member,
`a0000_stats.json` last. A member's name is only what tells its sample from the next.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from email.message import Message
from pathlib import Path
from typing import IO, Any

from datacomp.byod import LONGEST_CAPTION, plain_caption
from datacomp_worker.download.limits import Limits
from datacomp_worker.download.network import Network, Refusal

FOLDER = "archives"
IMAGES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")
CAPTIONS = ("txt", "caption", "text")
JSON_CAPTIONS = ("caption", "text")
TEXT_BYTES = 1 << 20
"""Of a caption or json; longer ones are left out."""


@dataclass(frozen=True)
class Archives:
    """Tars to be fetched, and what they may take."""

    rows: tuple[tuple[int, str], ...]
    """Number in the participant's file, and address."""
    seconds: float
    """For one, from the first look-up to the last byte."""
    bytes: int
    """Of one."""
    samples: int
    """Of all together; more are counted and left out."""

    def limits(self, images: Limits) -> Limits:
        """The limits of the images, but for size and time."""
        return replace(images, seconds=self.seconds, bytes=self.bytes)


Outcome = tuple[str, str | None]
"""Status and message, as img2dataset notes them."""
Resize = Callable[[io.BytesIO], Any]


def fetch_archives(
    archives: Archives, limits: Limits, folder: Path, resize: Resize, forbidden: Callable[[Message], bool]
) -> None:
    """Fetch all, one after another; those that are complete in `folder` are left alone."""
    folder.mkdir(exist_ok=True)
    network, left = Network(archives.limits(limits)), archives.samples
    for place, (number, url) in enumerate(archives.rows):
        stem = folder / f"a{place:04d}"
        stats = stem.with_name(f"{stem.name}_stats.json")
        if not stats.is_file():
            outcomes = _fetch(network, url, number, stem, _Reader(limits, resize, left), forbidden)
            _note(stem, outcomes)
            successes = sum(status == "success" for status, _ in outcomes)
            stats.write_text(json.dumps({"count": len(outcomes), "successes": successes, "row": number}))
        left = max(left - json.loads(stats.read_text())["successes"], 0)


def _fetch(
    network: Network, url: str, number: int, stem: Path, reader: _Reader, forbidden: Callable[[Message], bool]
) -> list[Outcome]:
    whole = stem.with_suffix(".part")
    try:
        network.fetch_file(url, whole, forbidden)
        with whole.open("rb") as file, tarfile.open(stem.with_suffix(".tar"), "w") as out:
            outcomes = list(reader.read(file, number, out))
        return outcomes or [("failed_to_resize", "tar-empty")]
    except Refusal as refusal:
        return [("failed_to_download", str(refusal))]
    finally:
        whole.unlink(missing_ok=True)


def _note(stem: Path, outcomes: list[Outcome]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"status": [status for status, _ in outcomes], "error_message": [message for _, message in outcomes]}
    schema = pa.schema([("status", pa.string()), ("error_message", pa.string())])
    pq.write_table(pa.table(columns, schema=schema), stem.with_suffix(".parquet"))


@dataclass
class _Reader:
    limits: Limits
    resize: Resize
    left: int
    written: int = 0

    def read(self, file: IO[bytes], number: int, out: tarfile.TarFile) -> Iterator[Outcome]:
        """Write the samples of a tar; what became of each."""
        try:
            with tarfile.open(fileobj=file, mode="r|") as tar:
                for files in _samples(tar, self.limits.bytes):
                    yield self._sample(files, number, out)
        except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
            yield "failed_to_resize", f"tar-damaged: {error}"[:300]

    def _sample(self, files: dict[str, bytes | None], number: int, out: tarfile.TarFile) -> Outcome:
        image = next((files[kind] for kind in IMAGES if kind in files), b"")
        caption = plain_caption(_caption(files))
        problems = (
            ("too-large", image is None),
            ("image-missing", image == b""),
            ("caption-missing", not caption),
            ("caption-too-long", len(caption) > LONGEST_CAPTION),
            ("too-many-samples", self.written >= self.left),
        )
        cause = next((cause for cause, there in problems if there), None)
        if cause or not image:
            return "failed_to_download", cause
        shown, _, _, width, height, error = self.resize(io.BytesIO(image))
        if error is not None:
            return "failed_to_resize", str(error)
        about = {"uid": str(number), "sha256": hashlib.sha256(image).hexdigest()}
        about |= {"original_width": width, "original_height": height}
        key = f"{self.written:08d}"
        for kind, data in (("jpg", bytes(shown)), ("json", json.dumps(about).encode()), ("txt", caption.encode())):
            info = tarfile.TarInfo(f"{key}.{kind}")
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
        self.written += 1
        return "success", None


def _samples(tar: tarfile.TarFile, most: int) -> Iterator[dict[str, bytes | None]]:
    """The files of each sample by type: files in a row that share a stem. None stands for one that is too large; links,
    devices and folders are passed over."""
    stem = ""
    files: dict[str, bytes | None] = {}
    for member in tar:
        if not member.isfile():
            continue
        folder, _, name = member.name.rpartition("/")
        first, _, kind = name.partition(".")
        kind = kind.lower()
        if f"{folder}/{first}" != stem and files:
            yield files
            files = {}
        stem = f"{folder}/{first}"
        bound = most if kind in IMAGES else TEXT_BYTES
        if kind in {*IMAGES, *CAPTIONS, "json"} and kind not in files:
            read = tar.extractfile(member) if member.size <= bound else None
            files[kind] = read.read() if read is not None else None
    if files:
        yield files


def _caption(files: dict[str, bytes | None]) -> str:
    text = next((files[kind] for kind in CAPTIONS if kind in files), None)
    if text is not None:
        return text.decode("utf-8", "replace")
    try:
        about = json.loads(files.get("json") or b"{}")
    except (ValueError, RecursionError):
        return ""
    named = (about.get(name) for name in JSON_CAPTIONS) if isinstance(about, dict) else ()
    return next((value for value in named if isinstance(value, str)), "")


def archive_rows(folder: Path) -> Counter[int]:
    """Members of complete archives, by the row that named them."""
    found: Counter[int] = Counter()
    for path in sorted((folder / FOLDER).glob("*_stats.json")):
        stats = json.loads(path.read_text())
        found[stats["row"]] += stats["count"]
    return found
