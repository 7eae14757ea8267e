"""`/api/leaderboard` and `/api/compare`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from datacomp.messages import CompareOut, LeaderboardOut, Track
from datacomp.problems import BadInput
from datacomp_server.dependencies import AnswersDep, ComparisonsDep, DatabaseDep, SettingsDep, StorageDep
from datacomp_server.errors import refusals
from datacomp_server.leaderboard.compare import MOST, CompareService, compare
from datacomp_server.leaderboard.order import RANK, Order
from datacomp_server.leaderboard.service import LeaderboardService, View

router = APIRouter(prefix="/api/leaderboard", tags=["leaderboard"])

compare_router = APIRouter(prefix="/api/compare", tags=["leaderboard"])

MOST_ROWS = 1000
IdsQuery = Annotated[
    list[Annotated[str, Field(max_length=400)]],
    Query(max_length=MOST, description="Ids of entries, separated by commas or given one by one."),
]


@router.get("", response_model=LeaderboardOut, responses={304: {"description": "Not changed"}, **refusals(404)})
def leaderboard(
    request: Request,
    database: DatabaseDep,
    settings: SettingsDep,
    answers: AnswersDep,
    board: Annotated[str | None, Query(max_length=64)] = None,
    scale: Annotated[str | None, Query(max_length=40)] = None,
    track: Track = Track.FILTERING,
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = MOST_ROWS,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    sort: Annotated[str, Query(max_length=80)] = RANK,
    descending: bool = False,
    find: Annotated[str, Query(max_length=80, description="Words in the names of method, participant and team.")] = "",
) -> Response:
    """The leaderboard of a board, or of the first board of a track and scale: one page of its entries, by any column
    (`rank`, `method`, `participant`, `subset`, `average`, `main`, `date`, `group:<name>`, `task:<key>`). With `find`,
    `total` counts what was found."""
    if board is None and scale is None:
        raise BadInput.of("board-not-named", "which leaderboard?", where="board", hint="give ?board= or ?scale=")

    def make() -> bytes:
        view = View(Order(sort, descending), limit, offset, find=find)
        with database.read() as session:
            boards = LeaderboardService(session, settings)
            name = board if board is not None else boards.name_of_scale(scale or "", track)
            return boards.board(name, view).model_dump_json().encode()

    key = repr(("api", board, scale, track, limit, offset, sort, descending, find))
    return answers.get(key, "application/json", make).response(request)


@compare_router.get("", responses=refusals(404))
def compare_entries(
    database: DatabaseDep, settings: SettingsDep, storage: StorageDep, comparisons: ComparisonsDep, ids: IdsQuery
) -> CompareOut:
    """Two to four entries of one suite: differences from the first by task, group and average with intervals, and how
    many uids their subsets share."""
    with database.read() as session:
        gathered = CompareService(session, settings).gather(split_ids(ids))
    return compare(gathered, comparisons, storage, settings)


def split_ids(ids: list[str]) -> list[str]:
    """Ids as addresses give them: `ids=a,b` or `ids=a&ids=b`."""
    return [one for part in ids for one in (piece.strip() for piece in part.split(",")) if one]
