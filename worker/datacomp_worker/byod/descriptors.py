"""What near-duplicates are told by where there is no embedding of a submitted image: its pixels, coarsely.

Nothing is learned, so that it needs no weights and is the same everywhere. An image is squeezed to 16 x 16 pixels; of
those, each colour's mean is taken away, and what is left is brought to unit length, so that lightness and contrast do
not count. Copies in another size or quality lie at cosines near 1.

Copies that lost a strip at their edges are found by trying: the evaluation image loses `MARGIN` at every edge, the
sample none, half or all of it at each, so that one of the 81 pairs shows about the same part. Larger crops, mirrored
pictures and pictures within pictures are not found.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

SIDE = 16
WIDTH = SIDE * SIDE * 3
FEATURE = "pixels"
"""Name of the descriptors among a pool's features."""
VERSION = "pixels@2"
"""Of looking for copies of evaluation images."""
MARGIN = 1 / 32
"""Share of its side that a copy may have lost at each edge."""
STEPS = (0.0, MARGIN / 2, MARGIN)
CUTS = tuple((before, after) for before in STEPS for after in STEPS)
"""What is cut off both ends of one axis."""
FINE = 64
"""Pixels a side of what is cut from."""
FLAT = 1.0
"""Images whose pixels deviate less than this from one colour have no descriptor: all plain ones would look alike."""
Half = npt.NDArray[np.float16]


def descriptor(data: bytes) -> Half:
    """The descriptor of an encoded image, shape (768,); zeros where it has none. ValueError or OSError as Pillow."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
    pixels = np.asarray(small, np.float64)
    centred = pixels - pixels.mean((0, 1))
    length = float(np.sqrt((centred**2).sum()))
    if length < FLAT * SIDE:
        return np.zeros(WIDTH, np.float16)
    found: Half = (centred / length).reshape(-1).astype(np.float16)
    return found


def trimmed(data: bytes) -> Half:
    """The descriptor of an image without its margins, shape (768,). Errors as `descriptor`."""
    found: Half = _unit(_shown(_fine(data), ((MARGIN, MARGIN),)))[0]
    return found


def middle(data: bytes) -> Half:
    """The same with half the margins: about what `trimmed` shows of what a copy lost. Shape (768,)."""
    found: Half = _unit(_shown(_fine(data), ((MARGIN / 2, MARGIN / 2),)))[0]
    return found


def variants(data: bytes) -> Half:
    """Descriptors of all cuts of an image, shape (81, 768)."""
    return _unit(_shown(_fine(data), CUTS))


def _fine(data: bytes) -> npt.NDArray[np.float32]:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        small = image.convert("RGB").resize((FINE, FINE), Image.Resampling.BOX)
    fine: npt.NDArray[np.float32] = np.asarray(small, np.float32)
    return fine


def _shown(fine: npt.NDArray[np.float32], cuts: tuple[tuple[float, float], ...]) -> npt.NDArray[np.float32]:
    """Squeezed to 16 x 16 pixels after every pair of vertical and horizontal cuts, shape (cuts squared, 256, 3)."""
    weights = np.concatenate([_box(cut) for cut in cuts])
    rows = np.tensordot(weights, fine, (1, 0))
    both = np.tensordot(rows, weights, (1, 1)).transpose(0, 2, 1)
    parts = both.reshape(len(cuts), SIDE, len(cuts), SIDE, 3).transpose(0, 2, 1, 3, 4)
    shown: npt.NDArray[np.float32] = np.ascontiguousarray(parts).reshape(len(cuts) ** 2, SIDE * SIDE, 3)
    return shown


@cache
def _box(cut: tuple[float, float]) -> npt.NDArray[np.float32]:
    """The means that squeeze an axis of `FINE` pixels to `SIDE` after shares are cut off its ends: (SIDE, FINE)."""
    edges = np.linspace(cut[0] * FINE, (1 - cut[1]) * FINE, SIDE + 1)
    pixels = np.arange(FINE)
    low, high = np.maximum(edges[:-1, None], pixels), np.minimum(edges[1:, None], pixels + 1)
    means: npt.NDArray[np.float32] = (np.clip(high - low, 0, None) / np.diff(edges)[:, None]).astype(np.float32)
    return means


def _unit(shown: npt.NDArray[np.float32]) -> Half:
    """Unit rows without their colours' means, shape (n, 768); zeros for flat ones."""
    centred = (shown - shown.mean(1, keepdims=True)).reshape(len(shown), -1).astype(np.float64)
    lengths = np.sqrt((centred**2).sum(1, keepdims=True))
    unit: npt.NDArray[Any] = np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths >= FLAT * SIDE)
    half: Half = unit.astype(np.float16)
    return half


def stacked(rows: Iterable[Half]) -> Half:
    """Descriptors as one matrix, shape (n, 768)."""
    found: Iterator[Half] = iter(rows)
    parts = list(found)
    return np.stack(parts) if parts else np.empty((0, WIDTH), np.float16)
