"""How near every row of a pool is to the images of an evaluation suite: the column behind `near(eval)`.

The suite's images are known by their features, in an npz of the pool's own feature names: whoever evaluates has the
images, and the features must come from the model that made the pool's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.filtering.functions import EVAL_SIMILARITY
from datacomp.pool import Pool
from datacomp.pool.join import write_column, write_manifest
from datacomp.pool.manifest import PACK
from datacomp.problems import BadInput
from datacomp_filters.neardup.cells import Cells, build, one_cell, place
from datacomp_filters.neardup.compare import DENSE, Tile, exact_cosines, margin, tiles_between
from datacomp_filters.neardup.over_pool import require_faiss
from datacomp_filters.neardup.progress import Report, silent
from datacomp_filters.neardup.recall import Recall
from datacomp_filters.neardup.rows import Half, Indices, Rows
from datacomp_filters.neardup.sketch import Sketches, reach, within
from datacomp_filters.neardup.spread import one_thread_each, spread

EVAL_FEATURES = "eval_features.npz"
"""The file's name beside a suite's tasks."""
FLOOR = 0.9
"""Cosine from which nearness is told exactly."""
COARSE = 0.7
"""Rows below this cosine lie too far apart for cells."""
BLOCK = 1 << 14
SAMPLE = 2000
SEED = 20_230_427
Singles = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Added:
    """What `add_similarity` did."""

    digest: str
    """The pool's, from now on."""
    near: int
    """Rows at the floor or nearer."""
    recall: Recall
    """Of sampled rows at the floor or nearer by brute force: how many were found so."""


@one_thread_each()
def add_similarity(
    directory: Path, features: Path, feature: str, report: Report = silent, *, floor: float = FLOOR
) -> Added:
    """Add the column `eval_similarity` to a pool: each row's cosine to the nearest evaluation image where that is at
    least `floor`, the number just below `floor` for all others, NaN for rows without a feature. `BadInput` for a file
    that does not fit the pool."""
    if not 0 <= floor < 1:
        raise BadInput.of("near-floor", f"a floor lies between 0 and 1, not at {floor:g}")
    pool = Pool.open(directory)
    pool.require_feature(feature)
    require_faiss()
    images = Images.of(Rows.of(read_features(features, feature, pool)), floor)
    found = np.full(pool.rows, np.nan, np.float32)
    for part in pool.shard_rows():
        own = np.asarray(pool.features(feature, part.shard))
        for start in range(0, len(own), BLOCK):
            block = Rows.of(own[start : start + BLOCK])
            begin = part.start + start
            found[begin : begin + len(block.features)] = images.nearest_cosine(block)
            report("comparing", begin + len(block.features), pool.rows)
    recall = _measure(pool, feature, images, found)
    column = write_column(directory / PACK / "columns", EVAL_SIMILARITY, found).as_added()
    manifest = pool.manifest.with_columns([column])
    write_manifest(directory, manifest)
    return Added(manifest.digest, int((found >= np.float32(floor)).sum()), recall)


@dataclass(frozen=True)
class Images:
    """Evaluation images, in cells."""

    rows: Rows
    sketches: Sketches
    cells: Cells
    members: dict[int, tuple[Indices, Indices]]
    """By cell: the images that it owns, and its guests."""
    floor: float

    @classmethod
    def of(cls, rows: Rows, floor: float) -> Images:
        """Sort images into cells so that rows of a cosine of at least `floor` share one."""
        sketches, usable = Sketches.of(rows), np.flatnonzero(rows.usable)
        cells = build(sketches, usable, floor) if floor >= COARSE else one_cell(len(rows.features), usable)
        members = {cell: (own, guests) for cell, own, guests in cells.members(usable)}
        return cls(rows, sketches, cells, members, floor)

    def nearest_cosine(self, rows: Rows) -> Singles:
        """The largest cosine of each row to any image, if at least the floor, else just below it: shape (n,), NaN
        without a feature. Found in float32 and decided in float64, so that it depends neither on blocks nor on the
        processor."""
        sketches, usable = Sketches.of(rows), np.flatnonzero(rows.usable)
        best = np.full(len(rows.features), -np.inf)
        for row, cosine in spread(lambda tile: self._nearest_of(rows, sketches, tile), self._tiles(sketches, usable)):
            np.maximum.at(best, row, cosine)
        told = np.where(best >= self.floor, best, -np.inf).astype(np.float32)
        np.maximum(told, np.nextafter(np.float32(self.floor), np.float32(-1)), out=told)
        told[~rows.usable] = np.nan
        return told

    def _tiles(self, sketches: Sketches, usable: Indices) -> Iterator[Tile]:
        none = np.empty(0, np.int64)
        placed = place(sketches, usable, self.cells.centroids, self.cells.variance, self.floor)
        for cell, own, guests in placed.members(usable):
            owned, visiting = self.members.get(cell, (none, none))
            yield from tiles_between(own, np.concatenate([owned, visiting]))
            yield from tiles_between(guests, owned)

    def _nearest_of(self, rows: Rows, sketches: Sketches, tile: Tile) -> tuple[Indices, Doubles]:
        """Of a tile of (rows, images) the rows with a candidate, and cosines among which is each row's largest."""
        left, right = tile
        a, b = within(sketches.left(left), self.sketches.right(right), reach(self.floor))
        if a.size > DENSE * left.size * right.size:
            cosines = (rows.unit(left) @ self.rows.unit(right).T)[a, b]
        else:
            cosines = np.einsum("ij,ij->i", rows.unit(left[a]), self.rows.unit(right[b]))
        top = np.full(left.size, -np.inf, np.float32)
        np.maximum.at(top, a, cosines)
        largest = cosines >= np.maximum(top[a], self.floor) - 2 * margin(rows.features.shape[1])
        one, other = left[a[largest]], right[b[largest]]
        return one, exact_cosines(rows, one, self.rows, other)


def _measure(pool: Pool, feature: str, images: Images, found: Singles) -> Recall:
    """Brute force over a sample of the rows that have a feature."""
    usable = np.flatnonzero(~np.isnan(found))
    sample = np.random.default_rng(SEED).choice(usable, min(SAMPLE, usable.size), replace=False)
    rows = Rows.of(pool.gather(feature, np.sort(sample)))
    every, against = np.arange(sample.size), np.flatnonzero(images.rows.usable)
    near = np.zeros(sample.size, np.bool_)
    for start in range(0, against.size, SAMPLE):
        cosines = rows.unit(every) @ images.rows.unit(against[start : start + SAMPLE]).T
        near |= cosines.max(axis=1) >= images.floor + margin(rows.features.shape[1])
    told = found[np.sort(sample)] >= np.float32(images.floor)
    return Recall(sampled=sample.size, removed=int((near & told).sum()), missed=int((near & ~told).sum()))


def read_features(path: Path, feature: str, pool: Pool) -> Half:
    """The suite's features, shape (images, width). `BadInput` for a file that is none or of another width."""
    if path.is_dir():
        path = path / EVAL_FEATURES
    if not path.is_file():
        hint = "embed the suite's images with the CLIP that made the pool's features, and save them with numpy.savez"
        raise BadInput.of("eval-features-missing", "there is no such file", str(path), hint)
    try:
        with np.load(path, allow_pickle=False) as file:
            known = list(file.files)
            array: npt.NDArray[Any] | None = file[feature] if feature in known else None
    except (OSError, ValueError, EOFError, AttributeError) as error:
        raise BadInput.of("eval-features-format", f"not a readable npz file: {error}", str(path)) from error
    if array is None:
        message = f"the file has no {feature!r}"
        raise BadInput.of("eval-features-unknown", message, str(path), f"it has {', '.join(known) or 'nothing'}")
    width = next(found.width for found in pool.manifest.features if found.name == feature)
    if array.ndim != 2 or array.shape[1] != width or array.dtype.kind != "f" or not len(array):
        message = f"{feature} is {array.dtype} of shape {array.shape}, the pool's has width {width}"
        raise BadInput.of("eval-features-shape", message, where=str(path))
    return array.astype(np.float16)
