"""The faces of a subset's samples, gathered from the metadata once and looked up shard by shard."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.problems import BadInput
from datacomp.uids import UID_DTYPE, Uids, find, from_hex, order

COLUMN = "face_bboxes"


@dataclass(frozen=True)
class Faces:
    """Samples that have faces, sorted by uid, and their boxes."""

    uids: Uids
    begins: npt.NDArray[np.int64]
    """Where each sample's boxes begin, and their number in all: shape (samples + 1,)."""
    boxes: npt.NDArray[np.float64]
    """Shape (boxes, 4): x0, y0, x1, y1 as shares of width and height."""

    def of(self, uids: Uids) -> dict[int, npt.NDArray[np.float64]]:
        """Boxes by place in `uids`, of those samples that have some."""
        place = find(uids, self.uids)
        return {int(i): self.boxes[self.begins[p] : self.begins[p + 1]] for i, p in enumerate(place) if p >= 0}

    def save(self, path: Path) -> None:
        """Keep them in a file."""
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **vars(self))

    @classmethod
    def load(cls, path: Path) -> Faces:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as found:
            return cls(found["uids"], found["begins"], found["boxes"])


def gather_faces(metadata: Path, subset: Uids) -> tuple[Faces, npt.NDArray[np.bool_]]:
    """The faces of a sorted subset's samples, and which of its rows the metadata knows (the first of each uid).

    `BadInput` names a file that cannot be read or has no `face_bboxes`.
    """
    known = np.zeros(subset.size, np.bool_)
    uids, counts, boxes = [np.empty(0, UID_DTYPE)], [np.empty(0, np.int64)], [np.empty((0, 4))]
    for path in _files(metadata):
        own, lists = _read(path)
        place = find(own, subset)
        known[place[place >= 0]] = True
        chosen = np.flatnonzero((place >= 0) & (lists[0] > 0))
        starts = np.cumsum(lists[0]) - lists[0]
        uids.append(own[chosen])
        counts.append(lists[0][chosen])
        boxes += [lists[1][starts[row] : starts[row] + lists[0][row]] for row in chosen]
    return _sorted(np.concatenate(uids), np.concatenate(counts), np.concatenate(boxes)), known


def _files(metadata: Path) -> list[Path]:
    files = sorted(metadata.glob("*.parquet"))
    if not files:
        hint = "give the directory of the metadata's .parquet files"
        raise BadInput.of("metadata-missing", "there are no *.parquet", where=str(metadata), hint=hint)
    return files


def _read(path: Path) -> tuple[Uids, tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
    """A file's uids, its numbers of boxes and the boxes one after another."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(path).names
        if not {"uid", COLUMN} <= set(names):
            message = f"the file has no columns uid and {COLUMN}"
            raise BadInput.of("metadata-without-faces", message, str(path), "DataComp's metadata has them")
        table = pq.read_table(path, columns=["uid", COLUMN])
        column = table.column(COLUMN).combine_chunks()
        counts = np.asarray(column.value_lengths().fill_null(0).to_numpy(), np.int64)
        values = _numbers(column.flatten())
        if values.shape != (int(counts.sum()), 4):
            message = f"{COLUMN} does not hold lists of boxes of four numbers"
            raise BadInput.of("metadata-faces-malformed", message, where=str(path))
        return from_hex(table.column("uid")), (counts, values)
    except (pa.ArrowException, OSError) as error:
        raise BadInput.of("parquet-unreadable", str(error), str(path), "download it again") from error


def _numbers(lists: Any) -> npt.NDArray[np.float64]:
    flat = lists.flatten()
    width = 4 if len(flat) == 4 * len(lists) else 1
    return np.asarray(flat.to_numpy(zero_copy_only=False), np.float64).reshape(-1, width)


def _sorted(uids: Uids, counts: npt.NDArray[np.int64], boxes: npt.NDArray[np.float64]) -> Faces:
    by_uid = order(uids)
    starts = np.cumsum(counts) - counts
    rows = [np.arange(starts[i], starts[i] + counts[i]) for i in by_uid]
    ordered = boxes[np.concatenate(rows)] if rows else boxes
    return Faces(uids[by_uid], np.concatenate([[0], np.cumsum(counts[by_uid])]), ordered)
