"""Soft-cap sampling with repeats over a mix of scores: good rows come again, each time less likely.

M-FLYT with SCS (arXiv:2503.08805): scores of several methods are mixed; rows are drawn without replacement with
probabilities softmax(score), the score of a drawn row falls by a penalty, and so on round after round until there are
enough. Simplified: the mix is a weighted sum of standardised columns given by hand, not learned, and a round has a
set share of the samples. A round is the k largest of score plus Gumbel noise, which is that draw exactly.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from datacomp.filtering import Filter
from datacomp.pool import Pool
from datacomp.problems import BadInput
from datacomp_filters.drawing import uniforms


class SoftCap(Filter):
    """Draws `samples` times the pool's rows by a mix: `clip_l14_similarity_score:1,clip_b32_similarity_score:2`."""

    def __init__(
        self,
        mix: str,
        samples: float = 1.0,
        penalty: float = 0.15,
        rounds: int = 100,
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
        """How often each row is taken."""
        score, uids, order = self._mixed(pool), np.asarray(pool.sorted_uids), np.asarray(pool.uid_order)
        drawable = int(np.isfinite(score).sum())
        total = int(pool.rows * self.samples)
        counts = np.zeros(pool.rows, np.int32)  # by uid order until the end
        size = min(max(-(-total // self.rounds), 1), drawable)
        turn = 0
        while size and total:
            turn += 1
            size = min(size, total)
            key = score - np.log(-np.log(uniforms(uids, self.seed, turn)))
            taken = np.argpartition(key, pool.rows - size)[pool.rows - size :]
            counts[taken] += 1
            score[taken] -= self.penalty
            total -= size
        result = np.empty_like(counts)
        result[order] = counts
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
