"""What the kind `probe` prescribes: which training items a linear probe may learn from, the same for every submission.

The index sets are a pure function of the task's data key, the design's seed and the draw: the items of a class are
ordered by a hash, of which the first k are taken. So they depend on no library's random numbers, and 1 shot of a draw
is among its 5 shots.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

ALL = 0
"""In place of a number of shots: every training item."""


class ProbeDesign(BaseModel):
    """How a probe is trained; part of the suite, so that every score names it by the suite's digest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shots: tuple[int, ...] = Field(default=(1, 5, 10, ALL), min_length=1)
    """Training items of each class; 0 stands for all of them."""
    draws: int = Field(default=5, ge=1, le=100)
    """How often each number of shots is drawn; all items are drawn once."""
    seed: int = 0
    train_size: int | None = None
    """Items of the training split."""
    strength: float = Field(default=10.0, gt=0.0)
    """C of the penalised loss, sum of cross-entropies + |W|^2 / 2C: the larger, the weaker the regularisation."""

    def conditions(self) -> Iterator[Condition]:
        """Every (shots, draw) that is trained, in order."""
        for shots in self.shots:
            for draw in range(self.draws if shots else 1):
                yield Condition(shots, draw)


@dataclass(frozen=True, order=True)
class Condition:
    """One training of a probe."""

    shots: int
    draw: int


def training_items(
    labels: npt.NDArray[np.int64], condition: Condition, key: str, seed: int = 0
) -> npt.NDArray[np.int64]:
    """Places of the items to learn from, ascending. `labels`: class of each training item; classes of fewer items than
    shots give all they have."""
    if condition.shots == ALL:
        return np.arange(labels.size)
    order = sorted(range(labels.size), key=lambda item: _place(f"{key}/{seed}/{condition.draw}/{item}"))
    ordered = labels[order]
    chosen = [np.asarray(order)[ordered == label][: condition.shots] for label in np.unique(labels)]
    return np.sort(np.concatenate(chosen)) if chosen else np.arange(0)


def _place(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def shots_name(shots: int) -> str:
    """How a number of shots is called: `5-shot`, `all`."""
    return "all" if shots == ALL else f"{shots}-shot"
