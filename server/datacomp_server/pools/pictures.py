"""Captions and images of single samples, read where they lie."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from datacomp.pool import Pool
from datacomp.problems import BadInput, DatacompError
from datacomp.reshard.blur import blur_faces
from datacomp.reshard.faces import COLUMN as FACES
from datacomp.text import printable
from datacomp.uids import from_hex, sort, to_hex
from datacomp_server.errors import NotFound
from datacomp_server.pools.library import Shelf

LONGEST_CAPTION = 400
LARGEST_IMAGE = 32 << 20
"""Bytes of a file."""
MOST_PIXELS = 50_000_000
SIDE = 256
"""Pixels of the longer side of what is shown."""
FORMATS = ("JPEG", "PNG", "WEBP")
KEPT = 512


@dataclass(frozen=True)
class Sample:
    """A sample as pages show it."""

    uid: str
    caption: str
    has_image: bool


def samples_of(pool: Pool, uids: Sequence[str]) -> list[Sample]:
    """The samples of these uids, in ascending order of them; those that the pool does not have are passed over."""
    if not uids:
        return []
    wanted = sort(from_hex(list(uids)))
    tars = pool.column("tar")
    return [
        Sample(uid, _caption(pool, row), bool(tars[row] >= 0))
        for uid, row in zip(to_hex(wanted), pool.rows_of(wanted).tolist(), strict=True)
        if row >= 0
    ]


def _caption(pool: Pool, row: int) -> str:
    tar = int(pool.column("tar")[row])
    if tar >= 0:
        size = min(int(pool.column("text_size")[row]), 4 * LONGEST_CAPTION)
        text = _bytes(pool.tar_file(tar), int(pool.column("text_offset")[row]), size).decode(errors="replace")
    else:
        shard, place = _place(pool, row)
        text = pool.metadata_column("text", shard)[place].as_py() or ""
    shown = printable(text)
    return shown if len(shown) <= LONGEST_CAPTION else shown[:LONGEST_CAPTION] + "…"


class Pictures:
    """Images of a pool, made small, their faces blurred. Safe to use from many threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._guard = threading.Lock()

    def picture(self, shelf: Shelf, uid: str) -> bytes:
        """A sample's image as WebP. `NotFound` when there is none here, or none that can be shown."""
        key = shelf.digest, uid
        with self._guard:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = _picture(shelf.pool, uid)
        with self._guard:
            self._kept[key] = made
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return made


def _picture(pool: Pool, uid: str) -> bytes:
    row = int(pool.rows_of(from_hex([uid]))[0])
    tar = int(pool.column("tar")[row]) if row >= 0 else -1
    size = int(pool.column("image_size")[row]) if tar >= 0 else 0
    if not 0 < size <= LARGEST_IMAGE:
        raise NotFound.of("image-missing", "the pool has no image of this uid here", where=uid)
    content = _bytes(pool.tar_file(tar), int(pool.column("image_offset")[row]), size)
    try:
        return shown(content, _faces(pool, row))
    except (OSError, ValueError, SyntaxError, DatacompError, Image.DecompressionBombError) as error:
        raise NotFound.of("image-unshown", "the image cannot be shown", where=uid) from error


def shown(content: bytes, faces: Sequence[Sequence[float]]) -> bytes:
    """An image as pages show it: faces blurred, at most `SIDE` pixels, WebP. OSError or ValueError for what is none."""
    with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
        if opened.width * opened.height > MOST_PIXELS:
            raise ValueError("too many pixels")
    if faces:
        content = blur_faces(content, faces)
    with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=85)
    return out.getvalue()


def _faces(pool: Pool, row: int) -> list[list[float]]:
    """The boxes of a row's faces. `BadInput` where the metadata does not say where faces are: then nothing is shown."""
    if FACES not in pool.manifest.metadata:
        raise BadInput.of("metadata-without-faces", f"the metadata has no {FACES}")
    shard, place = _place(pool, row)
    boxes = [[float(number) for number in box] for box in pool.metadata_column(FACES, shard)[place].as_py() or []]
    if any(len(box) != 4 or not np.isfinite(box).all() for box in boxes):
        raise BadInput.of("metadata-faces-malformed", f"{FACES} does not hold boxes of four numbers")
    return boxes


def _place(pool: Pool, row: int) -> tuple[int, int]:
    """The shard of a row, and its place in it."""
    part = next(part for part in pool.shard_rows() if row < part.stop)
    return part.shard, row - part.start


def _bytes(path: Path, offset: int, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)
    except OSError as error:
        raise NotFound.of("image-missing", "the pool's shard cannot be read", where=path.name) from error
