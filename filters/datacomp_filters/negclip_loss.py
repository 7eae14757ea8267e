"""negCLIPLoss: a pair's similarity, less how similar its image and its caption are to everything else.

Wang et al. 2024, "CLIPLoss and Norm-Based Data Selection Methods" (arXiv:2405.19547). The score is the similarity minus
temperature / 2 times the mean, over random batches, of the two log normalisers of CLIP's loss (image to captions and
caption to images); temperature 0.01, batches of 32,768 and 10 draws are the paper's. Simplified: the authors cut each
file of the pool into random batches anew for every draw; here all rows are held against the same few random batches of
the whole pool, each with the row's own pair added where the batch lacks it, so features are read in order. A fraction
is cut as everywhere here, with ties and one row more. Products are taken in float64 and scores rounded to float32, so
blocks and threads do not show but for a rare last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.filtering import Filter
from datacomp.pool import Pool
from datacomp.problems import BadInput
from datacomp_filters.clip_score import clip_rule, score_column
from datacomp_filters.drawing import hashes

CELLS = 1 << 22
"""Products held at a time."""
Floats = npt.NDArray[np.float64]


class NegClipLoss(Filter):
    """Keeps the top fraction by negCLIPLoss under one reference CLIP, `b32` or `l14`."""

    def __init__(
        self,
        fraction: float,
        arch: str = "l14",
        batch: int = 32768,
        draws: int = 10,
        temperature: float = 0.01,
        seed: int = 0,
    ) -> None:
        score_column(arch)
        if batch < 1 or draws < 1 or not temperature > 0:
            raise BadInput.of("filter-parameter", "batch, draws and temperature are above 0", "batch")
        self.features = (f"{arch}_img", f"{arch}_txt")
        self.rule = clip_rule(None, fraction)
        self.batch, self.draws, self.temperature, self.seed = batch, draws, temperature, seed

    def select(self, pool: Pool) -> npt.NDArray[np.float32]:
        """The score of each row."""
        for name in self.features:
            pool.require_feature(name)
        scores = np.zeros(pool.rows, np.float64)
        for draw in range(self.draws):  # one batch in memory at a time
            rows = self._drawn(pool, draw)
            images, texts = (_gather(pool, name, rows) for name in self.features)
            whole = np.isfinite(images).all(axis=1) & np.isfinite(texts).all(axis=1)
            member = np.zeros(pool.rows, np.bool_)
            member[rows[whole]] = True
            with np.errstate(invalid="ignore"):  # rows without finite features get NaN, and go
                self._add(pool, images[whole], texts[whole], member, scores)
        return (scores / self.draws).astype(np.float32)

    def _drawn(self, pool: Pool, draw: int) -> npt.NDArray[np.int64]:
        """The rows of one random batch, by ascending uid: the rows of the smallest hashes."""
        drawn = hashes(np.asarray(pool.sorted_uids), self.seed, draw + 1)
        places = np.sort(np.argsort(drawn, kind="stable")[: self.batch])
        return np.asarray(pool.uid_order)[places].astype(np.int64)

    def _add(self, pool: Pool, images: Floats, texts: Floats, member: npt.NDArray[np.bool_], scores: Floats) -> None:
        step = max(CELLS // max(len(images), 1), 1)
        for part in pool.shard_rows():
            img, txt = (pool.features(name, part.shard) for name in self.features)
            for start in range(0, part.stop - part.start, step):
                v, t = (np.asarray(a[start : start + step]).astype(np.float64) for a in (img, txt))
                rows = slice(part.start + start, part.start + start + len(v))
                own = (v * t).sum(axis=1)
                norms = [self._normaliser(a @ others.T, own, member[rows]) for a, others in ((v, texts), (t, images))]
                scores[rows] += own - self.temperature / 2 * (norms[0] + norms[1])

    def _normaliser(self, products: Floats, own: Floats, member: npt.NDArray[np.bool_]) -> Floats:
        """log of the sum of exp(product / temperature) over the batch and the row's own pair."""
        logits = products / self.temperature
        own = own / self.temperature
        top = np.maximum(logits.max(axis=1, initial=-np.inf), own)
        total = np.exp(logits - top[:, None]).sum(axis=1) + np.where(member, 0.0, np.exp(own - top))
        result: Floats = top + np.log(total)
        return result


def _gather(pool: Pool, name: str, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Features of rows in any order, as float64."""
    order = np.argsort(rows, kind="stable")
    out = np.empty((len(rows), next(f.width for f in pool.manifest.features if f.name == name)), np.float64)
    out[order] = pool.gather(name, rows[order])
    return out
