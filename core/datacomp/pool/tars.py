"""Where each sample's image and caption lie in webdataset tars, so that they can be read without all around them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datacomp.problems import BadInput
from datacomp.tars.entries import Window
from datacomp.tars.samples import Sample, samples, uid_of
from datacomp.uids import Uids, from_digits


@dataclass(frozen=True)
class TarIndex:
    """The samples of one tar that have an image and a caption. All arrays have shape (n,); offsets are bytes."""

    uids: Uids
    image_offset: npt.NDArray[np.int64]
    image_size: npt.NDArray[np.int64]
    text_offset: npt.NDArray[np.int64]
    text_size: npt.NDArray[np.int64]
    json_size: npt.NDArray[np.int64]
    """0 for a sample that has other files beside image, caption and json: its bytes are not told by these alone."""


def index(path: Path) -> TarIndex:
    """Index a tar. `BadInput` names the tar, and the sample where one has no uid."""
    uids: list[bytes] = []
    places: list[int] = []
    try:
        with path.open("rb", 0) as file:
            for sample in samples(Window(file.fileno())):
                image, text = sample.image(), sample.place("txt")
                if image is None or text is None:
                    continue
                uid = uid_of(sample.json)
                if uid is None:
                    message = f"sample {sample.stem.decode(errors='replace')} has no .json with a uid of 32 hex digits"
                    raise BadInput.of("tar-sample-without-uid", message, where=str(path))
                uids.append(uid)
                places += (*image, *text, _json_size(sample))
    except ValueError as error:
        raise BadInput.of("tar-damaged", f"not a readable tar: {error}", str(path), "download it again") from error
    table = np.array(places, np.int64).reshape(-1, 5)
    return TarIndex(from_digits(b"".join(uids)), *(np.ascontiguousarray(column) for column in table.T))


def _json_size(sample: Sample) -> int:
    place = sample.place("json") if sample.plain and len(sample.shape) == 3 else None
    return place[1] if place else 0
