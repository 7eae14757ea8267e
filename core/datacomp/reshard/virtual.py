"""Virtual shards: where a subset's samples lie in tars that stay as they are.

A folder of them holds `index.npy` and `meta.json`, and no tar. Samples stand in the order in which `reshard` would
write them, each once per repeat, so that row n of the one is row n of the other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datacomp.mapped import new_mapped
from datacomp.problems import BadInput, Problem, raise_if_any
from datacomp.reshard.index import Stamp, stamp, tar_changed, tar_damaged, tar_missing
from datacomp.reshard.pack import PoolTars
from datacomp.reshard.run import INDEX, META, default_cache
from datacomp.reshard.space import require_space, writing
from datacomp.reshard.write import PLACE
from datacomp.tars.entries import Window
from datacomp.tars.samples import samples
from datacomp.uids import Uids

if TYPE_CHECKING:
    from datacomp.pool import Pool

VIRTUAL_LAYOUT = 1
"""Raised when the files change, so that folders of two versions are never mixed up."""
CHECKED = 8
"""Samples of each tar that are looked at before the pack's places are taken."""
READERS = 8
"""Tars looked at at a time: most of it is waiting for the disk."""
WINDOW = 1 << 20
"""Rows written at a time."""
OFFSETS = ("image_offset", "image_size", "text_offset", "text_size")
Report = Callable[[int, int], None]
"""Told tars looked at and tars in all; may raise to stop the work."""


@dataclass(frozen=True)
class VirtualTar:
    """A tar that virtual shards read, and what it was when they were made."""

    path: Path
    stamp: Stamp

    @classmethod
    def of(cls, path: Path, size: int | None = None) -> VirtualTar:
        """`BadInput` when it is gone, or has not the size that it should."""
        found = stamp(path)
        if size is not None and found[0] != size:
            raise tar_changed(path, f"it had {size:,} bytes when it was ingested, now {found[0]:,}")
        return cls(path, found)


def from_pool(
    pool: Pool,
    uids: Uids,
    out: Path,
    *,
    cache: Path | None = None,
    room: Callable[[int], None] = lambda needed: None,
    report: Report = lambda done, total: None,
) -> int:
    """Write the virtual shards of a sorted subset of an ingested pool into `out`; returns its samples, repeats counted.

    Of every tar a few samples are looked at: image and caption must lie where the pack has them, and the json must name
    the uid. `cache` keeps indexes of tars of which that cannot be said without reading all their headers; `room` is
    told the bytes that will be written. `BadInput` names each tar that is gone or is not as it was ingested;
    `PlatformFault` as `reshard_pool`. A sample without an image is left out.
    """
    source = PoolTars.of(pool, cache or default_cache())
    tar, rows = _in_order(pool, uids)
    if not rows.size:
        raise BadInput.of("subset-not-in-shards", "the pool's tars hold no sample of the subset")
    numbers, begins = np.unique(tar, return_index=True)
    bounds = [*begins.tolist(), rows.size]
    chosen = [rows[begin:end] for begin, end in pairwise(bounds)]
    tars = _checked(source, numbers.tolist(), chosen, report)
    needed = rows.size * PLACE.itemsize
    room(needed)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        require_space(out, needed)
        index = new_mapped(out / INDEX, PLACE, (rows.size,))
        for begin in range(0, rows.size, WINDOW):
            end = begin + WINDOW
            index["shard"][begin:end] = np.searchsorted(numbers, tar[begin:end])
            for name in OFFSETS:
                index[name][begin:end] = pool.column(name)[rows[begin:end]]
        index.flush()
    _finish(out, tars, rows.size)
    return int(rows.size)


def from_tars(paths: Sequence[Path], out: Path) -> int:
    """Write the virtual shards of all samples of some tars, in their order; returns how many there are.

    Samples without an image or a caption are passed over, as open_clip's reader does; uids are not asked for.
    `BadInput` names every tar that cannot be read.
    """
    found, tars = [np.empty(0, PLACE)], []
    problems: list[Problem] = []
    for path in paths:
        try:
            tars.append(VirtualTar.of(path))
            found.append(_scan(path, len(tars) - 1))
        except BadInput as error:
            problems += error.problems
    raise_if_any(problems)
    places = np.concatenate(found)
    if not places.size:
        where = str(paths[0].parent) if paths else None
        raise BadInput.of("shards-without-samples", "no tar holds a sample with an image and a caption", where)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        np.save(out / INDEX, places, allow_pickle=False)
    _finish(out, tars, places.size)
    return int(places.size)


def read_tars(meta: dict[str, Any]) -> tuple[VirtualTar, ...] | None:
    """The tars that a folder's `meta.json` names; None for a folder that holds its tars. ValueError when damaged."""
    if "tars" not in meta:
        return None
    try:
        return tuple(VirtualTar(Path(path), (int(size), int(time))) for path, size, time in meta["tars"])
    except TypeError as error:
        raise ValueError("its list of tars is damaged") from error


def _in_order(pool: Pool, uids: Uids) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Tar number and row of each sample that has an image, in the order in which `reshard` copies them."""
    rows = np.sort(pool.rows_of(uids))  # ascending rows are read from mapped columns in one sweep
    tar = np.asarray(pool.column("tar")[rows])
    there = (rows >= 0) & (tar >= 0)
    rows, tar = rows[there], tar[there]
    order = np.lexsort((pool.column("image_offset")[rows], tar))
    return tar[order], rows[order]


def _checked(
    source: PoolTars, numbers: Sequence[int], rows: Sequence[npt.NDArray[np.int64]], report: Report
) -> list[VirtualTar]:
    """The tars of these numbers, a few samples of each having been looked at; all that are wrong are named at once."""
    pool = source.pool
    problems: list[Problem] = []
    tars: list[VirtualTar] = []

    def check(number: int, own: npt.NDArray[np.int64]) -> VirtualTar | BadInput:
        try:
            tar = VirtualTar.of(pool.tar_file(number), pool.manifest.tars[number].size)
            source.check(number, few(own))
        except BadInput as error:
            return error
        return tar

    with ThreadPoolExecutor(READERS) as threads:
        try:
            for outcome in threads.map(check, numbers, rows):
                if isinstance(outcome, BadInput):
                    problems += outcome.problems
                else:
                    tars.append(outcome)
                report(len(tars) + len(problems), len(numbers))
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise
    raise_if_any(problems)
    return tars


def few(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """At most `CHECKED` of some rows, the first and the last among them."""
    different = rows[np.flatnonzero(np.append(True, rows[1:] != rows[:-1]))]
    chosen: npt.NDArray[np.int64] = different[np.unique(np.linspace(0, different.size - 1, CHECKED).astype(np.int64))]
    return chosen


def _scan(path: Path, number: int) -> npt.NDArray[np.void]:
    try:
        with path.open("rb", 0) as file:
            return np.array([(number, *place) for place in _places(file.fileno())], PLACE)
    except ValueError as error:
        raise tar_damaged(path, error) from error
    except OSError as error:
        raise tar_missing(path, error) from error


def _places(file: int) -> Iterator[tuple[int, ...]]:
    for sample in samples(Window(file)):
        image, text = sample.image(), sample.place("txt")
        if image is not None and text is not None:
            yield (*image, *text)


def _finish(out: Path, tars: Sequence[VirtualTar], count: int) -> None:
    """Write `meta.json`, which makes the folder complete."""
    listed = [[os.path.abspath(tar.path), *tar.stamp] for tar in tars]
    meta = {"layout": VIRTUAL_LAYOUT, "output_count": count, "output_shard_count": len(tars), "tars": listed}
    temporary = out / f"{META}.part"
    with writing(out):
        temporary.write_text(json.dumps(meta))
        temporary.replace(out / META)
