"""negCLIPLoss: a pair's similarity, less how similar its image and its caption are to everything else.

Wang et al. 2024, "CLIPLoss and Norm-Based Data Selection Methods" (arXiv:2405.19547). The score is the similarity minus
temperature / 2 times the mean, over random batches, of the two log normalisers of CLIP's loss (image to captions and
caption to images); temperature 0.01, batches of 32,768 and 10 draws are the paper's. Simplified: the authors cut each
file of the pool into random batches anew for every draw; here all rows are held against the same few random batches of
the whole pool, each with the row's own pair added where the batch lacks it, so features are read in order. A fraction
is cut as everywhere here, with ties and one row more. Products are taken in float64 and scores rounded to float32, so
blocks, threads and kind of processor do not show but for a rare last bit.

That is 4 x batch x width products a row and draw: on a CPU core some 40 ms a row with the paper's settings, so they
suit 100,000 rows there, or a million with `--batch 2048`. A GPU takes over where PyTorch sees one.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from datacomp.filtering import Filter
from datacomp.pool import Pool
from datacomp.problems import BadInput
from datacomp_filters.clip_score import clip_rule, score_column
from datacomp_filters.drawing import hashes

CELLS = 1 << 22
"""Products held at a time on a CPU."""
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
            self._add(pool, others_of(images[whole], texts[whole], self.temperature), member, scores)
        return (scores / self.draws).astype(np.float32)

    def _drawn(self, pool: Pool, draw: int) -> npt.NDArray[np.int64]:
        """The rows of one random batch, by ascending uid: the rows of the smallest hashes."""
        drawn = hashes(np.asarray(pool.sorted_uids), self.seed, draw + 1)
        size = min(self.batch, drawn.size)
        places = np.sort(np.argpartition(drawn, size - 1)[:size]) if size else np.empty(0, np.int64)
        return np.asarray(pool.uid_order)[places].astype(np.int64)

    def _add(self, pool: Pool, others: Others, member: npt.NDArray[np.bool_], scores: Floats) -> None:
        for part in pool.shard_rows():
            img, txt = (pool.features(name, part.shard) for name in self.features)
            for start in range(0, part.stop - part.start, others.rows):
                v, t = (np.asarray(a[start : start + others.rows]).astype(np.float64) for a in (img, txt))
                rows = slice(part.start + start, part.start + start + len(v))
                own = (v * t).sum(axis=1)
                with np.errstate(invalid="ignore"):  # rows without finite features get NaN, and go
                    scores[rows] += own - self.temperature / 2 * others.normalisers(v, t, own, member[rows])


class Others(Protocol):
    """A random batch that rows are held against."""

    rows: int
    """How many rows at a time."""

    def normalisers(self, images: Floats, texts: Floats, own: Floats, member: npt.NDArray[np.bool_]) -> Floats:
        """The two log sums of exp(product / temperature) over the batch and the row's own pair, added up."""


def others_of(images: Floats, texts: Floats, temperature: float) -> Others:
    """A batch on the GPU where there is one, else on the CPU."""
    device = gpu()
    return OnDevice(images, texts, temperature, device) if device else OnCpu(images, texts, temperature)


def gpu() -> str | None:
    """PyTorch's name of a GPU; PyTorch is not even imported where the system has none."""
    if not any(Path("/dev").glob("nvidia[0-9]*")) or find_spec("torch") is None:
        return None
    import torch

    return "cuda" if torch.cuda.is_available() else None


class OnCpu:
    """In NumPy."""

    def __init__(self, images: Floats, texts: Floats, temperature: float) -> None:
        self.images, self.texts, self.temperature = images, texts, temperature
        self.rows = max(CELLS // max(len(images), 1), 1)

    def normalisers(self, images: Floats, texts: Floats, own: Floats, member: npt.NDArray[np.bool_]) -> Floats:
        """See `Others`."""
        return self._one(images @ self.texts.T, own, member) + self._one(texts @ self.images.T, own, member)

    def _one(self, logits: Floats, own: Floats, member: npt.NDArray[np.bool_]) -> Floats:
        logits /= self.temperature
        own = own / self.temperature
        top = np.maximum(logits.max(axis=1, initial=-np.inf), own)
        logits -= top[:, None]
        total = np.exp(logits, out=logits).sum(axis=1) + np.where(member, 0.0, np.exp(own - top))
        result: Floats = top + np.log(total)
        return result


class OnDevice:
    """In PyTorch, in float64 as well."""

    def __init__(self, images: Floats, texts: Floats, temperature: float, device: str) -> None:
        import torch

        self.torch, self.device, self.temperature = torch, device, temperature
        self.images, self.texts = self._there(images), self._there(texts)
        self.rows = max(16 * CELLS // max(len(images), 1), 1)

    def _there(self, array: npt.NDArray[Any]) -> Any:
        return self.torch.from_numpy(array).to(self.device)

    def normalisers(self, images: Floats, texts: Floats, own: Floats, member: npt.NDArray[np.bool_]) -> Floats:
        """See `Others`."""
        rest = self._there(np.where(member, -np.inf, own))[:, None]
        sums = [
            self.torch.logsumexp(self.torch.cat([self._there(rows) @ others.T, rest], 1) / self.temperature, 1)
            for rows, others in ((images, self.texts), (texts, self.images))
        ]
        result: Floats = (sums[0] + sums[1]).cpu().numpy()
        return result


def _gather(pool: Pool, name: str, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Features of rows in any order, as float64."""
    order = np.argsort(rows, kind="stable")
    out = np.empty((len(rows), next(f.width for f in pool.manifest.features if f.name == name)), np.float64)
    out[order] = pool.gather(name, rows[order])
    return out
