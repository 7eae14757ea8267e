"""Metrics as functions of sums over items: right ones, all of them, by class or by group.

What a bootstrap draws of a task are these sums (see `datacomp.statistics.sampling`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datacomp.records import IMAGE_TO_TEXT, TEXT_TO_IMAGE, Records
from datacomp.scoring import LARGE, OTHER_GROUP
from datacomp.statistics.intervals import Floats
from datacomp.suite import Metric

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Value = Callable[[Floats], Floats]
Column = npt.NDArray[Any]


@dataclass(frozen=True)
class Sums:
    """A metric as a function of sums over units that are drawn as a whole."""

    rows: csr_matrix
    """Contributions of each unit: shape (units, sums)."""
    value: Value
    """From sums of shape (draws, sums) to values of shape (draws,); NaN where a draw has none."""
    deciding: int
    """Items that the value rests on: where all draws agree (nothing is right, or all is), Wilson's interval for so
    many is taken in place of one of no width."""


def _matrix(columns: Sequence[npt.ArrayLike]) -> csr_matrix:
    from scipy.sparse import csr_matrix

    return csr_matrix(np.column_stack([np.asarray(column, np.float64) for column in columns]))


def _sparse(
    rows: int, columns: Sequence[npt.NDArray[Any]], where: Sequence[npt.NDArray[Any]], width: int
) -> csr_matrix:
    """Ones at `columns[i]` of the rows where `where[i]` holds."""
    from scipy.sparse import csr_matrix

    at = [np.flatnonzero(chosen) for chosen in where]
    places = np.concatenate([column[chosen] for column, chosen in zip(columns, at, strict=True)])
    return csr_matrix((np.ones(places.size), (np.concatenate(at), places)), shape=(rows, width))


def _ratio(sums: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[:, 0] / sums[:, 1])


def _mean_of_hits(records: Records, k: int) -> Sums:
    right = records.within(k)
    return Sums(_matrix([right, np.ones(right.size)]), _ratio, right.size)


def _mean_of_values(records: Records, least: int = 0) -> Sums:
    counted = records.group.astype(np.int64) >= least if least else np.ones(records.value.size, np.bool_)
    return Sums(_matrix([np.where(counted, records.value, 0), counted]), _ratio, int(counted.sum()))


def _by_class(records: Records) -> Sums:
    names, label = np.unique(records.label, return_inverse=True)
    k, every = names.size, np.ones(label.size, np.bool_)
    rows = _sparse(label.size, [label, label + k], [records.prediction == records.label, every], 2 * k)
    return Sums(rows, lambda sums: _mean_of_shares(sums[:, :k], sums[:, k:]), label.size)


def _mean_of_shares(right: Floats, of: Floats) -> Floats:
    """Mean over the classes that occur in a draw."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.nanmean(right / of, axis=1))


def _f1(records: Records) -> Sums:
    names, label = np.unique(records.label, return_inverse=True)
    k = names.size
    said = np.searchsorted(names, records.prediction)
    known = (said < k) & (names[np.minimum(said, k - 1)] == records.prediction)
    right = records.prediction == records.label
    columns = [label, label + k, said + 2 * k]
    rows = _sparse(label.size, columns, [right, np.ones(label.size, np.bool_), known], 3 * k)

    def value(sums: Floats) -> Floats:
        hits, true, said_so = sums[:, :k], sums[:, k : 2 * k], sums[:, 2 * k :]
        return _mean_of_shares(np.where(true > 0, 2 * hits, np.nan), true + said_so)

    return Sums(rows, value, label.size)


def _worst(records: Records, k: int, without: str = "") -> Sums:
    named = ~np.isin(records.group, ["", without])
    if not named.any():
        return _mean_of_hits(records, k)
    names, group = np.unique(records.group[named], return_inverse=True)
    place = np.zeros(records.group.size, np.int64)
    place[named] = group
    right, size = records.within(k), names.size
    rows = _sparse(place.size, [place, place + size], [named & right, named], 2 * size)
    shares = np.bincount(group, right[named]) / np.bincount(group)

    def value(sums: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.nanmin(sums[:, :size] / sums[:, size:], axis=1))

    return Sums(rows, value, int(np.bincount(group)[int(np.argmin(shares))]))


def _recall(records: Records) -> Sums:
    """An image and its captions are one unit. Captions are in the order of their images; which are whose is not
    recorded, so they are shared out evenly, in that order."""
    image, caption = records.part == IMAGE_TO_TEXT, records.part == TEXT_TO_IMAGE
    images, captions = int(image.sum()), int(caption.sum())
    own = np.argsort(np.argsort(records.item[image], kind="stable"), kind="stable")
    turn = np.argsort(np.argsort(records.item[caption], kind="stable"), kind="stable")
    owner = turn * images // max(captions, 1)
    right = records.within(1)
    columns = [
        np.bincount(own, right[image], images),
        np.ones(images),
        np.bincount(owner, right[caption], images),
        np.bincount(owner, minlength=images),
    ]

    def value(sums: Floats) -> Floats:
        return (_ratio(sums[:, :2]) + _ratio(sums[:, 2:])) / 2

    return Sums(_matrix(columns), value, images)


SUMS: dict[Metric, Callable[[Records], Sums]] = {
    Metric.ACC1: lambda records: _mean_of_hits(records, 1),
    Metric.ACC5: lambda records: _mean_of_hits(records, 5),
    Metric.MEAN_PER_CLASS_RECALL: _by_class,
    Metric.MEAN_RECALL_AT_1: _recall,
    Metric.JACCARD: _mean_of_values,
    Metric.JACCARD_LARGE: lambda records: _mean_of_values(records, LARGE),
    Metric.F1_MACRO: _f1,
    Metric.WORST_REGION: lambda records: _worst(records, 1, OTHER_GROUP),
    Metric.WORST_GROUP_ACC5: lambda records: _worst(records, 5),
    Metric.WORST_GROUP_ACC1: lambda records: _worst(records, 1),
}
