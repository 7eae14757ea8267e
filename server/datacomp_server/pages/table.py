"""The leaderboard as a page shows it: columns, order, sections and links, from `LeaderboardOut` and the address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import urlencode

from datacomp.messages import LeaderboardOut, LeaderboardRow, SeedDeviationOut

PAGE_SIZE = 100
MOST_LETTERS = 80
"""Of what is looked for."""
GROUP_LABELS = {
    "main": "Main",
    "shift": "Dist. shifts",
    "vtab": "VTAB",
    "retrieval": "Retrieval",
    "worst-group": "Worst group",
    "worst_group": "Worst group",
    "other": "Other",
    "probe-near": "Probes, near",
    "probe-far": "Probes, far",
    "varied": "Varied",
}


def group_label(group: str) -> str:
    """A group's name on pages."""
    return GROUP_LABELS.get(group, group)


@dataclass(frozen=True)
class View:
    """What the address asks for; `link` gives the address of a neighbouring view."""

    path: str
    sort: str = "rank"
    descending: bool = False
    all_tasks: bool = False
    unfinished: bool = False
    page: int = 1
    find: str = ""

    @classmethod
    def of(cls, path: str, query: Mapping[str, str]) -> View:
        """Read the query string; what cannot be understood falls back to the default view."""
        sort = query.get("sort", "rank")
        page = query.get("page", "1")
        return cls(
            path,
            sort=sort,
            descending=query.get("order", "desc" if _falls_first(sort) else "asc") == "desc",
            all_tasks=query.get("tasks") == "all",
            unfinished=query.get("unfinished") == "1",
            page=min(max(int(page), 1), 1_000_000) if page.isascii() and page.isdigit() and len(page) < 8 else 1,
            find=" ".join(query.get("find", "")[:MOST_LETTERS].split()),
        )

    @property
    def offset(self) -> int:
        """Entries before this page."""
        return (self.page - 1) * PAGE_SIZE

    @property
    def address(self) -> str:
        """Path and query, naming only what differs from the default."""
        query = {"find": self.find} if self.find else {}
        if self.sort != "rank" or self.descending:
            query["sort"] = self.sort
            if self.descending != _falls_first(self.sort):
                query["order"] = "desc" if self.descending else "asc"
        if self.all_tasks:
            query["tasks"] = "all"
        if self.unfinished:
            query["unfinished"] = "1"
        if self.page > 1:
            query["page"] = str(self.page)
        return f"{self.path}?{urlencode(query)}" if query else self.path

    def sorted_by(self, key: str) -> str:
        """Address of this view sorted by a column; by the present column, turned round."""
        turned = not self.descending if key == self.sort else _falls_first(key)
        return replace(self, sort=key, descending=turned, page=1).address

    def with_tasks(self, shown: bool) -> str:
        """Address of this view with or without all tasks."""
        return replace(self, all_tasks=shown).address

    def with_unfinished(self, shown: bool) -> str:
        """Address of this view with or without what is still under way."""
        return replace(self, unfinished=shown).address

    def finding(self, words: str) -> str:
        """Address of this view of the entries with these words."""
        return replace(self, find=words, page=1).address

    def at_page(self, page: int) -> str:
        """Address of another page of this view."""
        return replace(self, page=page).address


@dataclass(frozen=True)
class Column:
    """A column that can be sorted by."""

    key: str
    label: str
    link: str
    direction: str | None
    """`ascending` or `descending` when the table is sorted by it."""
    title: str = ""


@dataclass(frozen=True)
class Line:
    """One row: the message and what is written beside it."""

    row: LeaderboardRow
    groups: list[float | None]
    tasks: list[float | None]
    bar: float | None
    """Average as a share of the best one on the page, for the bar under the figure."""


@dataclass(frozen=True)
class Leaderboard:
    """A table ready to be written."""

    view: View
    fixed: dict[str, Column]
    """`rank`, `method`, `participant`, `subset`, `average`, `main`, `delta`, `date`."""
    groups: list[Column]
    tasks: list[Column]
    """Empty unless all tasks are asked for."""
    task_count: int
    lines: list[Line]
    total: int
    pages: int
    unfinished: list[LeaderboardRow]
    """The oldest of what is under way; `unfinished_total` counts them all."""
    unfinished_total: int
    has_published: bool
    rank_by: str
    generated_at: datetime
    rule: str
    """How entries are ranked, in words."""
    deviation: SeedDeviationOut | None
    ranks_at: datetime | None
    """The rank ranges are those of the scores at this time; None before there were any."""
    ranks_pending: bool


def _falls_first(key: str) -> bool:
    return key not in {"rank", "method", "participant"}


FIXED = {
    "rank": "Rank",
    "method": "Method",
    "participant": "Participant",
    "subset": "Subset size",
    "average": "Average",
    "main": "Main",
    "delta": "Δ baseline",
    "date": "Date",
}


def build(board: LeaderboardOut, view: View, task_names: Mapping[str, str]) -> Leaderboard:
    """The table of one page of a board under a view. `task_names` gives tasks their written names."""
    groups = _groups(board.rows)
    tasks = board.tasks if view.all_tasks else []
    pages = max(1, -(-board.total // PAGE_SIZE))
    view = replace(view, page=min(view.page, pages))
    best = max((row.score for row in board.rows if row.score is not None), default=None)
    return Leaderboard(
        view=view,
        fixed={key: _column(view, key, label) for key, label in FIXED.items()},
        groups=[_column(view, f"group:{group}", group_label(group)) for group in groups],
        tasks=[_column(view, f"task:{task}", task_names.get(task, task), task) for task in tasks],
        task_count=len(board.tasks),
        lines=[
            Line(
                row=row,
                groups=[row.groups.get(group) for group in groups],
                tasks=[row.tasks.get(task) for task in tasks],
                bar=max(row.score, 0.0) / best if best and row.score is not None else None,
            )
            for row in board.rows
        ],
        total=board.total,
        pages=pages,
        unfinished=board.under_way,
        unfinished_total=board.under_way_total,
        has_published=any(row.status == "published" for row in board.rows),
        rank_by=board.rank_by,
        generated_at=board.generated_at,
        rule=board.rule,
        deviation=board.seed_deviation,
        ranks_at=board.ranks_at,
        ranks_pending=board.ranks_pending,
    )


def _groups(rows: Sequence[LeaderboardRow]) -> list[str]:
    """Groups that have a column: not one of which the headline task is the only member, as it has a column already."""
    found = dict.fromkeys(group for row in rows for group in row.groups)
    return [group for group in found if any(row.groups.get(group, row.main) != row.main for row in rows)]


def _column(view: View, key: str, label: str, title: str = "") -> Column:
    direction = ("descending" if view.descending else "ascending") if key == view.sort else None
    return Column(key, label, view.sorted_by(key), direction, title)
