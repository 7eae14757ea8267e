"""The tiny world's evaluation tasks: what each asks, of which scenes. Their list for scoring is the suite `tiny`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from datacomp_worker.world import captions
from datacomp_worker.world.handwriting import Digits
from datacomp_worker.world.scenes import Effect, Scene
from datacomp_worker.world.vocabulary import BACKGROUNDS, COLOURS, NUMBERS, SHAPES, SIZES

OBJECTS = tuple(f"{colour} {shape}" for shape, colour in product(SHAPES, COLOURS))
"""The 64 classes of the main task: class number is shape x 8 + colour."""
OBJECT_TEMPLATES = ("a photo of a {c}", "a picture of a {c}", "this is a {c}", "a {c} on a white background")
RARE = (100, 70, 50, 36, 26, 18, 12, 8)
"""How many pictures of each shape the unbalanced task has."""
RETRIEVED = 200
CAPTIONS_EACH = 2
INSTANCES = 120
CANDIDATES = (10, 11, 12)
ASSOCIATIONS = (3, 4, 5)


@dataclass(frozen=True)
class Classification:
    """A zero-shot task. `groups` holds each item's group number for worst-group metrics."""

    key: str
    classnames: tuple[str, ...]
    templates: tuple[str, ...]
    scenes: list[Scene]
    labels: list[int]
    extension: str = "jpg"
    groups: list[int] | None = None


@dataclass(frozen=True)
class Retrieval:
    """Pictures that no two captions of the task fit equally; `CAPTIONS_EACH` captions a picture."""

    key: str
    scenes: list[Scene]
    texts: list[list[str]]


@dataclass(frozen=True)
class Association:
    """Instances of a cue word and candidate pictures, some of which go with it."""

    key: str
    scenes: list[list[Scene]]
    cues: list[str]
    right: list[list[int]]


Plan = Classification | Retrieval | Association


def plan(digits: Digits, rng: np.random.Generator) -> list[Plan]:
    """All tasks in the suite's order. `digits` are the suite's own (image, value) pairs."""
    return [
        objects("tiny/objects", 8, rng),
        objects("tiny/objects-sketched", 4, rng, effect=Effect.SKETCH, extension="webp"),
        objects("tiny/objects-rotated", 4, rng, effect=Effect.ROTATED),
        objects("tiny/objects-noisy", 4, rng, effect=Effect.NOISY),
        objects("tiny/objects-occluded", 4, rng, effect=Effect.OCCLUDED),
        objects("tiny/objects-elsewhere", 4, rng, effect=Effect.ELSEWHERE),
        shapes("tiny/shapes-negative", (32,) * len(SHAPES), rng, effect=Effect.NEGATIVE),
        shapes("tiny/shapes", (40,) * len(SHAPES), rng),
        shapes("tiny/shapes-rare", RARE, rng),
        _colours(rng),
        _counting(rng),
        _digits(digits, rng),
        _backgrounds(rng),
        _places(rng),
        _sizes(rng),
        _retrieval(rng),
        _associations(rng),
        _shapes_by_background(rng),
        _objects_by_size(rng),
    ]


def scene(rng: np.random.Generator, **known: int | Effect) -> Scene:
    """One large shape in the middle; whatever is not given is random."""
    drawn = {
        "shape": int(rng.integers(len(SHAPES))),
        "colour": int(rng.integers(len(COLOURS))),
        "background": int(rng.integers(len(BACKGROUNDS))),
    }
    return Scene(**{**drawn, **known})  # type: ignore[arg-type]


def objects(
    key: str, each: int, rng: np.random.Generator, effect: Effect = Effect.PLAIN, extension: str = "jpg"
) -> Classification:
    """Shape and colour of 64, `each` pictures a class."""
    labels = shuffled((each,) * len(OBJECTS), rng)
    found = [scene(rng, shape=label // 8, colour=label % 8, effect=effect) for label in labels]
    templates = OBJECT_TEMPLATES if effect != Effect.SKETCH else ("a sketch of a {c}", "an outline of a {c}")
    return Classification(key, OBJECTS, templates, found, labels, extension)


def shapes(
    key: str, counts: tuple[int, ...], rng: np.random.Generator, effect: Effect = Effect.PLAIN
) -> Classification:
    """Shape of 8, colours at random, so many pictures of each."""
    labels = shuffled(counts, rng)
    found = [scene(rng, shape=label, effect=effect) for label in labels]
    return Classification(key, SHAPES, ("a photo of a {c}", "a picture of a {c}", "the shape is a {c}"), found, labels)


def _colours(rng: np.random.Generator) -> Classification:
    labels = shuffled((40,) * len(COLOURS), rng)
    templates = tuple(f"a photo of a {{c}} {shape}" for shape in SHAPES)
    return Classification("tiny/colours", COLOURS, templates, [scene(rng, colour=label) for label in labels], labels)


def _counting(rng: np.random.Generator) -> Classification:
    labels = shuffled((80,) * 4, rng)
    found = [scene(rng, count=label + 1) for label in labels]
    names = tuple(NUMBERS[1:5])
    return Classification("tiny/counting", names, _each("a photo of {{c}} {} shapes", COLOURS), found, labels)


def _digits(digits: Digits, rng: np.random.Generator) -> Classification:
    by_value: list[list[int]] = [[image for image, value in digits if value == wanted] for wanted in range(10)]
    labels = shuffled((40,) * 10, rng)
    found = [
        scene(rng, digit=label, handwriting=by_value[label][int(rng.integers(len(by_value[label])))])
        for label in labels
    ]
    templates = ("a photo of the handwritten digit {c}", "this is the digit {c}, written by hand")
    return Classification("tiny/digits", NUMBERS, templates, found, labels, "png")


def _backgrounds(rng: np.random.Generator) -> Classification:
    labels = shuffled((60,) * len(BACKGROUNDS), rng)
    found = [scene(rng, background=label) for label in labels]
    return Classification(
        "tiny/backgrounds", BACKGROUNDS, _each("a photo of a {} on a {{c}} background", OBJECTS[::9]), found, labels
    )


def _places(rng: np.random.Generator) -> Classification:
    labels = shuffled((80,) * 4, rng)
    names = tuple(captions.where(place) for place in range(1, 5))
    found = [scene(rng, place=label + 1) for label in labels]
    return Classification("tiny/places", names, _each("a photo of a {} {{c}}", OBJECTS[::9]), found, labels)


def _sizes(rng: np.random.Generator) -> Classification:
    labels = shuffled((150,) * 2, rng)
    found = [scene(rng, size=label + 1) for label in labels]
    return Classification("tiny/sizes", SIZES[1:], _each("a photo of a {{c}} {}", OBJECTS[::9]), found, labels)


def _shapes_by_background(rng: np.random.Generator) -> Classification:
    """Groups are the four backgrounds; every group has every shape equally often."""
    labels = shuffled((40,) * len(SHAPES), rng)
    seen = np.zeros(len(SHAPES), int)
    groups = []
    for label in labels:
        groups.append(int(seen[label]) % len(BACKGROUNDS))
        seen[label] += 1
    found = [scene(rng, shape=label, background=group) for label, group in zip(labels, groups, strict=True)]
    return Classification(
        "tiny/shapes-by-background", SHAPES, ("a photo of a {c}", "a picture of a {c}"), found, labels, groups=groups
    )


def _objects_by_size(rng: np.random.Generator) -> Classification:
    """Groups are the sizes in which the shape is drawn; every group has every class twice."""
    cells = [(label, size) for label in range(len(OBJECTS)) for size in range(len(SIZES)) for _ in range(2)]
    cells = [cells[i] for i in rng.permutation(len(cells))]
    found = [scene(rng, shape=label // 8, colour=label % 8, size=size) for label, size in cells]
    labels, groups = [label for label, _ in cells], [size for _, size in cells]
    return Classification("tiny/objects-by-size", OBJECTS, OBJECT_TEMPLATES, found, labels, groups=groups)


def _retrieval(rng: np.random.Generator) -> Retrieval:
    manners = [{}, *({"count": n} for n in (2, 3, 4)), *({"place": n} for n in (1, 2, 3, 4)), {"size": 1}, {"size": 2}]
    cells = list(product(range(len(SHAPES)), range(len(COLOURS)), range(len(BACKGROUNDS)), manners))
    found = []
    for cell in rng.permutation(len(cells))[:RETRIEVED]:
        shape, colour, background, manner = cells[cell]
        found.append(Scene(shape, colour, background, **manner))
    texts = [[captions.describe(s, rng, background=1.0) for _ in range(CAPTIONS_EACH)] for s in found]
    return Retrieval("tiny/retrieval", found, texts)


def _associations(rng: np.random.Generator) -> Association:
    fields = (("colour", COLOURS), ("shape", SHAPES), ("background", BACKGROUNDS))
    scenes, cues, right = [], [], []
    for i in range(INSTANCES):
        name, words = fields[i % len(fields)]
        wanted = int(rng.integers(len(words)))
        n, k = instance_size(i)
        order = rng.permutation(n)
        chosen = sorted(int(place) for place in order[:k])
        others = [other for other in range(len(words)) if other != wanted]
        scenes.append(
            [
                scene(rng, **{name: wanted if place in chosen else others[int(rng.integers(len(others)))]})
                for place in range(n)
            ]
        )
        cues.append(words[wanted])
        right.append(chosen)
    return Association("tiny/associations", scenes, cues, right)


def instance_size(i: int) -> tuple[int, int]:
    """How many candidates instance `i` of the associations has, and how many are right."""
    return CANDIDATES[i // 3 % len(CANDIDATES)], ASSOCIATIONS[i // 9 % len(ASSOCIATIONS)]


def _each(template: str, words: Iterable[str]) -> tuple[str, ...]:
    return tuple(template.format(word) for word in words)


def shuffled(counts: tuple[int, ...], rng: np.random.Generator) -> list[int]:
    """Labels, each so often, in random order."""
    labels: npt.NDArray[np.int64] = np.repeat(np.arange(len(counts)), counts)
    return [int(label) for label in rng.permutation(labels)]
