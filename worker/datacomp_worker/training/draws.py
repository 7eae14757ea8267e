"""Which sample comes when: every draw is a function of the seed and the sample's number in the whole run.

So it does not matter how many processes, GPUs or loader workers there are, nor where training was interrupted.
The generator is SplitMix64 (Steele, Lea and Flood 2014): a counter times an odd constant, mixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

FEED_VERSION = 1
"""Raised when the same seed would give other samples, crops or tokens. Part of the recipe's digest."""

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_MASK = (1 << 64) - 1

Numbers = npt.NDArray[np.uint64]


def mix(values: Numbers) -> Numbers:
    """SplitMix64's output function, a bijection of 64-bit words. Arithmetic is modulo 2**64."""
    values = (values ^ (values >> np.uint64(30))) * _MIX_1
    values = (values ^ (values >> np.uint64(27))) * _MIX_2
    return values ^ (values >> np.uint64(31))


@dataclass(frozen=True)
class Draws:
    """Draws with replacement from `population` rows: each as likely as any other, or as its source's weight says."""

    seed: int
    population: int
    sources: tuple[tuple[int, float], ...] = ()
    """Rows and weight of each source, in the order of their rows, where weights differ: a row is drawn in proportion to
    its source's weight. As a whole, a source is drawn in proportion to its weight times its rows."""

    @classmethod
    def of(cls, seed: int, sources: Sequence[tuple[int, float]]) -> Self:
        """Draws from sources of so many rows with these weights; equal weights are the same draws as none."""
        population = sum(rows for rows, _ in sources)
        differ = len({weight for _, weight in sources}) > 1
        return cls(seed, population, tuple(sources) if differ else ())

    def rows(self, numbers: Numbers, attempt: int = 0) -> npt.NDArray[np.int64]:
        """The row of each sample number. Another `attempt` is another draw, for rows that cannot be decoded."""
        uniform = (self._words(2 * attempt, numbers) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        if self.sources:
            return self._weighted(uniform)
        return (uniform * self.population).astype(np.int64)

    def transform_seeds(self, numbers: Numbers) -> npt.NDArray[np.int64]:
        """The seed of each sample's random transforms, 0 to 2**63 - 1."""
        return (self._words(1, numbers) >> np.uint64(1)).astype(np.int64)

    def _weighted(self, uniform: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Where each share of the whole weight falls."""
        counts = np.array([rows for rows, _ in self.sources], np.int64)
        weights = np.array([weight for _, weight in self.sources], np.float64)
        ends, stops = np.cumsum(counts * weights), np.cumsum(counts)
        at = uniform * ends[-1]
        source = np.minimum(np.searchsorted(ends, at, "right"), counts.size - 1)
        within = ((at - (ends - counts * weights)[source]) / weights[source]).astype(np.int64)
        rows: npt.NDArray[np.int64] = (stops - counts)[source] + np.clip(within, 0, counts[source] - 1)
        return rows

    def _words(self, stream: int, numbers: Numbers) -> Numbers:
        key = np.array([(self.seed * 0xD1342543DE82EF95 + stream) & _MASK], np.uint64)
        return mix(mix(mix(key) ^ _GAMMA) + numbers * _GAMMA)
