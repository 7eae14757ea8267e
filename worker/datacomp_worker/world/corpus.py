"""The pool as a crawl would find it: which picture, which caption, and what is wrong with either.

Defects come in known shares and are correlated, as on the web: boilerplate sits under icons and banners, stock photos
are copied, handwriting is scanned small. So no single rule finds them all, and filters differ task by task.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from datacomp_worker.world import captions
from datacomp_worker.world.scenes import Mix, Scene, sample


class Text(StrEnum):
    """What kind of caption a pair has."""

    TRUE = "true"
    """English, and about the picture."""
    WRONG = "wrong"
    """English, and true of another picture of the crawl."""
    FOREIGN = "foreign"
    BOILERPLATE = "boilerplate"
    SHORT = "short"
    """One or two words."""


class Frame(StrEnum):
    """The picture's original size."""

    GOOD = "good"
    SMALL = "small"
    """Shorter side under 200 pixels."""
    EXTREME = "extreme"
    """More than three times as long as it is wide, or the reverse."""


class Origin(StrEnum):
    """Where the picture comes from."""

    FRESH = "fresh"
    DUPLICATE = "duplicate"
    """Cropped or compressed anew from another picture of the pool."""
    LEAKED = "leaked"
    """A picture of the evaluation suite, cropped or compressed anew."""


TEXT_SHARES = {Text.TRUE: 0.30, Text.WRONG: 0.25, Text.FOREIGN: 0.17, Text.BOILERPLATE: 0.18, Text.SHORT: 0.10}
FOREIGN_TRUE = 0.7
"""Share of foreign captions that are about their picture."""
SMALL = {Text.TRUE: 0.07, Text.WRONG: 0.12, Text.FOREIGN: 0.08, Text.BOILERPLATE: 0.25, Text.SHORT: 0.20}
EXTREME = {Text.TRUE: 0.04, Text.WRONG: 0.05, Text.FOREIGN: 0.05, Text.BOILERPLATE: 0.15, Text.SHORT: 0.06}
DUPLICATE = {Text.TRUE: 0.08, Text.WRONG: 0.08, Text.FOREIGN: 0.08, Text.BOILERPLATE: 0.25, Text.SHORT: 0.08}
LEAKED = {Text.TRUE: 0.03, Text.WRONG: 0.01, Text.FOREIGN: 0.005, Text.BOILERPLATE: 0.005, Text.SHORT: 0.02}
SMALL_DIGITS = 0.15
"""Added to the chance of a small frame where the picture is of handwriting."""
UNAVAILABLE = 0.015
"""Share of rows whose picture could not be downloaded: metadata without an image."""
COPIED_AT_MOST = 0.05
"""Share of the fresh pictures that duplicates are made from, the first of them most often."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One row of the pool, before its picture is drawn."""

    scene: Scene
    picture: int
    """Index among the pool's drawn pictures, or among the suite's pictures where `origin` is leaked."""
    caption: str
    text: Text
    language: str
    about_picture: bool
    """Whether the caption describes this picture, in any language."""
    frame: Frame
    width: int
    height: int
    origin: Origin
    available: bool

    @property
    def good(self) -> bool:
        """Nothing is wrong with it: a fresh picture of a sound size under a true English caption."""
        return self.text == Text.TRUE and self.frame == Frame.GOOD and self.origin == Origin.FRESH


@dataclass(frozen=True)
class Corpus:
    """The pool's rows in random order, and the scenes of its drawn pictures."""

    pairs: list[Pair]
    scenes: list[Scene]


def compose(n: int, digits: tuple[tuple[int, int], ...], suite_scenes: list[Scene], rng: np.random.Generator) -> Corpus:
    """Plan `n` pairs. `digits` are the pool's (image, value) pairs; leaked pictures are drawn from `suite_scenes`."""
    texts = _texts(n, rng)
    origins = _origins(texts, rng)
    scenes, pictures = _pictures(origins, digits, suite_scenes, rng)
    shown = [
        suite_scenes[p] if origin == Origin.LEAKED else scenes[p] for p, origin in zip(pictures, origins, strict=True)
    ]
    frames = _frames(texts, shown, rng)
    available = rng.random(n) >= UNAVAILABLE
    pairs = []
    for i in range(n):
        caption, language, about = _caption(texts[i], shown, i, rng)
        width, height = _size(frames[i], rng)
        pairs.append(
            Pair(
                scene=shown[i],
                picture=int(pictures[i]),
                caption=caption,
                text=texts[i],
                language=language,
                about_picture=about,
                frame=frames[i],
                width=width,
                height=height,
                origin=origins[i],
                available=bool(available[i]),
            )
        )
    return Corpus(pairs, scenes)


def _texts(n: int, rng: np.random.Generator) -> list[Text]:
    """Kinds of caption in exactly their shares, shuffled."""
    kinds = list(TEXT_SHARES)
    ends = np.round(np.cumsum(list(TEXT_SHARES.values())) * n).astype(int)
    kind_of = np.searchsorted(ends, np.arange(n), "right")
    return [kinds[k] for k in rng.permutation(kind_of)]


def _origins(texts: list[Text], rng: np.random.Generator) -> list[Origin]:
    chosen = []
    for text, luck in zip(texts, rng.random(len(texts)), strict=True):
        if luck < LEAKED[text]:
            chosen.append(Origin.LEAKED)
        else:
            chosen.append(Origin.DUPLICATE if luck < LEAKED[text] + DUPLICATE[text] else Origin.FRESH)
    return chosen


def _pictures(
    origins: list[Origin], digits: tuple[tuple[int, int], ...], suite_scenes: list[Scene], rng: np.random.Generator
) -> tuple[list[Scene], npt.NDArray[np.int64]]:
    """Scenes of the fresh pictures, and every row's picture. A few fresh pictures are copied very often."""
    kind = np.array(origins)
    fresh = int((kind == Origin.FRESH).sum())
    scenes = sample(fresh, Mix(), digits, rng)
    copied = max(int(fresh * COPIED_AT_MOST), 1)
    weight = 1 / np.arange(1, copied + 1) ** 0.7
    pictures = np.empty(len(origins), np.int64)
    pictures[kind == Origin.FRESH] = np.arange(fresh)
    duplicates, leaked = kind == Origin.DUPLICATE, kind == Origin.LEAKED
    pictures[duplicates] = rng.choice(copied, int(duplicates.sum()), p=weight / weight.sum())
    pictures[leaked] = rng.integers(len(suite_scenes), size=int(leaked.sum()))
    return scenes, pictures


def _frames(texts: list[Text], scenes: list[Scene], rng: np.random.Generator) -> list[Frame]:
    chosen = []
    for text, scene, luck in zip(texts, scenes, rng.random(len(texts)), strict=True):
        small = SMALL[text] + (SMALL_DIGITS if scene.digit >= 0 else 0)
        if luck < small:
            chosen.append(Frame.SMALL)
        else:
            chosen.append(Frame.EXTREME if luck < small + EXTREME[text] else Frame.GOOD)
    return chosen


def _size(frame: Frame, rng: np.random.Generator) -> tuple[int, int]:
    """Original width and height in pixels."""
    ratio = rng.uniform(3.1, 5.5) if frame == Frame.EXTREME else float(np.exp(min(abs(rng.normal(0, 0.15)), 0.5)))
    low, high = (24, 200) if frame == Frame.SMALL else (200, 1200)
    shorter = min(max(round(np.exp(rng.uniform(np.log(low), np.log(high)))), low), high - 1)
    longer = int(np.ceil(shorter * ratio))
    return (longer, shorter) if rng.random() < 0.5 else (shorter, longer)


def _caption(text: Text, scenes: list[Scene], i: int, rng: np.random.Generator) -> tuple[str, str, bool]:
    """Caption, its language, and whether it is about picture `i`."""
    if text == Text.TRUE:
        return captions.describe(scenes[i], rng), "en", True
    if text == Text.WRONG:
        return captions.describe(_another(scenes, i, rng), rng), "en", False
    if text == Text.FOREIGN:
        about = bool(rng.random() < FOREIGN_TRUE)
        return *captions.foreign(scenes[i] if about else _another(scenes, i, rng), rng), about
    if text == Text.SHORT:
        return captions.short(scenes[i], rng), "en", False
    return captions.boilerplate(rng), "en", False


def _another(scenes: list[Scene], i: int, rng: np.random.Generator) -> Scene:
    """A scene that differs in colour, and in shape or digit, from scene `i`."""
    own = scenes[i]
    while True:
        other = scenes[int(rng.integers(len(scenes)))]
        if other.colour != own.colour and (other.shape, other.digit) != (own.shape, own.digit):
            return other
