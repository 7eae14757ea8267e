"""What the site's charts show, as plain data. How they look is `draw`'s matter, where they stand the pages'."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any


class Mark(StrEnum):
    """What a point on a board's chart stands for."""

    ENTRY = "entry"
    BASELINE = "baseline"
    PUBLISHED = "published, not run here"


@dataclass(frozen=True)
class Dot:
    """One point; `low` to `high` is the interval of `y` where there is one."""

    label: str
    x: float
    y: float
    mark: Mark = Mark.ENTRY
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Dots:
    """A scatter."""

    x_title: str
    y_title: str
    dots: tuple[Dot, ...]
    log_x: bool = False


@dataclass(frozen=True)
class Tick:
    """One score of one task."""

    task: str
    label: str
    value: float
    mark: Mark = Mark.ENTRY


@dataclass(frozen=True)
class Strip:
    """Scores by task: a row of ticks each, and where chance lies."""

    title: str
    tasks: tuple[str, ...]
    """In the order in which they are drawn."""
    ticks: tuple[Tick, ...]
    chance: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Curves:
    """Lines over a common axis, by name."""

    x_title: str
    y_title: str
    curves: tuple[tuple[str, tuple[tuple[float, float], ...]], ...]


@dataclass(frozen=True)
class Shares:
    """What share of the kept and of all rows lies in each bin, bins in order. Either may be empty: then it is not
    drawn."""

    title: str
    bins: tuple[str, ...]
    kept: tuple[int, ...]
    pool: tuple[int, ...]
    names: tuple[str, str] = ("kept", "whole pool")
    """Of the bars and of the lines across."""

    @property
    def outline(self) -> Shares:
        """The same chart of other rows: its drawing differs in `values` alone."""
        one = (1,) * len(self.bins)
        return replace(self, kept=one if sum(self.kept) else (), pool=one if sum(self.pool) else ())

    @property
    def values(self) -> list[dict[str, Any]]:
        """What is drawn: a row for every bin of the kept, then of all."""
        return [
            {"bin": bin_, "which": which, "share": count / sum(counts), "rows": count}
            for which, counts in zip(self.names, (self.kept, self.pool), strict=True)
            if sum(counts)
            for bin_, count in zip(self.bins, counts, strict=True)
        ]


@dataclass(frozen=True)
class Difference:
    """One row of `Differences`."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Differences:
    """Differences with their intervals around zero."""

    title: str
    rows: tuple[Difference, ...]


@dataclass(frozen=True)
class Course:
    """One method across scales: measured points, and the one that is expected next with its interval."""

    label: str
    points: tuple[tuple[float, float], ...]
    expected: tuple[float, float, float, float] | None = None
    """Place, error, and the bounds of its interval."""


@dataclass(frozen=True)
class Courses:
    """Errors over compute, both logarithmic; what is expected is dashed and hollow."""

    x_title: str
    y_title: str
    courses: tuple[Course, ...]


Chart = Dots | Strip | Curves | Shares | Differences | Courses


@dataclass(frozen=True)
class Look:
    """How a chart is drawn: for whose eyes and for what width."""

    dark: bool = False
    narrow: bool = False
