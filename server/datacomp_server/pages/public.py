"""Pages that anybody may read: start page, leaderboards, boards and rules, queue, docs."""

from __future__ import annotations

import csv
import io
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from datacomp.messages import BoardOut, LeaderboardOut, LeaderboardRow, Track
from datacomp.suite import Suite
from datacomp_server.dependencies import BoardServiceDep, LeaderboardServiceDep, QueueServiceDep
from datacomp_server.pages.contexts import (
    BoardsPage,
    DocsPage,
    Fact,
    HomePage,
    LeaderboardPage,
    QueuePage,
    RulesPage,
    TaskGroup,
)
from datacomp_server.pages.filters import number, scientific, short
from datacomp_server.pages.table import LISTED, View, build, group_label, ordered
from datacomp_server.pages.web import PageViewer, answer, site_for

router = APIRouter(include_in_schema=False)

CSV_FIXED = (
    *("rank", "method", "participant", "submission", "status", "baseline", "subset_size", "average", "main"),
    *("delta_to_baseline", "date", "source"),
)

FILTER_EXAMPLE = '''\
"""Keeps the 30% of pairs whose image and caption agree best."""

from datacomp.filtering import Filter


class BestAgreement(Filter):
    columns = ("clip_l14_similarity_score",)
    rule = "top_fraction(score, 0.3)"

    def score(self, batch):
        return batch["clip_l14_similarity_score"]
'''


@router.get("/")
def home(request: Request, viewer: PageViewer, boards: BoardServiceDep) -> Response:
    """What this is, and the boards."""
    return answer(request, HomePage(site=site_for(request, viewer), boards=boards.list_boards()))


@router.get("/leaderboard")
def leaderboard(
    boards: BoardServiceDep,
    scale: Annotated[str | None, Query(max_length=40)] = None,
    track: Track = Track.FILTERING,
) -> RedirectResponse:
    """The board of a scale, or the first board."""
    if scale is not None:
        return RedirectResponse(f"/boards/{boards.board_of_scale(scale, track).name}", status_code=307)
    known = boards.list_boards()
    return RedirectResponse(f"/boards/{known[0].name}" if known else "/boards", status_code=307)


@router.get("/boards")
def all_boards(request: Request, viewer: PageViewer, boards: BoardServiceDep) -> Response:
    """Every board with its rules in short."""
    return answer(request, BoardsPage(site=site_for(request, viewer), boards=boards.list_boards()))


@router.get("/boards/{name}")
def board_page(
    name: str, request: Request, viewer: PageViewer, boards: BoardServiceDep, leaderboards: LeaderboardServiceDep
) -> Response:
    """The leaderboard of one board; the whole state of the view is in the address."""
    board = boards.board(name)
    view = View.of(request.url.path, request.query_params)
    table = leaderboards.board(name)
    page = LeaderboardPage(
        site=site_for(request, viewer),
        board=board,
        boards=boards.list_boards(),
        table=build(table, view, {task.key: task.name for task in boards.suite(name).tasks}),
    )
    return answer(request, page)


@router.get("/boards/{name}/leaderboard.csv")
def board_csv(name: str, boards: BoardServiceDep, leaderboards: LeaderboardServiceDep) -> Response:
    """The leaderboard with all groups and tasks, for spreadsheets."""
    boards.board(name)
    disposition = {"Content-Disposition": f'attachment; filename="{name}.csv"', "Cache-Control": "no-cache"}
    return Response(write_csv(leaderboards.board(name)), media_type="text/csv; charset=utf-8", headers=disposition)


@router.get("/boards/{name}/rules")
def rules(name: str, request: Request, viewer: PageViewer, boards: BoardServiceDep) -> Response:
    """What one board holds constant."""
    board = boards.board(name)
    page = RulesPage(
        site=site_for(request, viewer),
        board=board,
        boards=boards.list_boards(),
        recipe=recipe_of(board),
        groups=task_groups(boards.suite(name)),
    )
    return answer(request, page)


@router.get("/queue")
def queue(request: Request, viewer: PageViewer, queues: QueueServiceDep) -> Response:
    """What is queued and running, and who serves it."""
    return answer(request, QueuePage(site=site_for(request, viewer), queue=queues.overview()))


@router.get("/docs")
def docs(request: Request, viewer: PageViewer, boards: BoardServiceDep) -> Response:
    """Get started."""
    page = DocsPage(site=site_for(request, viewer), boards=boards.list_boards(), filter_template=FILTER_EXAMPLE)
    return answer(request, page)


@router.get("/favicon.ico")
def favicon() -> RedirectResponse:
    """For browsers that ask without looking at the page."""
    return RedirectResponse("/static/icon.svg", status_code=308)


def recipe_of(board: BoardOut) -> list[Fact]:
    """The frozen scale as labelled figures."""
    scale: dict[str, Any] = board.scale
    beta2 = scale["beta2"]
    return [
        Fact("Scale", str(scale["name"])),
        Fact("Track", board.track.value),
        Fact("Pool size", number(scale["pool_size"])),
        Fact("Samples seen", number(scale["samples_seen"])),
        Fact("Model", str(scale["model"])),
        Fact("Batch size", number(scale["batch_size"])),
        Fact("Learning rate", f"{scale['learning_rate']:g}"),
        Fact("Warm-up", f"{number(scale['warmup'])} steps"),
        Fact("Adam beta2", "trainer's default" if beta2 is None else f"{beta2:g}"),
        Fact("Precision", str(scale["precision"])),
        Fact("Training cost", f"{scientific(scale['train_macs'])} MACs"),
        Fact("Seeds", number(board.seeds)),
        Fact("Digest", short(scale["digest"]), code=True, title=str(scale["digest"])),
    ]


def task_groups(suite: Suite) -> list[TaskGroup]:
    """A suite's tasks by group, in the suite's order."""
    found: dict[str, TaskGroup] = {}
    for task in suite.tasks:
        found.setdefault(task.group, TaskGroup(group_label(task.group), [])).tasks.append(task)
    return list(found.values())


def write_csv(board: LeaderboardOut) -> str:
    """All listed rows by rank, one column a group and a task."""
    rows = ordered([row for row in board.rows if row.status in LISTED], "rank", descending=False)
    groups = list(dict.fromkeys(group for row in rows for group in row.groups))
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([*CSV_FIXED, *(f"group:{group}" for group in groups), *board.tasks])
    for row in rows:
        writer.writerow([*_csv_fixed(row), *map(row.groups.get, groups), *map(row.tasks.get, board.tasks)])
    return out.getvalue()


def _csv_fixed(row: LeaderboardRow) -> list[object]:
    return [
        row.rank,
        _plain(row.method),
        _plain(row.participant),
        row.submission,
        row.status,
        "yes" if row.baseline else "no",
        row.subset_size,
        row.score,
        row.main,
        row.delta_to_baseline,
        row.date.isoformat() if row.date else None,
        _plain(row.source),
    ]


def _plain(text: str) -> str:
    """Text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
