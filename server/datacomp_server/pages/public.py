"""Pages that anybody may read: start page, leaderboards, boards and rules, queue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from datacomp.messages import BoardOut, Track
from datacomp.suite import Suite
from datacomp_server.boards.service import BoardService
from datacomp_server.dependencies import (
    AnswersDep,
    BoardServiceDep,
    DatabaseDep,
    LeaderboardServiceDep,
    QueueServiceDep,
    SettingsDep,
)
from datacomp_server.leaderboard.export import csv_blocks, parquet_bytes
from datacomp_server.leaderboard.order import Order
from datacomp_server.leaderboard.service import LeaderboardService
from datacomp_server.leaderboard.service import View as Rows
from datacomp_server.pages.contexts import (
    BoardsPage,
    Fact,
    Front,
    HomePage,
    LeaderboardPage,
    QueuePage,
    RulesPage,
    Site,
    TaskGroup,
)
from datacomp_server.pages.filters import number, scientific, short
from datacomp_server.pages.rendering import render
from datacomp_server.pages.table import PAGE_SIZE, View, build, group_label
from datacomp_server.pages.web import PageViewer, anonymous_site, answer, site_for
from datacomp_server.published.service import PublishedService

router = APIRouter(include_in_schema=False)

HTML = "text/html; charset=utf-8"


@router.get("/")
def home(
    request: Request, viewer: PageViewer, database: DatabaseDep, settings: SettingsDep, answers: AnswersDep
) -> Response:
    """What this is, how it works, and the boards with whoever leads them."""

    def make(site: Site) -> HomePage:
        with database.read() as session:
            boards = BoardService(session).list_boards()
            leaderboards = LeaderboardService(session, settings)
            return HomePage(
                site=site, boards=boards, standings={each.name: _front(leaderboards, each) for each in boards}
            )

    if viewer is not None:
        return answer(request, make(site_for(request, viewer)))
    return answers.get("home", HTML, lambda: render(make(anonymous_site(request))).encode()).response(request)


def _front(leaderboards: LeaderboardService, board: BoardOut) -> Front:
    first = leaderboards.board(board.name, Rows(limit=1, tasks=False))
    leader = next((row for row in first.rows if row.score is not None), None)
    return Front(first.total, first.under_way_total, leader)


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
    name: str,
    request: Request,
    viewer: PageViewer,
    database: DatabaseDep,
    settings: SettingsDep,
    answers: AnswersDep,
) -> Response:
    """The leaderboard of one board; the whole state of the view is in the address."""
    view = View.of(request.url.path, request.query_params)

    def make(site: Site) -> LeaderboardPage:
        with database.read() as session:
            page = _leaderboard_page(name, view, site, BoardService(session), LeaderboardService(session, settings))
            return replace(page, published=PublishedService(session).leaderboard_rows(name))

    if viewer is not None:
        return answer(request, make(site_for(request, viewer)))
    key = repr(("page", name, view))
    return answers.get(key, HTML, lambda: render(make(anonymous_site(request))).encode()).response(request)


def _leaderboard_page(
    name: str, view: View, site: Site, boards: BoardService, leaderboards: LeaderboardService
) -> LeaderboardPage:
    order = Order(view.sort, view.descending)
    row = boards.row(name)  # held, because the session forgets what nobody holds, and it is asked for five times
    table = leaderboards.board(name, Rows(order, PAGE_SIZE, view.offset, view.all_tasks, find=view.find))
    if not table.rows and table.total:  # past the end: the last page
        last = (table.total - 1) // PAGE_SIZE * PAGE_SIZE
        table = leaderboards.board(name, Rows(order, PAGE_SIZE, last, view.all_tasks, find=view.find))
    return LeaderboardPage(
        site=site,
        board=boards.out(row),
        boards=boards.list_boards(),
        table=build(table, view, {task.key: task.name for task in boards.suite_of(row).tasks}),
    )


@router.get("/boards/{name}/leaderboard.csv")
def board_csv(name: str, boards: BoardServiceDep, database: DatabaseDep, settings: SettingsDep) -> Response:
    """The leaderboard with all groups and tasks, for spreadsheets."""
    groups = list(boards.suite(name).groups())

    def blocks() -> Iterator[bytes]:
        with database.read() as session:
            yield from csv_blocks(LeaderboardService(session, settings).pages(name), groups)

    return StreamingResponse(blocks(), media_type="text/csv; charset=utf-8", headers=_attachment(f"{name}.csv"))


@router.get("/boards/{name}/leaderboard.parquet")
def board_parquet(name: str, boards: BoardServiceDep, leaderboards: LeaderboardServiceDep) -> Response:
    """The leaderboard with all groups and tasks, for programs."""
    suite, shown = boards.suite(name), leaderboards.board(name, Rows(limit=1)).tasks
    content = parquet_bytes(leaderboards.pages(name), list(suite.groups()), shown)
    return Response(content, media_type="application/vnd.apache.parquet", headers=_attachment(f"{name}.parquet"))


def _attachment(filename: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{filename}"', "Cache-Control": "no-cache"}


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
    return answer(request, QueuePage(site=site_for(request, viewer), queue=queues.overview(viewer)))


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
