"""What near-duplicates among submitted images are told by where there is no embedding of them: their pixels, coarsely.

Nothing is learned, so that it needs no weights and is the same everywhere. An image is squeezed to 16 x 16 pixels; of
those, each colour's mean is taken away, and what is left is brought to unit length, so that lightness and contrast do
not count. Copies in another size or quality lie at cosines near 1. Copies of evaluation images are told by `copies`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

SIDE = 16
WIDTH = SIDE * SIDE * 3
FEATURE = "pixels"
"""Name of the descriptors among a pool's features."""
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


def stacked(rows: Iterable[Half]) -> Half:
    """Descriptors as one matrix, shape (n, 768)."""
    parts = list(rows)
    return np.stack(parts) if parts else np.empty((0, WIDTH), np.float16)
