"""`/compare`: entries side by side, chosen on the leaderboard or by address."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from datacomp.messages import CompareOut
from datacomp.problems import BadInput, Problem
from datacomp_server.dependencies import ComparisonsDep, DatabaseDep, SettingsDep, StorageDep
from datacomp_server.errors import NotFound, status_of
from datacomp_server.leaderboard.compare import CompareService, compare
from datacomp_server.leaderboard.endpoints import split_ids
from datacomp_server.pages.contexts import Page
from datacomp_server.pages.table import group_label
from datacomp_server.pages.web import PageViewer, answer, site_for

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
    problems: list[Problem] = field(default_factory=list)


@router.get("/compare")
def compare_page(
    request: Request,
    viewer: PageViewer,
    database: DatabaseDep,
    settings: SettingsDep,
    storage: StorageDep,
    comparisons: ComparisonsDep,
    ids: Annotated[list[Annotated[str, Field(max_length=400)]], Query(max_length=100)] = [],  # noqa: B006 - read only
) -> Response:
    """Two to four entries of one suite."""
    wanted = split_ids(ids)
    site = site_for(request, viewer)
    if not wanted:
        return answer(request, ComparePage(site=site, asked="", found=None))
    try:
        with database.read() as session:
            gathered = CompareService(session, settings).gather(wanted)
    except (BadInput, NotFound) as error:
        page = ComparePage(site=site, asked=",".join(wanted), found=None, problems=list(error.problems))
        return answer(request, page, status_of(error))
    found = compare(gathered, comparisons, storage, settings)
    labels = {task.group: group_label(task.group) for task in gathered.suite.tasks}
    return answer(request, ComparePage(site=site, asked=",".join(wanted), found=found, labels=labels))
