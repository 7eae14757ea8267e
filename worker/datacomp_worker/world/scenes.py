"""Scenes: what an image shows, before it is drawn or described."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from datacomp_worker.world.vocabulary import BACKGROUNDS, COLOURS, SHAPES


class Effect(IntEnum):
    """How a scene is drawn. The pool knows PLAIN and SKETCH; the others are the suite's distribution shifts."""

    PLAIN = 0
    SKETCH = 1
    ROTATED = 2
    NOISY = 3
    OCCLUDED = 4
    NEGATIVE = 5
    ELSEWHERE = 6
    """Backgrounds that no pool image has."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One image's content: 1 to 4 equal shapes of one colour, or one handwritten digit. Numbers index `vocabulary`."""

    shape: int
    colour: int
    background: int
    count: int = 1
    place: int = 0
    size: int = 0
    effect: Effect = Effect.PLAIN
    digit: int = -1
    """The digit's value, -1 for shapes."""
    handwriting: int = -1
    """Which of scikit-learn's digit images is drawn."""


@dataclass(frozen=True)
class Mix:
    """How often things occur among sampled scenes."""

    digits: float = 0.12
    several: float = 0.22
    placed: float = 0.22
    sized: float = 0.2
    sketches: float = 0.06


def sample(n: int, mix: Mix, handwriting: Sequence[tuple[int, int]], rng: np.random.Generator) -> list[Scene]:
    """`n` random scenes. `handwriting` lists (image, value) of the digits that may be used."""
    shape, colour = rng.integers(len(SHAPES), size=n), rng.integers(len(COLOURS), size=n)
    background = rng.integers(len(BACKGROUNDS), size=n)
    kind, style = rng.random(n), rng.random(n)
    count, place, size = rng.integers(2, 5, n), rng.integers(1, 5, n), rng.integers(1, 3, n)
    pick = rng.integers(len(handwriting), size=n)
    several, placed, sized = np.cumsum([mix.digits + mix.several, mix.placed, mix.sized])
    scenes = []
    for i in range(n):
        base = (int(shape[i]), int(colour[i]), int(background[i]))
        if kind[i] < mix.digits:
            image, value = handwriting[pick[i]]
            scenes.append(Scene(*base, digit=value, handwriting=image))
            continue
        effect = Effect.SKETCH if style[i] < mix.sketches else Effect.PLAIN
        scenes.append(
            Scene(
                *base,
                count=int(count[i]) if kind[i] < several else 1,
                place=int(place[i]) if several <= kind[i] < placed else 0,
                size=int(size[i]) if placed <= kind[i] < sized else 0,
                effect=effect,
            )
        )
    return scenes
