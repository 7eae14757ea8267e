"""NormSim: how near an image lies to a target set, alone or among the best of negCLIPLoss.

Wang et al. 2024, "CLIPLoss and Norm-Based Data Selection Methods" (arXiv:2405.19547): the p-norm of an image's inner
products with all target images, p = 2 or infinity (then the largest magnitude); their best result keeps 30 % by
negCLIPLoss, of those 20 % of the pool by NormSim. A fraction is cut as everywhere here, with ties and one row more.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.filtering import Filter
from datacomp.filtering.selection import select
from datacomp.pool import Pool
from datacomp.pool.clusters import read_vectors
from datacomp.problems import BadInput
from datacomp_filters.clip_score import clip_rule, score_column
from datacomp_filters.negclip_loss import NegClipLoss

CELLS = 1 << 22
"""Products held at a time."""


class NormSim(Filter):
    """Keeps images by their NormSim to `targets`: an npy of image features, or an npz with `{arch}_img`."""

    def __init__(
        self,
        targets: str,
        p: str = "inf",
        arch: str = "l14",
        threshold: float | None = None,
        fraction: float | None = None,
    ) -> None:
        score_column(arch)
        if p not in {"2", "inf"}:
            raise BadInput.of("filter-parameter", f"no norm {p!r}", "p", "2 or inf")
        self.features, self.rule = (f"{arch}_img",), clip_rule(threshold, fraction)
        vectors = _targets(Path(targets), f"{arch}_img").astype(np.float64)
        if not np.isfinite(vectors).all():
            raise BadInput.of("targets-nan", "some target features are NaN or infinite", where=targets)
        self.squares = vectors.T @ vectors if p == "2" else None
        self.vectors = vectors

    def select(self, pool: Pool) -> npt.NDArray[np.float32]:
        """The NormSim of each row. Not by `score`: of another batch size, a product may round to another last bit."""
        scores = np.empty(pool.rows, np.float32)
        for part in pool.shard_rows():
            scores[part.start : part.stop] = self.measure(pool.features(self.features[0], part.shard))
        return scores

    def measure(self, features: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """NormSim of features of shape (rows, width): shape (rows,). `BadInput` for another width than the targets'."""
        if features.shape[1] != self.vectors.shape[1]:
            message = f"the features are {features.shape[1]} wide, the targets {self.vectors.shape[1]}"
            raise BadInput.of("targets-width", message)
        scores = np.empty(len(features), np.float32)
        step = max(CELLS // max(self.vectors.shape), 1)
        for start in range(0, len(features), step):
            wide = np.asarray(features[start : start + step]).astype(np.float64)
            if self.squares is not None:  # the sum of squared products, without the products
                value = np.sqrt(np.maximum(((wide @ self.squares) * wide).sum(axis=1), 0))
            else:
                value = np.abs(wide @ self.vectors.T).max(axis=1)
            scores[start : start + step] = value
        return scores


class NegClipNormSim(Filter):
    """Keeps, among the best `first` of the pool by negCLIPLoss, the best `fraction` of the pool by NormSim."""

    def __init__(
        self,
        targets: str,
        fraction: float = 0.2,
        first: float = 0.3,
        p: str = "inf",
        arch: str = "l14",
        batch: int = 32768,
        draws: int = 10,
        temperature: float = 0.01,
        seed: int = 0,
    ) -> None:
        if not fraction <= first:
            raise BadInput.of("filter-parameter", "fraction is at most first: both are of the whole pool", "fraction")
        self.near = NormSim(targets, p, arch, fraction=fraction)
        self.loss = NegClipLoss(first, arch, batch, draws, temperature, seed)
        self.rule, self.features = self.near.rule, self.loss.features

    def select(self, pool: Pool) -> npt.NDArray[np.float32]:
        """NormSim where negCLIPLoss keeps the row, minus infinity elsewhere."""
        kept = select(pool, self.loss.select(pool), self.loss.rule).counts
        return np.where(kept, self.near.select(pool), np.float32(-np.inf))


def _targets(path: Path, name: str) -> npt.NDArray[Any]:
    if path.suffix != ".npz":
        return read_vectors(path, "targets")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            array: npt.NDArray[Any] = arrays[name]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BadInput.of("targets-format", f"no readable {name} in this npz: {error}", str(path)) from error
    if array.ndim != 2 or not array.size or array.dtype.kind != "f":
        raise BadInput.of("targets-shape", f"it holds {array.dtype} of shape {array.shape}", where=str(path))
    return array
