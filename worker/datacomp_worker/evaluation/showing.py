"""Images as a variation shows them: the same pixels on every machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datacomp.variation import Variation

if TYPE_CHECKING:
    from PIL.Image import Image

GREY = (127, 127, 127)
"""What surrounds an image that was made smaller."""


def show(image: Image, variation: Variation) -> Image:
    """An RGB image, turned, inverted and resized in this order; its size stays, but for the sides of a quarter turn."""
    from PIL import Image as Images
    from PIL import ImageOps

    turns = {90: Images.Transpose.ROTATE_90, 180: Images.Transpose.ROTATE_180, 270: Images.Transpose.ROTATE_270}
    if variation.rotate:
        image = image.transpose(turns[variation.rotate])
    if variation.invert:
        image = ImageOps.invert(image)
    if variation.scale != 1.0:
        image = _scaled(image, variation.scale)
    return image


def _scaled(image: Image, scale: float) -> Image:
    from PIL import Image as Images

    width, height = (max(1, round(side * scale)) for side in image.size)
    resized = image.resize((width, height), Images.Resampling.BICUBIC)
    whole = Images.new("RGB", image.size, GREY)
    whole.paste(resized, ((image.width - width) // 2, (image.height - height) // 2))
    return whole
