"""Real handwritten digits, as scikit-learn carries them, divided between the parts of the world."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datacomp_worker.world.render import Floats

Digits = tuple[tuple[int, int], ...]
"""(image, value) pairs."""


@dataclass(frozen=True)
class Handwriting:
    """`images` is (1797, 8, 8) ink in 0..1; no digit image belongs to two parts."""

    images: Floats
    pool: Digits
    reference: Digits
    suite: Digits


def load() -> Handwriting:
    """Half of the digits go to the pool, a sixth to the reference models, a third to the evaluation suite."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pairs = [(number, int(value)) for number, value in enumerate(data.target)]
    return Handwriting(
        images=(data.images / 16).astype(np.float32),
        pool=tuple(pair for pair in pairs if pair[0] % 6 < 3),
        reference=tuple(pair for pair in pairs if pair[0] % 6 == 3),
        suite=tuple(pair for pair in pairs if pair[0] % 6 > 3),
    )
