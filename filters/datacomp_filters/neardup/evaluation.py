"""How near every row of a pool is to the images of an evaluation suite: the column behind `near(eval)`.

The suite's images are known by their features, in an npz of the pool's own feature names: whoever evaluates has the
images, and the features must come from the model that made the pool's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.filtering.functions import EVAL_SIMILARITY
from datacomp.pool import Pool
from datacomp.pool.join import write_column, write_manifest
from datacomp.pool.manifest import PACK
from datacomp.problems import BadInput
from datacomp_filters.neardup.progress import Report, silent
from datacomp_filters.neardup.rows import Half, Rows

EVAL_FEATURES = "eval_features.npz"
"""The file's name beside a suite's tasks."""
PRODUCTS = 1 << 24
"""Cosines held at a time."""


def add_similarity(directory: Path, features: Path, feature: str, report: Report = silent) -> str:
    """Add the column `eval_similarity` to a pool: each row's cosine to the nearest evaluation image, NaN for rows
    without a feature. Returns the pool's new digest. `BadInput` for a file that does not fit the pool."""
    pool = Pool.open(directory)
    pool.require_feature(feature)
    images = Rows.of(read_features(features, feature, pool))
    found = np.full(pool.rows, np.nan, np.float32)
    size = max(1, PRODUCTS // len(images.features))
    for part in pool.shard_rows():
        own = np.asarray(pool.features(feature, part.shard))
        for start in range(0, len(own), size):
            block = own[start : start + size]
            found[part.start + start : part.start + start + len(block)] = nearest_cosine(Rows.of(block), images)
            report("comparing", part.start + start + len(block), pool.rows)
    column = write_column(directory / PACK / "columns", EVAL_SIMILARITY, found).as_added()
    manifest = pool.manifest.with_columns([column])
    write_manifest(directory, manifest)
    return manifest.digest


def nearest_cosine(rows: Rows, images: Rows) -> npt.NDArray[np.float64]:
    """The largest cosine of each row to any image, shape (n,), NaN without a feature. Found in float32 and decided in
    float64, so that it depends neither on blocks nor on the processor."""
    best = np.full(len(rows.features), np.nan)
    own, others = np.flatnonzero(rows.usable), np.flatnonzero(images.usable)
    if not own.size or not others.size:
        return best
    cosines = rows.unit(own) @ images.unit(others).T
    margin = (rows.features.shape[1] + 16) * 2.0**-22
    i, j = np.nonzero(cosines >= cosines.max(axis=1, keepdims=True) - margin)
    best[own] = -np.inf
    for start in range(0, i.size, 1 << 14):
        a, b = own[i[start : start + (1 << 14)]], others[j[start : start + (1 << 14)]]
        products = np.einsum("ij,ij->i", rows.exact(a), images.exact(b))
        np.maximum.at(best, a, products / (np.sqrt(rows.squares[a]) * np.sqrt(images.squares[b])))
    return best


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
