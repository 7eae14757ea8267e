"""`/compare`: entries side by side, chosen on the leaderboard or by address."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from fastapi import APIRouter, Query, Request
from pydantic import Field
from sqlalchemy.orm import Session
from starlette.responses import Response

from datacomp.messages import CompareOut, Comparison, Kept, Stage
from datacomp.problems import BadInput, Problem
from datacomp_server.dependencies import ComparisonsDep, DatabaseDep, SettingsDep, StorageDep
from datacomp_server.errors import NotFound, status_of
from datacomp_server.leaderboard.compare import CompareService, Gathered, compare
from datacomp_server.leaderboard.endpoints import split_ids
from datacomp_server.pages.contexts import Page
from datacomp_server.pages.kept import Pair, Together, kept_of_results, pairs_of, together
from datacomp_server.pages.table import group_label
from datacomp_server.pages.web import PageViewer, answer, site_for
from datacomp_server.pools.endpoints import DeskDep
from datacomp_server.pools.service import BoardPool
from datacomp_server.runs.repository import RunRepository

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, kw_only=True)
class ComparePage(Page):
    """`compare.html`: differences from the first entry; without any, a form that asks for ids, and what is wrong."""

    template: ClassVar[str] = "compare.html"
    asked: str
    """The ids as they were given."""
    found: CompareOut | None
    labels: dict[str, str] = field(default_factory=dict)
    """Groups' names on pages."""
    kept: list[Together] = field(default_factory=list)
    """What they kept, property by property; none where that is not known of all."""
    alone: dict[str, tuple[list[Pair], list[Pair]]] = field(default_factory=dict)
    """By the id of the second entry: samples only in the first, and only in the second."""
    problems: list[Problem] = field(default_factory=list)

    @property
    def reach(self) -> float:
        """The bound furthest from 0 of all differences by group and task: they are drawn on one scale."""
        pairs = self.found.comparisons if self.found else []
        groups = [group.difference for pair in pairs for group in pair.groups]
        rows = groups + [task.difference for pair in pairs for task in pair.tasks]
        return max((abs(end) for one in rows for end in (one.lo, one.hi) if end is not None), default=0.0)


@router.get("/compare")
def compare_page(
    request: Request,
    viewer: PageViewer,
    database: DatabaseDep,
    settings: SettingsDep,
    storage: StorageDep,
    comparisons: ComparisonsDep,
    desk: DeskDep,
    ids: Annotated[list[Annotated[str, Field(max_length=400)]], Query(max_length=100)] = [],  # noqa: B006 - read only
) -> Response:
    """Two to four entries of one suite."""
    wanted = split_ids(ids)
    site = site_for(request, viewer)
    if not wanted:
        return answer(request, ComparePage(site=site, asked="", found=None))
    try:
        with database.read() as session:
            gathered = CompareService(session, settings).gather(wanted, viewer)
            sides = _sides(session, gathered)
            pools = {
                each.submission.id: BoardPool.read(session, desk, each.submission.board_name)
                for each in gathered.entries
            }
    except (BadInput, NotFound) as error:
        page = ComparePage(site=site, asked=",".join(wanted), found=None, problems=list(error.problems))
        return answer(request, page, status_of(error))
    found = compare(gathered, comparisons, storage, settings)
    labels = {task.group: group_label(task.group) for task in gathered.suite.tasks}
    page = ComparePage(
        site=site,
        asked=",".join(wanted),
        found=found,
        labels=labels,
        kept=together(sides),
        alone={pair.second: _alone(pair, pools) for pair in found.comparisons},
    )
    return answer(request, page)


def _sides(session: Session, gathered: Gathered) -> list[tuple[str, str, Kept]]:
    """What each entry kept; none where one does not know."""
    sides = []
    for entry in gathered.entries:
        runs = RunRepository(session).of_submission(entry.submission.id)
        kept = kept_of_results(run.result for run in runs if run.stage is Stage.SUBSET)
        if kept is None:
            return []
        sides.append((entry.submission.id, entry.submission.method, kept))
    return sides


def _alone(pair: Comparison, pools: dict[str, BoardPool]) -> tuple[list[Pair], list[Pair]]:
    if pair.overlap is None:
        return [], []
    return pairs_of(pools[pair.first], pair.overlap.first_uids), pairs_of(pools[pair.second], pair.overlap.second_uids)
