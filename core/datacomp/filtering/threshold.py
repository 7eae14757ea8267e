"""The value at a place of the descending order, found without sorting."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.pool import steps

SAMPLE = 1 << 16
MARGIN = 1 << 9
"""Places of the sample's order on either side: four times what chance moves its median, which it moves most."""
WINDOW = 1 << 16
"""Values looked at together: they and what is asked of them fit a processor's cache."""


def kth_largest(values: npt.NDArray[Any], place: int) -> Any:
    """The value at `place` (from 0) of the descending order, NaN standing last as in the original's sort.

    A copied column of few different values has a table of them. Else a sample says between which two values it lies; a
    count proves it, and only what lies between is partitioned.
    """
    known = steps.kth_largest(values, place)
    if known is not None:
        return known
    if values.size > 4 * SAMPLE:
        found = _between(values, place)
        if found is not None:
            return found
    from_below = values.size - int(np.isnan(values).sum()) - 1 - place
    return np.partition(values, from_below)[from_below] if from_below >= 0 else np.nan


def _between(values: npt.NDArray[Any], place: int) -> Any:
    sample = values[:: values.size // SAMPLE]
    ordered = np.sort(sample[~np.isnan(sample)])
    expected = ordered.size - 1 - place * sample.size // values.size
    if expected < 0:
        return None
    low, high = ordered[max(expected - MARGIN, 0)], ordered[min(expected + MARGIN, ordered.size - 1)]
    above, pieces = 0, []
    for start in range(0, values.size, WINDOW):
        window = values[start : start + WINDOW]
        over = window > high
        above += int(np.count_nonzero(over))
        pieces.append(window.compress(np.not_equal(over, window >= low, out=over)))
    inside = np.concatenate(pieces)
    if not above <= place < above + inside.size:
        return None
    from_below = inside.size - 1 - (place - above)
    return np.partition(inside, from_below)[from_below]
