"""Blurring faces, by the method of the original's resharder (that of ImageNet's face obfuscation).

Every box of `face_bboxes` (x0, y0, x1, y1 as shares of width and height) is enlarged on each side by a tenth of its
longer side. The image blurred by a Gaussian, whose deviation is a tenth of the longest side of all boxes, replaces the
image inside, through a mask that the same Gaussian softens. The result is WebP of quality 100. The original blurs by
OpenCV, this by Pillow, whose Gaussian is approximated by boxes: pixels differ slightly.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

SHARE = 0.1
QUALITY = 100
Box = Sequence[float]


def blur_faces(image: bytes, boxes: Sequence[Box]) -> bytes:
    """The image with its faces blurred, as WebP. OSError or ValueError when it cannot be decoded."""
    from PIL import Image, ImageFilter

    with Image.open(io.BytesIO(image)) as opened:
        picture = opened.convert("L" if opened.mode in {"1", "L", "I;16"} else "RGB")
    mask, deviation = _mask(picture.size, boxes)
    gaussian = ImageFilter.GaussianBlur(deviation)
    soft = Image.fromarray(mask).filter(gaussian)
    out = io.BytesIO()
    Image.composite(picture.filter(gaussian), picture, soft).convert("RGB").save(out, "WEBP", quality=QUALITY)
    return out.getvalue()


def _mask(size: tuple[int, int], boxes: Sequence[Box]) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint8]], float]:
    """255 inside the enlarged boxes, shape (height, width); and the Gaussian's deviation in pixels."""
    width, height = size
    mask = np.zeros((height, width), np.uint8)
    longest = 0
    for box in boxes:
        x0, y0, x1, y1 = (int(share * side) for share, side in zip(box, (width, height) * 2, strict=True))
        side = max(x1 - x0, y1 - y0)
        longest = max(longest, side)
        x0, y0 = (int(place - SHARE * side) for place in (x0, y0))
        x1, y1 = (int(place + SHARE * side) for place in (x1, y1))
        columns = slice(*(min(max(place, 0), width - 1) for place in (x0, x1)))
        rows = slice(*(min(max(place, 0), height - 1) for place in (y0, y1)))
        mask[rows, columns] = 255
    return mask, SHARE * longest
