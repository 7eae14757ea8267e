"""Tasks of the tiny world beside the average: two probes, near the pool and far from it, and a varied task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datacomp_worker.world.render import SIDE, Pixels
from datacomp_worker.world.scenes import Scene
from datacomp_worker.world.tasks import Classification, scene, shapes, shuffled
from datacomp_worker.world.vocabulary import SHAPES

TRAINED, TESTED = 16, 20
"""Pictures of each class that a probe may learn from, and is tested on."""
ANGLES = (0, 30, 60, 90, 120, 150)
"""Directions of the gratings of the far probe: nothing that a caption of the pool speaks of."""
VARIED = 16


@dataclass(frozen=True)
class Pictures:
    """A split of a probe: scenes to draw, or canvases (n, SIDE, SIDE, 3) that are drawn already."""

    labels: list[int]
    scenes: list[Scene]
    canvases: Pixels | None = None


@dataclass(frozen=True)
class Probe:
    """A task with pictures to learn from and to be tested on."""

    key: str
    classnames: tuple[str, ...]
    train: Pictures
    test: Pictures
    extension: str = "jpg"


Side = Classification | Probe


def plan(rng: np.random.Generator) -> list[Side]:
    """All of them, in the suite's order."""
    return [
        Probe("tiny/probe-shapes", SHAPES, _shapes(TRAINED, rng), _shapes(TESTED, rng)),
        Probe("tiny/probe-gratings", tuple(map(str, ANGLES)), _gratings(TRAINED, rng), _gratings(TESTED, rng), "png"),
        shapes("tiny/shapes-varied", (VARIED,) * len(SHAPES), rng),
    ]


def _shapes(each: int, rng: np.random.Generator) -> Pictures:
    labels = shuffled((each,) * len(SHAPES), rng)
    return Pictures(labels, [scene(rng, shape=label) for label in labels])


def _gratings(each: int, rng: np.random.Generator) -> Pictures:
    """Waves in two colours under noise; direction is the class, all else is random."""
    labels = shuffled((each,) * len(ANGLES), rng)
    x, y = np.meshgrid((np.arange(SIDE) + 0.5) / SIDE, (np.arange(SIDE) + 0.5) / SIDE)
    canvases = np.empty((len(labels), SIDE, SIDE, 3), np.uint8)
    for canvas, label in zip(canvases, labels, strict=True):
        angle = np.deg2rad(ANGLES[label] + rng.uniform(-8, 8))
        wave = np.sin(2 * np.pi * (rng.uniform(3, 7) * (np.cos(angle) * x + np.sin(angle) * y) + rng.random()))
        canvas[...] = _coloured(0.5 + rng.uniform(0.25, 0.5) * wave, rng)
    return Pictures(labels, [], canvases)


def _coloured(share: npt.NDArray[np.float64], rng: np.random.Generator) -> Pixels:
    """A picture between two colours, with noise."""
    dark, light = rng.uniform(0.0, 0.45, 3), rng.uniform(0.55, 1.0, 3)
    mixed = dark + share[..., None] * (light - dark) + rng.normal(0, 0.08, (SIDE, SIDE, 3))
    return np.asarray(np.clip(mixed, 0, 1) * 255 + 0.5, np.uint8)
