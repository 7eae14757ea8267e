"""Copies of evaluation images told by their pixels: candidates by coarse likeness, each laid over its image and judged.

Nothing but ten weights is learned, so that it is cheap and the same everywhere. Every image is kept as 32 x 32 pixels.

1. **Candidates.** A sample's middle, cut in three ways and mirrored too, is squeezed to 8 x 8 pixels without its mean
   colour; the evaluation images whose own middles lie nearest by cosine are looked at.
2. **Laying over.** The part of the evaluation image that a sample shows (up to `MOST_CUT` may be gone at every edge) is
   found by least squares, from blurred to sharp (Lucas and Kanade, IJCAI 1981), and with it how light and strong each
   colour is, and how sharp the copy.
3. **Judging.** What is left over, on average and in the worst of 16 parts, against how much detail there is; how far
   the colours and the edges had to be moved; whether it is mirrored. A plain picture with little to see has to agree
   more closely than one of many details. The weights are a logistic regression's.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

VERSION = "pixels@3"
FINE = 32
"""Pixels a side of what is kept of an image."""
SHOWN = 24
"""Pixels a side in which a sample and a part of an evaluation image are compared."""
COARSE = 8
MOST_CUT = 0.12
"""Share of its side that a copy may have lost at each edge."""
MIDDLE = 0.1
"""What candidates are looked for without, at each edge."""
CUTS = (0.0, MIDDLE / 2, MIDDLE)
NEAREST, JUDGED = 4, 8
"""Candidates of each cut, and of a sample in all."""
ROUGH = 0.8
"""Cosine from which an evaluation image is a candidate."""
FLAT = 1.0
"""Images that deviate less than this from one colour are told from nothing."""
BLURS = (0.0, 0.8, 2.0)
"""Of evaluation images, in their pixels: copies may be less sharp."""
START, STEPS, FIRST_STEPS, LONGEST_STEP = 0.04, 3, 5, 0.04
GAINS = (0.6, 1.6)
PARTS = 4
PAIRS = 512
"""That are laid over at a time."""
FEATURES = ("left", "left_of_contrast", "left_off_edges", "worst_part", "colours_apart", "lightness", "cut", "contrast",
            "detail", "mirrored")  # fmt: skip
WEIGHTS = np.array([-4.61, -3.01, 1.59, 0.52, -7.33, -8.67, -6.77, -4.8, 4.9, -0.01])
OFFSET = 13.75
"""Fitted to copies and others of the tiny world and of photographs; the offset such that 0.99 parts them well."""
EXHAUSTIVE = 20_000
"""Evaluation images up to which candidates are looked for among all; beyond, in the nearest of FAISS's cells."""
LOOKED_INTO = 32
"""Cells."""

Singles = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Whole = npt.NDArray[np.intp]


def thumbnail(data: bytes) -> Bytes:
    """What is kept of an encoded image, shape (32, 32, 3). ValueError or OSError as Pillow."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        small = image.convert("RGB").resize((FINE, FINE), Image.Resampling.BOX)
    found: Bytes = np.asarray(small, np.uint8)
    return found


@dataclass(frozen=True)
class Candidates:
    """Pairs that may be copies."""

    samples: Whole
    images: Whole
    mirrored: npt.NDArray[np.bool_]


class Finder:
    """Finds what of some evaluation images samples are copies of."""

    def __init__(self, images: Bytes) -> None:
        """`images`: thumbnails, shape (n, 32, 32, 3)."""
        self.images = images
        self.usable = np.flatnonzero(_deviation(images) >= FLAT)
        self._index = _index([_middle(images[part].astype(np.float32), 0.0) for part in _parts(self.usable)])

    def similarity(self, samples: Bytes) -> Singles:
        """How surely each of (n, 32, 32, 3) thumbnails is a copy of some image, 0 to 1; NaN where it shows nothing."""
        found = np.zeros(len(samples), np.float32)
        pairs = self.candidates(samples)
        for part in _parts(np.arange(pairs.samples.size)):
            own, image, mirrored = pairs.samples[part], pairs.images[part], pairs.mirrored[part]
            shown = np.where(mirrored[:, None, None, None], samples[own][:, :, ::-1], samples[own])
            values = features(self.images[image].astype(np.float32), shown.astype(np.float32), mirrored)
            np.maximum.at(found, own, (1 / (1 + np.exp(-(values @ WEIGHTS + OFFSET)))).astype(np.float32))
        found[_deviation(samples) < FLAT] = np.nan
        return found

    def candidates(self, samples: Bytes) -> Candidates:
        """The pairs to look at, at most `JUDGED` a sample."""
        usable = np.flatnonzero(_deviation(samples) >= FLAT)
        count = min(NEAREST, self.usable.size)
        if not usable.size or not count:
            none = np.empty(0, np.intp)
            return Candidates(none, none, none.astype(np.bool_))
        likeness, images = [], []
        for mirrored in (False, True):
            shown = samples[usable][:, :, ::-1] if mirrored else samples[usable]
            for cut in CUTS:
                found, at = self._index.search(_middle(shown.astype(np.float32), cut), count)
                likeness.append(found)
                images.append(self.usable[at])
        return _best(usable, np.stack(likeness, 1), np.stack(images, 1))


def _index(middles: list[Singles]) -> Any:
    """FAISS's index of unit rows; cells of many rows come from its own fixed seed."""
    import faiss

    width, count = COARSE * COARSE * 3, sum(map(len, middles))
    index: Any = faiss.IndexFlatIP(width)
    if count > EXHAUSTIVE:
        index = faiss.IndexIVFFlat(index, width, 2 * int(count**0.5), faiss.METRIC_INNER_PRODUCT)
        index.nprobe = LOOKED_INTO
        index.train(np.concatenate(middles))
    for part in middles:
        index.add(part)
    return index


def _best(samples: Whole, likeness: Singles, images: Whole) -> Candidates:
    """Of candidates by sample, cut (mirrored ones last) and place, the likeliest, each once."""
    pairs: list[tuple[int, int, bool]] = []
    for sample, near, at in zip(samples.tolist(), likeness, images, strict=True):
        best: dict[tuple[int, bool], float] = {}
        for cut, place in zip(*np.nonzero(near >= ROUGH), strict=True):
            key = (int(at[cut, place]), bool(cut >= len(CUTS)))
            best[key] = max(best.get(key, 0.0), float(near[cut, place]))
        chosen = sorted(best, key=lambda key: (-best[key], key))[:JUDGED]
        pairs += [(sample, image, mirrored) for image, mirrored in chosen]
    table = np.array(pairs, np.intp).reshape(-1, 3)
    return Candidates(table[:, 0], table[:, 1], table[:, 2].astype(np.bool_))


def _parts(rows: Whole) -> Iterator[Whole]:
    yield from (rows[start : start + PAIRS] for start in range(0, len(rows), PAIRS))


def _deviation(images: Bytes) -> Singles:
    return np.concatenate(
        [images[part].std((1, 2), dtype=np.float32).max(1) for part in _parts(np.arange(len(images)))]
        or [np.empty(0, np.float32)]
    )


def _middle(images: Singles, cut: float) -> Singles:
    """The middle of images that have lost `cut` at every edge, as unit rows of shape (n, 192)."""
    low = (MIDDLE - cut) / (1 - 2 * cut)
    weights = _means(FINE, low, 1 - low, COARSE)
    small = np.einsum("ai,nijc,bj->nabc", weights, images, weights, optimize=True)
    rows = (small - small.mean((1, 2), keepdims=True)).reshape(len(images), -1)
    unit: Singles = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)).astype(np.float32)
    return unit


@cache
def _means(pixels: int, low: float, high: float, cells: int) -> Singles:
    """Weights that squeeze a part of an axis to so many cells, shape (cells, pixels)."""
    edges, places = np.linspace(low * pixels, high * pixels, cells + 1), np.arange(pixels)
    share = np.minimum(edges[1:, None], places + 1) - np.maximum(edges[:-1, None], places)
    weights: Singles = (np.clip(share, 0, None) / np.diff(edges)[:, None]).astype(np.float32)
    return weights


@cache
def _blurring(pixels: int, width: float) -> Singles:
    """Weights of a Gaussian along an axis, shape (pixels, pixels)."""
    apart = np.arange(pixels)[:, None] - np.arange(pixels)
    weights = np.exp(-(apart**2) / (2 * width**2)) if width else (apart == 0).astype(float)
    normed: Singles = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return normed


def _both(weights: Singles, images: Singles) -> Singles:
    done: Singles = np.einsum("ai,nijc,bj->nabc", weights, images, weights, optimize=True).astype(np.float32)
    return done


@dataclass
class _Laid:
    """Evaluation images laid over samples."""

    images: Singles
    shown: Singles
    """Samples, shape (n, 24, 24, 3)."""
    edges: Singles
    """Left, right, top and bottom of the part, as shares of a side: (n, 4)."""
    over: Singles = field(init=False)
    gains: Singles = field(init=False)
    left: Singles = field(init=False)

    def fit(self, steps: int) -> None:
        """Move the edges, then say what is left."""
        for _ in range(steps):
            self._compare()
            self._move()
        self._compare()

    def _compare(self) -> None:
        part = _cut_out(self.images, self.edges)
        means, own = part.mean((1, 2), keepdims=True), self.shown.mean((1, 2), keepdims=True)
        centred = part - means
        # As if every colour had varied by 8 more: one that hardly varies says nothing of its strength.
        common, power = (centred * (self.shown - own)).mean((1, 2)), (centred**2).mean((1, 2))
        self.gains = np.clip((common + 64) / (power + 64), *GAINS)
        self.over = centred * self.gains[:, None, None] + own
        self.left = self.shown - self.over

    def _move(self) -> None:
        count = len(self.over)
        at = ((np.arange(SHOWN) + 0.5) / SHOWN).astype(np.float32)
        across, down = at[None, None, :, None], at[None, :, None, None]
        by_x, by_y = (np.gradient(self.over, axis=axis) * SHOWN for axis in (2, 1))
        slopes = np.stack([by_x * (1 - across), by_x * across, by_y * (1 - down), by_y * down], 1)
        slopes = slopes.reshape(count, 4, -1)
        left = self.left.reshape(count, 1, -1)
        weighted = slopes / (1 + (left / 30) ** 2)
        square = weighted @ slopes.transpose(0, 2, 1)
        damping = 2e-3 * np.trace(square, axis1=1, axis2=2) / 4 + 1e3
        square = square + damping[:, None, None] * np.eye(4, dtype=np.float32)
        moves = np.linalg.solve(square.astype(np.float64), (weighted @ left.transpose(0, 2, 1)).astype(np.float64))
        moved = self.edges + np.clip(moves[..., 0], -LONGEST_STEP, LONGEST_STEP).astype(np.float32)
        low, high = moved[:, ::2].clip(0, MOST_CUT), moved[:, 1::2].clip(1 - MOST_CUT, 1)
        self.edges = np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], 1)


def _cut_out(images: Singles, edges: Singles) -> Singles:
    """Parts of images, shape (n, 24, 24, 3), by linear interpolation."""
    count, centres = len(images), (np.arange(SHOWN) + 0.5) / SHOWN
    row = np.arange(count)[:, None]

    def along(low: Singles, high: Singles) -> tuple[Whole, Singles]:
        at = np.clip((low[:, None] + (high - low)[:, None] * centres) * FINE - 0.5, 0, FINE - 1 - 1e-4)
        return at.astype(np.intp), (at - np.floor(at)).astype(np.float32)[..., None, None]

    (x, right), (y, below) = along(edges[:, 0], edges[:, 1]), along(edges[:, 2], edges[:, 3])
    lines = (images[row, y] * (1 - below) + images[row, y + 1] * below).transpose(0, 2, 1, 3)
    parts = (lines[row, x] * (1 - right) + lines[row, x + 1] * right).transpose(0, 2, 1, 3)
    return parts.astype(np.float32, copy=False)


def features(images: Singles, samples: Singles, mirrored: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """What pairs of thumbnails, shape (n, 32, 32, 3), are judged by: (n, 10)."""
    squeeze = _means(FINE, 0.0, 1.0, SHOWN)
    start = np.tile(np.array([START, 1 - START, START, 1 - START], np.float32), (len(images), 1))
    soft = _both(_blurring(FINE, BLURS[-1]), images)
    rough = _Laid(soft, _both(squeeze @ _blurring(FINE, BLURS[-1]), samples), start)
    rough.fit(FIRST_STEPS)
    shown = _both(squeeze, samples)
    best: npt.NDArray[np.float64] = np.empty((0, 0))
    for blur in BLURS:
        own = images if not blur else soft if blur == BLURS[-1] else _both(_blurring(FINE, blur), images)
        laid = _Laid(own, shown, rough.edges)
        laid.fit(STEPS)
        values = _judged(laid)
        best = np.where((values[:, 0] < best[:, 0])[:, None], values, best) if best.size else values
    return np.concatenate([best, mirrored[:, None]], 1)


def _judged(laid: _Laid) -> npt.NDArray[np.float64]:
    """The features but `mirrored`."""
    over, left, edges = laid.over, laid.left, laid.edges
    contrast = np.sqrt(((over - over.mean((1, 2), keepdims=True)) ** 2).mean((1, 2, 3)))
    slopes = np.abs(np.gradient(over, axis=1)) + np.abs(np.gradient(over, axis=2))
    side = SHOWN // PARTS
    parts = (left**2).reshape(-1, PARTS, side, PARTS, side, 3).mean((2, 4, 5)).max((1, 2))
    rms = np.sqrt((left**2).mean((1, 2, 3)))
    columns: list[Any] = [
        np.log(rms + 0.5),
        np.log(rms / np.maximum(contrast, 1e-3) + 0.01),
        np.log((left**2 / (25 + (0.3 * slopes) ** 2)).mean((1, 2, 3)) + 0.01),
        np.log(np.sqrt(parts) + 0.5),
        np.ptp(laid.gains, axis=1),
        np.abs(np.log(laid.gains)).max(1),
        edges[:, 0] + 1 - edges[:, 1] + edges[:, 2] + 1 - edges[:, 3],
        np.log(contrast + 1e-3),
        np.log(slopes.mean((1, 2, 3)) + 0.1),
    ]
    return np.stack(columns, 1).astype(np.float64)
