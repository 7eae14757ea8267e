"""Copies of score columns in the order of uids.

A subset is sorted by uid. A rule that reads nothing but such copies decides about rows in that order, and its subset is
cut out of the sorted uids in one pass, where rows in shard order must be gathered first. The copies are derived: the
manifest does not name them, a pack without them gives the same subsets, and a copy of a column that has been replaced
since does not count.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datacomp.pool.manifest import PACK
from datacomp.pool.pool import Pool
from datacomp.pool.steps import Counter, beside
from datacomp.problems import BadInput, DatacompError
from datacomp.uids import release

if TYPE_CHECKING:
    from datacomp.pool.manifest import Column

BY_UID = "by_uid"
INDEX = "index.json"
"""JSON: the digest of the column of which each copy is, and of the order, as `<column>-<order>`. Written last."""
FLOATS = ("float32", "float64")
"""Types of scores: the metadata's and those that participants add, not what ingestion itself computes."""
WINDOW = 1 << 20
"""Rows gathered at a time."""


@dataclass(frozen=True)
class PoolByUid(Pool):
    """A pool whose rows stand in the order of their uids: all that a rule over copied columns reads."""

    in_uid_order = True

    def column(self, name: str) -> npt.NDArray[Any]:
        """A column of the pack, mapped: shape (rows,). Only what has a copy, and what says where uids are."""
        plain = Pool(self.directory, self.manifest)
        if name == "uid_order":
            return np.arange(self.rows, dtype=plain.column(name).dtype)
        if name in {"uid", "uid_sorted"}:
            return plain.column("uid_sorted")
        column = self.manifest.column(name)
        if column is None:
            return plain.column(name)
        if name not in _index(self.directory):
            hint = "name it in the filter's `columns`, or leave `any_order` away"
            message = f"the column {name!r} is not at hand in the order of uids"
            raise BadInput.of("column-without-copy", message, where=name, hint=hint)
        return self._mapped(column, self.directory / PACK / BY_UID / f"{name}.npy")


def in_uid_order(pool: Pool, columns: Collection[str]) -> PoolByUid | None:
    """The pool in the order of uids, if all these columns have copies that are theirs; else None."""
    index = _index(pool.directory)
    order = pool.manifest.column("uid_order")
    stamps = (_stamp(pool.manifest.column(name), order) for name in columns)
    if pool.manifest.column("uid_sorted") is None:
        return None
    if any(stamp is None or index.get(name) != stamp for name, stamp in zip(columns, stamps, strict=True)):
        return None
    return PoolByUid(pool.directory, pool.manifest)


def copy_by_uid(pool: Pool) -> Pool:
    """Copy every column of scores that has no copy yet; gives the pool back. Holds `WINDOW` rows at a time."""
    from datacomp.pool.columns import OWN

    directory = pool.directory / PACK / BY_UID
    order = pool.manifest.column("uid_order")
    stamps = {
        column.name: stamp
        for column in pool.manifest.columns
        if column.dtype in FLOATS and column.name not in OWN and (stamp := _stamp(column, order)) is not None
    }
    index = {name: stamp for name, stamp in _index(pool.directory).items() if _is_whole(pool, name)}
    if index == stamps:
        return pool
    directory.mkdir(exist_ok=True)
    (directory / INDEX).unlink(missing_ok=True)
    for name, stamp in stamps.items():
        if index.get(name) != stamp:
            _copy(pool, name, directory / f"{name}.npy")
    for path in directory.glob("*.npy"):
        if path.stem not in stamps:
            path.unlink()
            beside(path).unlink(missing_ok=True)
    (directory / INDEX).write_text(json.dumps(stamps, indent=1))
    return pool


def _is_whole(pool: Pool, name: str) -> bool:
    try:
        return PoolByUid(pool.directory, pool.manifest).column(name).size == pool.rows
    except DatacompError:
        return False


def _copy(pool: Pool, name: str, path: Path) -> None:
    source, order = pool.column(name), pool.uid_order
    counter = Counter(source.dtype)
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        header = {"descr": source.dtype.str, "fortran_order": False, "shape": source.shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, pool.rows, WINDOW):
            piece = source.take(order[start : start + WINDOW])
            counter.add(piece)
            file.write(piece.view(np.uint8).data)
    beside(path).unlink(missing_ok=True)
    temporary.replace(path)
    table = counter.table()
    if table is not None:
        table.tofile(beside(path))
    release(source)
    release(order)


def _index(directory: Path) -> dict[str, str]:
    try:
        index = json.loads((directory / PACK / BY_UID / INDEX).read_bytes())
    except (OSError, ValueError):
        return {}  # none, or half of one: then rows are taken in shard order
    return index if isinstance(index, dict) else {}


def _stamp(column: Column | None, order: Column | None) -> str | None:
    return f"{column.digest}-{order.digest}" if column is not None and order is not None else None
