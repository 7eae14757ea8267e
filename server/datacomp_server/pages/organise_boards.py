"""A board for organisers: its settings, its deviation between seeds, published rows, and its files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from datacomp.messages import BoardOut
from datacomp.problems import BadInput, Problem
from datacomp.published.tables import TABLE_3, read_published
from datacomp_server.accounts.service import Viewer
from datacomp_server.boards.deviation import GIVEN, SeedDeviation
from datacomp_server.boards.models import Board
from datacomp_server.boards.removals import Removals
from datacomp_server.boards.service import BoardService
from datacomp_server.boards.suites import known_suites
from datacomp_server.dependencies import DatabaseDep, SettingsDep, get_database, get_settings
from datacomp_server.leaderboard.deviations import measured, replicates, set_deviation
from datacomp_server.operation.export import BLOCK, zip_board
from datacomp_server.operation.lists import ListRepository
from datacomp_server.pages.contexts import Fact
from datacomp_server.pages.filters import moment, number, short, size
from datacomp_server.pages.organise import actor_of
from datacomp_server.pages.organise_contexts import OrganiseBoardPage, SuiteChoice
from datacomp_server.pages.signed import OrganiserForm, OrganiserPage, Sent, attempt
from datacomp_server.pages.web import answer, site_for, spool_fault
from datacomp_server.published.service import PublishedService, import_noted

router = APIRouter(prefix="/organise/boards", include_in_schema=False)
MOST_PINNED = 100
DONE = {
    "deviation": "The deviation between seeds is noted; ranks are computed anew.",
    "published": "The table is imported.",
    "rescored": "The board has its new scores.",
}


@router.get("/{name}")
def board_page(name: str, request: Request, viewer: OrganiserPage, done: str = "") -> Response:
    """One board."""
    return answer(request, _page(request, viewer, name, done=DONE.get(done, "")))


@router.post("/{name}/deviation")
def change_deviation(
    name: str, request: Request, sent: OrganiserForm, database: DatabaseDep, settings: SettingsDep
) -> Response:
    """Set the deviation between seeds, measure it, or go back to the defaults."""

    def act() -> None:
        with database.write() as session:
            row = BoardService(session).row(name)
            found = SeedDeviation.of(row)
            match sent.text("how"):
                case "measure":
                    found = measured(replicates(session, row), found)
                case "set":
                    found = _given(sent)
                case "default":
                    found = SeedDeviation()
                case _:
                    raise BadInput.of("choice-missing", "choose how it is found", where="how")
            set_deviation(session, settings, row, found, actor_of(sent.viewer))

    return _change(request, sent, name, act, "deviation")


@router.post("/{name}/published")
def import_table(
    name: str, request: Request, sent: OrganiserForm, database: DatabaseDep, settings: SettingsDep
) -> Response:
    """Import the table that comes with the platform: DataComp's own results."""

    def act() -> None:
        with database.write() as session:
            BoardService(session).row(name)
            import_noted(session, settings, read_published(TABLE_3), about=TABLE_3, actor=actor_of(sent.viewer))

    return _change(request, sent, name, act, "published")


@router.get("/{name}/export.zip")
def export(
    name: str,
    viewer: OrganiserPage,
    database: DatabaseDep,
    settings: SettingsDep,
    private: Annotated[bool, Query()] = False,
) -> Response:
    """The leaderboard with all scores and every manifest, as `datacomp admin export` writes them, as a ZIP file."""
    try:
        file = zip_board(database, settings, name, private=private)
    except OSError as error:
        raise spool_fault(error) from error

    def blocks() -> Iterator[bytes]:
        with file:
            while block := file.read(BLOCK):
                yield block

    headers = {"Content-Disposition": f'attachment; filename="{name}.zip"', "Cache-Control": "no-store"}
    return StreamingResponse(blocks(), media_type="application/zip", headers=headers)


def _given(sent: Sent) -> SeedDeviation:
    figures: dict[str, float] = {}
    problems = []
    for name in ("average", "main"):
        try:
            figures[name] = float(sent.text(name))
        except ValueError:
            figures[name] = math.nan
        if not 0 < figures[name] < 1:
            message = f"the deviation of the {name} must be a number between 0 and 1"
            problems.append(Problem(code="deviation-invalid", message=message, where=name, hint="for instance 0.004"))
    if problems:
        raise BadInput(*problems)
    return SeedDeviation(figures["average"], figures["main"], source=GIVEN)


def _change(request: Request, sent: Sent, name: str, act: Callable[[], None], done: str) -> Response:
    def go_on() -> str:
        act()
        return f"/organise/boards/{name}?done={done}"

    return attempt(request, go_on, lambda problems: _page(request, sent.viewer, name, problems=problems))


def _page(
    request: Request, viewer: Viewer, name: str, *, done: str = "", problems: list[Problem] | None = None
) -> OrganiseBoardPage:
    with get_database(request).read() as session:
        row = BoardService(session).row(name)
        board = BoardService.out(row)
        return OrganiseBoardPage(
            site=site_for(request, viewer),
            board=board,
            settings=settings_of(board, row),
            deviation=SeedDeviation.of(row),
            pinned=ListRepository(session).pinned(name, MOST_PINNED),
            removed=Removals(session).count(row.pool),
            published=len(PublishedService(session).beside(name).rows),
            suites=[SuiteChoice(one.digest, one.id) for one in known_suites(session, get_settings(request))],
            done=done,
            problems=problems or [],
        )


def settings_of(board: BoardOut, row: Board) -> list[Fact]:
    """What the boards file says of it, as labelled figures."""

    def limit(value: int | None) -> str:
        return "no limit" if value is None else number(value)

    pool = f"{board.pool}, {number(board.pool_rows)} rows" if board.pool_rows else board.pool
    pinned = ", ".join([*row.baseline_accounts, *row.baseline_submissions])
    return [
        Fact("Name", board.name, code=True),
        Fact("Track", board.track.value),
        Fact("Scale", row.scale),
        Fact("Suite", board.suite),
        Fact("Suite digest", short(board.suite_digest), code=True, title=board.suite_digest),
        Fact("Pool", pool),
        Fact("Pool digest", short(board.pool_digest), code=True, title=board.pool_digest or ""),
        Fact("Trainings of an entry, by seed", ", ".join(map(str, row.seeds))),
        Fact("Queue of training", row.train_queue),
        Fact("Queue of the stages before", row.data_queue),
        Fact("Near-duplicates", board.dedup.mode.value),
        Fact("Submissions a day", number(board.submissions_per_day)),
        Fact("Submissions in all", limit(board.submissions_total)),
        Fact("Under way at once", limit(board.submissions_concurrent)),
        Fact("Largest file", size(board.max_upload_bytes)),
        Fact("Opens", moment(board.opens_at)),
        Fact("Closes", moment(board.closes_at)),
        Fact("Private tasks", ", ".join(board.private_tasks) or "none"),
        Fact("Revealed", moment(board.reveals_at)),
        Fact("Disclosure", board.disclosure.value),
        Fact("Images are shown", "yes" if board.show_images else "no"),
        Fact("Pinned in the file", pinned or "none"),
    ]
