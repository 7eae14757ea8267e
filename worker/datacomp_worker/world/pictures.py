"""From drawn canvases to the image files of a pool: original shape, copies, compression."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from datacomp_worker.world.corpus import Frame, Origin, Pair
from datacomp_worker.world.render import Floats, Pixels, render
from datacomp_worker.world.scenes import Scene

LONGER_SIDE = (40, 64)
"""Pixels of a stored image's longer side, from and to."""
BLOCK = 1024
"""Scenes drawn between two reports."""
ICON = (9, 15)
"""Detail of an image that was small: it is reduced to this many pixels before it is stored."""


def draw(
    scenes: Sequence[Scene], handwriting: Floats, rng: np.random.Generator, report: Callable[[str, float], None]
) -> Pixels:
    """Canvases of all scenes, (n, SIDE, SIDE, 3). `report` gets (what, share drawn)."""
    drawn = []
    for start in range(0, len(scenes), BLOCK):
        drawn.append(render(scenes[start : start + BLOCK], handwriting, rng))
        report("pictures", min(start + BLOCK, len(scenes)) / len(scenes))
    return np.concatenate(drawn)


def encode_all(
    pairs: Sequence[Pair], pool: Pixels, suite: Pixels, rng: np.random.Generator, threads: int = 2
) -> list[bytes]:
    """Every pair's JPEG. Same bytes at any number of threads."""
    luck = rng.random((len(pairs), 8))

    def one(i: int) -> bytes:
        pair = pairs[i]
        canvas = suite[pair.picture] if pair.origin == Origin.LEAKED else pool[pair.picture]
        return encode(canvas, pair, luck[i])

    with ThreadPoolExecutor(threads) as executor:
        return list(executor.map(one, range(len(pairs))))


def encode(canvas: Pixels, pair: Pair, luck: np.ndarray) -> bytes:
    """One pair's JPEG from its (SIDE, SIDE, 3) canvas; `luck` is 8 numbers in 0..1."""
    image = Image.fromarray(canvas)
    if pair.origin != Origin.FRESH:
        image = _copy(image, luck)
    longer = round(LONGER_SIDE[0] + (LONGER_SIDE[1] - LONGER_SIDE[0]) * float(luck[0]))
    scale = longer / max(pair.width, pair.height)
    size = (max(round(pair.width * scale), 8), max(round(pair.height * scale), 8))
    if pair.frame == Frame.SMALL:
        detail = round(ICON[0] + (ICON[1] - ICON[0]) * float(luck[1]))
        image = image.resize((detail, detail), Image.Resampling.BOX)
    image = image.resize(size, Image.Resampling.BILINEAR)
    return jpeg(image, round(70 + 25 * float(luck[2])))


def _copy(image: Image.Image, luck: np.ndarray) -> Image.Image:
    """A copy as sites make them: a few pixels cut from the edges, a little lighter or darker, compressed before."""
    left, top, right, bottom = (float(x) for x in np.floor(luck[3:7] * 3))
    cropped = image.crop((int(left), int(top), image.width - int(right), image.height - int(bottom)))
    lightness = 0.94 + 0.12 * float(luck[7])
    return Image.open(io.BytesIO(jpeg(cropped.point(lambda value: value * lightness), 80)))


def jpeg(image: Image.Image, quality: int) -> bytes:
    """The image as JPEG."""
    return _bytes(image, "JPEG", quality=quality)


def encode_as(extension: str, canvas: Pixels) -> bytes:
    """A canvas as `jpg`, `png` or `webp` file."""
    image = Image.fromarray(canvas)
    if extension == "png":
        return _bytes(image, "PNG")
    return _bytes(image, {"jpg": "JPEG", "webp": "WEBP"}[extension], quality=92)


def _bytes(image: Image.Image, file_format: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def decode(data: bytes, side: int) -> Pixels:
    """Pixels of an image file squeezed to (side, side, 3)."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BOX))
