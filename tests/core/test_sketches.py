"""Overlaps from sketches: exact for small subsets, within the stated error for large ones."""

import numpy as np
import pytest

from datacomp.problems import BadInput
from datacomp.sketches import SIZE, Sketch, overlap_of, sketch_of
from datacomp.uids import UID_DTYPE


def uids(count: int, seed: int):
    return np.random.default_rng(seed).integers(0, 1 << 63, (count, 2), np.uint64).view(UID_DTYPE).reshape(-1)


def test_small_subsets_are_compared_exactly():
    every = uids(3000, 0)
    found = overlap_of(sketch_of(every[:2000]), sketch_of(every[1500:]))
    assert (found.jaccard, found.error) == (500 / 3000, 0.0)
    assert overlap_of(sketch_of(every[:0]), sketch_of(every[:0])).jaccard == 0


@pytest.mark.parametrize("shared", [0, 1_000, 20_000, 90_000, 99_000, 100_000])
def test_large_ones_lie_within_the_stated_error(shared):
    misses, errors = [], []
    for seed in range(8):
        every = uids(200_000 - shared, seed)
        found = overlap_of(sketch_of(every[:100_000]), sketch_of(every[100_000 - shared :]))
        misses.append(found.jaccard - shared / (200_000 - shared))
        errors.append(found.error)
    assert abs(np.mean(misses)) <= 4 * np.mean(errors) / np.sqrt(8)
    assert max(map(abs, misses)) <= max(4.5 * max(errors), 1e-3)
    assert max(errors) <= 0.5 / np.sqrt(SIZE) + 1e-9


def test_a_small_subset_within_a_large_one():
    every = uids(100_000, 1)
    found = overlap_of(sketch_of(every), sketch_of(every[:2000]))
    assert abs(found.jaccard - 0.02) < 0.01


def test_repeats_and_order_do_not_count():
    every = uids(20_000, 2)
    again = np.concatenate([every[::-1], *[every[:100]] * 500])
    assert np.array_equal(sketch_of(every).hashes, sketch_of(again).hashes)
    kept = sketch_of(every)
    assert np.array_equal(Sketch.of_bytes(kept.to_bytes()).hashes, kept.hashes)
    for damaged in (b"123", kept.to_bytes()[::-1], bytes(8 * SIZE + 8)):
        with pytest.raises(BadInput, match="sketch-format"):
            Sketch.of_bytes(damaged)
