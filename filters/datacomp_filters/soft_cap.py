"""Soft-cap sampling with repeats over a mix of scores: good rows come again, each time less likely.

M-FLYT with SCS (Shechter and Carmon 2025, arXiv:2503.08805): scores of several methods are mixed; rows are drawn
without replacement with probabilities softmax(score), the score of a drawn row falls by a penalty (0.15 in the paper),
and so on round after round until there are enough. The authors draw 100,000 of 128 million at a time, which is 1,280
rounds. A round here is the k largest of score plus Gumbel noise, which is that draw exactly. Simplified: the mix is a
weighted sum of standardised columns with weights given by hand, not learned.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from datacomp.filtering import Filter
from datacomp.pool import Pool
from datacomp.problems import BadInput
from datacomp_filters.drawing import between, hashes, redrawn

BLOCK = 1 << 15
"""Rows at a time: what is computed of them stays in a processor's cache."""


class SoftCap(Filter):
    """Draws `samples` times the pool's rows by a mix: `clip_l14_similarity_score:1,clip_b32_similarity_score:2`."""

    def __init__(
        self,
        mix: str,
        samples: float = 1.0,
        penalty: float = 0.15,
        rounds: int = 1280,
        scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.weights = parse_mix(mix)
        if not (
            0 < samples <= 100 and math.isfinite(penalty) and penalty >= 0 and rounds >= 1 and math.isfinite(scale)
        ):
            hint = "0 < samples <= 100, penalty >= 0, rounds >= 1"
            raise BadInput.of("filter-parameter", "a parameter is out of its range", hint=hint)
        self.columns, self.rule = tuple(self.weights), "score"
        self.samples, self.penalty, self.rounds, self.scale, self.seed = samples, penalty, rounds, scale, seed

    def select(self, pool: Pool) -> npt.NDArray[np.int32]:
        """How often each row is taken. Besides the columns, about 40 bytes a row in memory."""
        uids = pool.sorted_uids
        first = [hashes(uids[start : start + BLOCK], self.seed) for start in range(0, pool.rows, BLOCK)]
        urn = _Urn(self._mixed(pool), np.concatenate([np.empty(0, np.uint64), *first]))
        total = int(pool.rows * self.samples)
        counts = np.zeros(pool.rows, np.int32)  # by uid order until the end
        size = min(max(-(-total // self.rounds), 1), int(np.isfinite(urn.score).sum()))
        turn = 0
        while size and total:
            turn += 1
            size = min(size, total)
            taken = urn.draw(size, turn)
            counts[taken] += 1
            urn.lower(taken, self.penalty)
            total -= size
        result = np.empty_like(counts)
        result[np.asarray(pool.uid_order)] = counts
        return result

    def _mixed(self, pool: Pool) -> npt.NDArray[np.float64]:
        """The mixed score in uid order; minus infinity where a column has no finite value."""
        order = np.asarray(pool.uid_order)
        score = np.zeros(pool.rows)
        for name, weight in self.weights.items():
            column = pool.column(name)
            if column.dtype.kind not in "fiu" or pool.vocabulary(name) is not None:
                raise BadInput.of("column-not-number", f"the column {name!r} holds no numbers", where=name)
            values = np.asarray(column)[order].astype(np.float64)  # by uid, so that sums do not depend on row order
            finite = np.isfinite(values)
            if finite.any():
                values -= values[finite].mean()
                values /= values[finite].std() or 1.0
            score += np.where(finite, self.scale * weight * values, -np.inf)
        return score


class _Urn:
    """Rows that are drawn by score plus Gumbel noise, the noise a function of row and turn."""

    def __init__(self, score: npt.NDArray[np.float64], first: npt.NDArray[np.uint64]) -> None:
        self.score, self.first = score, first
        self.top = float(score.max(initial=-math.inf))
        self.weight = self._weight(score)
        self.lowest = -math.inf
        """The smallest key that the last turn took."""

    def _weight(self, score: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        with np.errstate(invalid="ignore"):  # no row has a score: none is drawn
            weight: npt.NDArray[np.float64] = np.exp(score - self.top)
        return weight

    def draw(self, size: int, turn: int) -> npt.NDArray[np.int64]:
        """The `size` rows of the largest keys."""
        # Thresholds hardly differ from turn to turn: few rows reach a little below the last.
        rows, keys = self._reaching(self.lowest - 0.05 - 5 / math.sqrt(size), turn)
        if rows.size < size:
            rows, keys = self._reaching(-math.inf, turn)
        best = np.argpartition(keys, rows.size - size)[rows.size - size :]
        self.lowest = float(keys[best].min())
        return rows[best]

    def _reaching(self, least: float, turn: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """All rows whose key is `least` or more, and their keys."""
        # score - log(-log u) >= least is -log u <= exp(score - least), and 1 - u is never more than -log u.
        everyone = self.top - least > 600  # far below it weights would be 0
        scale = math.inf if everyone else math.exp(self.top - least) * (1 + 1e-9)
        found = []
        for start in range(0, self.score.size, BLOCK):
            block = slice(start, start + BLOCK)
            drawn = between(redrawn(self.first[block], turn))
            near = np.arange(drawn.size) if everyone else np.flatnonzero(1 - drawn <= self.weight[block] * scale)
            keys = self.score[block][near] - np.log(-np.log(drawn[near]))
            reached = keys >= least
            found.append((near[reached] + start, keys[reached]))
        rows, keys = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return rows, keys

    def lower(self, rows: npt.NDArray[np.int64], penalty: float) -> None:
        """Make rows less likely."""
        self.score[rows] -= penalty
        self.weight[rows] = self._weight(self.score[rows])


def parse_mix(mix: str) -> dict[str, float]:
    """Weights by column of `name:weight,name:weight`; a name alone weighs 1. `BadInput` names a wrong part."""
    weights: dict[str, float] = {}
    for part in mix.split(","):
        name, _, text = (piece.strip() for piece in part.partition(":"))
        try:
            weight = float(text or 1)
        except ValueError:
            weight = math.nan
        if not name or name in weights or not math.isfinite(weight):
            hint = "for instance clip_l14_similarity_score:1,clip_b32_similarity_score:0.5"
            raise BadInput.of("filter-parameter", f"{part!r} is not a column and its weight", "mix", hint)
        weights[name] = weight
    return weights
