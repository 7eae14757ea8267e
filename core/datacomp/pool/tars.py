"""Where each sample lies inside webdataset tars, so that it can be read without the samples around it."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datacomp.problems import BadInput, DatacompError
from datacomp.uids import UID_DTYPE, Uids, from_hex

IMAGES = ("jpg", "png", "jpeg", "webp")
"""Extensions in the order in which open_clip's reader prefers them."""


@dataclass(frozen=True)
class TarIndex:
    """The samples of one tar that have an image and a caption. All arrays have shape (n,); offsets are bytes."""

    uids: Uids
    image_offset: npt.NDArray[np.int64]
    image_size: npt.NDArray[np.int64]
    text_offset: npt.NDArray[np.int64]
    text_size: npt.NDArray[np.int64]


@dataclass
class _Sample:
    members: dict[str, tuple[int, int]] = field(default_factory=dict)
    uid: str = ""


def index(path: Path) -> TarIndex:
    """Index a tar. `BadInput` names the tar and the sample when it is cut short or a sample has no uid."""
    samples: dict[str, _Sample] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                stem, _, extension = member.name.partition(".")
                if not member.isfile() or not extension:
                    continue
                sample = samples.setdefault(stem, _Sample())
                sample.members[extension.lower()] = (member.offset_data, member.size)
                if extension == "json":
                    sample.uid = _uid(tar, member)
    except tarfile.TarError as error:
        raise BadInput.of("tar-damaged", f"not a readable tar: {error}", str(path), "download it again") from error
    end = path.stat().st_size
    return _collect(path, samples, end)


def _uid(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = tar.extractfile(member)
    try:
        return str(json.loads(file.read() if file else b"{}")["uid"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput.of("tar-sample-without-uid", f"{member.name} names no uid", where=str(tar.name)) from error


def _collect(path: Path, samples: dict[str, _Sample], end: int) -> TarIndex:
    uids, places = [], []
    for stem, sample in samples.items():
        image = next((sample.members[extension] for extension in IMAGES if extension in sample.members), None)
        text = sample.members.get("txt")
        if image is None or text is None:
            continue
        if not sample.uid:
            raise BadInput.of("tar-sample-without-uid", f"sample {stem} has no .json with a uid", where=str(path))
        if max(image[0] + image[1], text[0] + text[1]) > end:
            raise BadInput.of("tar-damaged", f"the tar ends inside sample {stem}", str(path), "download it again")
        uids.append(sample.uid)
        places.append((*image, *text))
    table = np.array(places, np.int64).reshape(-1, 4)
    try:
        packed = from_hex(uids) if uids else np.empty(0, UID_DTYPE)
    except DatacompError as error:
        raise BadInput.of("tar-uid-malformed", str(error), where=str(path)) from error
    return TarIndex(packed, *(np.ascontiguousarray(column) for column in table.T))
