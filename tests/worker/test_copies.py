"""Copies of evaluation images told by their pixels, on two photographs cut to many."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_images

from datacomp_worker.byod import copies

SIDE, IMAGES, OTHERS = 120, 24, 60
KINDS = ("recoded", "smaller", "cropped", "mirrored", "recoloured")


@pytest.fixture(scope="module")
def pictures():
    """Evaluation images, and others of the same photographs that share less than two thirds with any."""
    photos, rng = load_sample_images().images, np.random.default_rng(3)
    places = [(i % 2, *rng.integers(0, (300, 500))) for i in range(IMAGES)]
    others: list[tuple[int, int, int]] = []
    while len(others) < OTHERS:
        photo, y, x = len(others) % 2, *rng.integers(0, (300, 500))
        shared = [max(SIDE - abs(y - b), 0) * max(SIDE - abs(x - c), 0) for a, b, c in places if a == photo]
        if max(shared) < SIDE * SIDE * 2 / 3:
            others.append((photo, y, x))

    def cut(place):
        photo, y, x = place
        return Image.fromarray(photos[photo][y : y + SIDE, x : x + SIDE])

    return list(map(cut, places)), list(map(cut, others))


def copied(image, kind, rng):
    """A copy as sites make them."""
    if kind == "smaller":
        image = image.resize((48, 40), Image.Resampling.BICUBIC)
    if kind == "cropped":
        left, top, right, bottom = (rng.uniform(0, 0.1, 4) * SIDE).astype(int).tolist()
        image = image.crop((left, top, SIDE - right, SIDE - bottom))
    if kind == "mirrored":
        image = ImageOps.mirror(image)
    if kind == "recoloured":
        pixels = np.asarray(image, float) * rng.uniform(0.87, 1.13, 3) + rng.uniform(-12, 12)
        image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    return kept(image, quality=60)


def kept(image, quality=90):
    """What is kept of it once it was a JPEG."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return copies.thumbnail(out.getvalue())


def test_altered_copies_are_found_and_others_left(pictures):
    images, others = pictures
    finder, rng = copies.Finder(np.stack([kept(image) for image in images])), np.random.default_rng(4)
    told = {kind: finder.similarity(np.stack([copied(image, kind, rng) for image in images])) for kind in KINDS}
    found = {kind: float((likeness >= 0.97).mean()) for kind, likeness in told.items()}
    assert np.mean(list(found.values())) >= 0.9, found
    assert min(found.values()) >= 0.8, found
    taken = finder.similarity(np.stack([kept(image) for image in others])) >= 0.97
    assert taken.mean() <= 0.02


def test_of_many_images_cells_find_the_same(pictures, monkeypatch):
    images, others = pictures
    rows = np.stack([kept(image) for image in [*images, *others]])
    samples = np.stack([kept(image, quality=60) for image in images])
    every = copies.Finder(rows).similarity(samples)
    monkeypatch.setattr(copies, "EXHAUSTIVE", 10)
    np.testing.assert_array_equal(copies.Finder(rows).similarity(samples), every)


def test_what_shows_nothing_is_like_nothing(pictures):
    plain = np.full((2, copies.FINE, copies.FINE, 3), 200, np.uint8)
    picture = kept(pictures[0][0])[None]
    assert np.isnan(copies.Finder(picture).similarity(plain)).all()
    assert copies.Finder(plain).similarity(picture).tolist() == [0]
    assert copies.Finder(picture).similarity(plain[:0]).shape == (0,)
