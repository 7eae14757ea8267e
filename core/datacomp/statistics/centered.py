"""Scores centred at chance: 0 is what knowing nothing gives, 1 is perfect.

So tasks of unlike chance can be averaged (DCLM's CORE and EXTENDED, mlfoundations/dclm).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def centered(score: float, chance: float) -> float:
    """(score - chance) / (1 - chance); ValueError for a chance level that leaves nothing to reach."""
    if not chance < 1:
        raise ValueError(f"a chance level of {chance} leaves no room above it")
    return (score - chance) / (1 - chance)


def centered_mean(scores: Mapping[str, float], chances: Mapping[str, float], tasks: Iterable[str]) -> float | None:
    """Mean of the tasks' centred scores; None as soon as one has no score, because a mean over fewer tasks is another
    quantity. KeyError for a task without a chance level."""
    wanted = list(tasks)
    if not wanted or any(task not in scores for task in wanted):
        return None
    return sum(centered(scores[task], chances[task]) for task in wanted) / len(wanted)
