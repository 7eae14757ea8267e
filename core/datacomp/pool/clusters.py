"""The nearest centroid of every image: by inner product over CLIP ViT-L/14 features, as DataComp's `image_based` does.

Products are taken in float32 by blocks; where the best two lie closer than float32 can tell, they are taken again in
float64, in which float16 features times float32 centroids add up exactly enough. So the answer does not depend on
blocks, threads or the kind of processor, and equal centroids go to the lower number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.digests import digest_file
from datacomp.problems import BadInput

FEATURE = "l14_img"
BLOCK = 1 << 24
"""Inner products held at a time."""
CLOSE = 1e-5
"""What float32 may err by, relative to the lengths of feature and centroid."""
Floats = npt.NDArray[Any]


@dataclass(frozen=True)
class Centroids:
    """A file of centroids, shape (clusters, width); picklable, so that every process maps its own."""

    path: Path
    digest: str

    @classmethod
    def at(cls, path: Path) -> Centroids:
        """Name the file by its digest. `BadInput` when it holds no centroids."""
        read_vectors(path, "centroids")
        return cls(path, digest_file(path))

    def load(self) -> Floats:
        """The centroids as float32."""
        return read_vectors(self.path, "centroids").astype(np.float32)


def read_vectors(path: Path, what: str) -> Floats:
    """An npy of float16, float32 or float64 vectors, mapped. `BadInput` (`<what>-...`) when it is none."""
    if not path.is_file():
        raise BadInput.of(f"{what}-missing", "there is no such file", where=str(path))
    try:
        array: Floats = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        hint = "save it with numpy.save; a .pt file of the original is a pickle: convert it where you trust it"
        raise BadInput.of(f"{what}-format", f"not a readable npy file: {error}", str(path), hint) from error
    if array.ndim != 2 or not array.size or array.dtype.kind != "f":
        message = f"it holds {array.dtype} of shape {array.shape}, not floats of shape (n, width)"
        raise BadInput.of(f"{what}-shape", message, where=str(path))
    return array


def nearest(features: Floats, centroids: Floats) -> npt.NDArray[np.int32]:
    """The centroid of the largest inner product of each row, the lower number among equals: shape (len(features),)."""
    if features.shape[1] != centroids.shape[1]:
        message = f"the features are {features.shape[1]} wide, the centroids {centroids.shape[1]}"
        raise BadInput.of("centroids-width", message)
    reach = float(np.linalg.norm(centroids, axis=1).max())
    parts = [_block(block, centroids, reach) for block in _blocks(features, len(centroids))]
    return np.concatenate(parts) if parts else np.empty(0, np.int32)


def _blocks(features: Floats, clusters: int) -> Iterator[Floats]:
    size = max(BLOCK // clusters, 1)
    for start in range(0, len(features), size):
        yield np.asarray(features[start : start + size])


def _block(features: Floats, centroids: Floats, reach: float) -> npt.NDArray[np.int32]:
    wide = features.astype(np.float32)
    products = wide @ centroids.T
    found: npt.NDArray[np.int32] = products.argmax(axis=1).astype(np.int32)
    best = products[np.arange(len(found)), found]
    least = best - CLOSE * reach * np.linalg.norm(wide, axis=1)
    rivals = (products >= least[:, None]).sum(axis=1)
    for row in np.flatnonzero(rivals != 1):  # NaN has no rival at all
        found[row] = _decide(wide[row], np.flatnonzero(products[row] >= least[row]), centroids)
    return found


def _decide(feature: Floats, candidates: npt.NDArray[np.int64], centroids: Floats) -> int:
    """Among a few candidates, in float64. A row of NaN goes to the first centroid, as an argmax over NaN does."""
    if not candidates.size:
        return 0
    exact = (feature.astype(np.float64) * centroids[candidates].astype(np.float64)).sum(axis=1)
    return int(candidates[np.argmax(exact)])
