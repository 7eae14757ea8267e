"""Where fitted curves of two methods cross: there the better filter of a small scale becomes the worse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from datacomp.messages import Crossing, Series
from datacomp.scaling.laws import Floats
from datacomp.scaling.trends import Description, Question, describe, one_up, usable

GRID = 200
MOST_CURVES = 30
"""Curves that are compared with each other."""


def crossings(series: Sequence[Series], question: Question | None = None) -> list[Crossing]:
    """Crossings within the scales that both methods were entered at, and up to one scale beyond.

    A crossing is measured when the scores at the scales around it change places too. Only scales that both methods
    have count, and curves that stay within seed noise of each other do not cross.
    """
    question = question or Question()
    curves = [(each, found) for each in series[:MOST_CURVES] if (found := describe(each, question)) is not None]
    crossed: list[Crossing] = []
    for (first, one), (second, other) in combinations(curves, 2):
        crossed += list(_between((first, one), (second, other), question))
    return crossed


def _between(
    first: tuple[Series, Description], second: tuple[Series, Description], question: Question
) -> Iterator[Crossing]:
    one, other = (usable(each.points, question) for each, _ in (first, second))
    shared = sorted({question.where(point) for point in one} & {question.where(point) for point in other})
    if len(shared) < 2:
        return
    beyond = one_up(one[-1])
    end = max(question.where(beyond), shared[-1]) if beyond is not None else shared[-1]
    grid = np.geomspace(shared[0], end, GRID)
    gap = first[1].law.score(grid) - second[1].law.score(grid)
    noise = float(np.hypot(question.deviation(one).max(), question.deviation(other).max()))
    for place in np.flatnonzero(np.sign(gap[:-1]) * np.sign(gap[1:]) < 0):
        if np.abs(gap[: place + 1]).max() < noise or np.abs(gap[place + 1 :]).max() < noise:
            continue
        x = _root(grid, gap, int(place))
        ahead, behind = (first, second) if gap[place] > 0 else (second, first)
        names = {question.where(point): point.scale for point in (*one, *other)}
        below = max(value for value in shared if value <= x)
        above = next((value for value in shared if value > x), None)
        yield Crossing(
            first=ahead[0].method,
            second=behind[0].method,
            x=x,
            between=f"beyond {names[below]}" if above is None else f"between {names[below]} and {names[above]}",
            measured=above is not None and _turned(ahead[0], behind[0], below, above, question),
        )


def _root(grid: Floats, gap: Floats, place: int) -> float:
    """Where the gap is 0, on a straight line over log compute."""
    share = gap[place] / (gap[place] - gap[place + 1])
    return float(grid[place] * (grid[place + 1] / grid[place]) ** share)


def _turned(ahead: Series, behind: Series, below: float, above: float, question: Question) -> bool:
    """Whether the scores themselves change places."""
    leads, trails = (
        {question.where(point): point.score for point in usable(each.points, question)} for each in (ahead, behind)
    )
    return leads[below] > trails[below] and leads[above] < trails[above]
