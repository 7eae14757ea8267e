"""How sure leaderboards are, and what two entries have in common and apart."""

from __future__ import annotations

from pydantic import Field

from datacomp.messages.words import Digest, Message


class SeedDeviationOut(Message):
    """Standard deviations between seeds of one submission, as a board's ranks reckon with them."""

    average: float
    main: float
    source: str
    """`default`, `configured`, `given` by an organiser, or `measured`."""
    freedom: int | None = None
    """Degrees of freedom of a measurement."""


class ComparedEntry(Message):
    """One of the entries that are compared."""

    submission: str
    url: str
    method: str
    participant: str
    team: str | None
    board: str
    rank_lo: int | None
    rank_hi: int | None
    average: float | None
    average_lo: float | None
    average_hi: float | None
    main: float | None
    seeds: int
    subset_size: int | None
    """Samples, repeats counted."""
    subset_digest: Digest | None


class Difference(Message):
    """The second entry less the first, with a 95% interval."""

    value: float | None
    lo: float | None = None
    hi: float | None = None
    differs: bool = False
    """Whether the interval leaves out 0."""
    paired: bool = False
    """Whether it comes from both entries' outcomes on the same items, drawn together."""


class TaskDifference(Message):
    """What two entries made of a task; the interval is that of these trained models on other items of the kind."""

    task: str
    name: str
    group: str
    counted: bool
    first: float | None
    second: float | None
    difference: Difference


class GroupDifference(Message):
    """Means of a group; the interval reckons with other seeds as well as other items."""

    group: str
    first: float | None
    second: float | None
    difference: Difference


class SubsetOverlap(Message):
    """How many uids two subsets have in common."""

    both: int
    only_first: int
    only_second: int
    jaccard: float
    first_uids: list[str] = Field(default_factory=list)
    """A few of those only in the first, drawn at random."""
    second_uids: list[str] = Field(default_factory=list)


class Comparison(Message):
    """A pair of entries."""

    first: str
    second: str
    average: Difference
    """With other seeds and other items in mind."""
    other_tasks: Difference
    """The average when the tasks themselves are drawn anew: would it hold on other tasks? Reported apart."""
    main: Difference
    groups: list[GroupDifference]
    tasks: list[TaskDifference]
    overlap: SubsetOverlap | None
    overlap_note: str = ""
    """Why the overlap is not told."""


class CompareOut(Message):
    """Entries of one suite; every other one against the first."""

    suite: str
    suite_digest: Digest
    withheld: list[str] = Field(default_factory=list)
    """Private tasks, left out until they are revealed."""
    entries: list[ComparedEntry]
    comparisons: list[Comparison]
