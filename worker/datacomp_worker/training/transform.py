"""The trainer's own image transform, without what it does in vain. Every value is the one that it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from open_clip.transform import MaybeConvertMode, MaybeToTensor
from PIL import Image
from torchvision.transforms import Compose, Normalize

PIECE = 1 << 20
"""Bytes of pixels that are looked up at once: they and their values stay in the processor's cache."""
Each = Callable[[Image.Image], Any]


@dataclass(frozen=True)
class SplitTransform:
    """A training transform whose last part, to tensor and normalise, is applied to whole batches.

    That part makes of each of 256 pixel values a float, channel by channel: it is carried out once for every pixel
    value, and looked up from then on.
    """

    each: Each
    values: npt.NDArray[np.float32] | None
    """What each channel's pixel values become, shape (3, 256); None for a transform that stays whole."""

    @classmethod
    def of(cls, transform: Any) -> SplitTransform:
        """Split open_clip's transform for RGB images; one that ends otherwise stays whole."""
        parts = list(getattr(transform, "transforms", ()))
        if [type(part) for part in parts[-2:]] != [MaybeToTensor, Normalize]:
            return cls(transform, None)
        needed = [part for part in parts[:-2] if type(part) is not MaybeConvertMode]  # it copies what is RGB already
        return cls(Compose(needed), _values(parts[-1]))

    def join(self, images: Sequence[Any]) -> torch.Tensor:
        """What `each` gave for every image of a batch, as one tensor, shape (batch, 3, side, side)."""
        if self.values is None:
            return torch.stack(tuple(images))
        width, height = images[0].size
        batch = np.empty((len(images), 3, height, width), np.float32)
        step = max(1, PIECE // (3 * height * width))
        for begin in range(0, len(images), step):
            pixels = np.stack([np.asarray(image) for image in images[begin : begin + step]])
            for channel, values in enumerate(self.values):
                np.take(values, pixels[..., channel], out=batch[begin : begin + step, channel], mode="clip")
        return torch.from_numpy(batch)


def _values(normalise: Normalize) -> npt.NDArray[np.float32]:
    pixels = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256).to(torch.float32).div(255)
    values: npt.NDArray[np.float32] = normalise(pixels).reshape(3, 256).numpy()
    return values
