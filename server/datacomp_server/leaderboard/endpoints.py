"""`/api/leaderboard`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from datacomp.messages import LeaderboardOut, Track
from datacomp.problems import BadInput
from datacomp_server.dependencies import AnswersDep, DatabaseDep, SettingsDep
from datacomp_server.errors import refusals
from datacomp_server.leaderboard.order import RANK, Order
from datacomp_server.leaderboard.service import LeaderboardService, View

router = APIRouter(prefix="/api/leaderboard", tags=["leaderboard"])

MOST_ROWS = 1000


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
) -> Response:
    """The leaderboard of a board, or of the first board of a track and scale: one page of its entries, by any column
    (`rank`, `method`, `participant`, `subset`, `average`, `main`, `date`, `group:<name>`, `task:<key>`)."""
    if board is None and scale is None:
        raise BadInput.of("board-not-named", "which leaderboard?", where="board", hint="give ?board= or ?scale=")

    def make() -> bytes:
        view = View(Order(sort, descending), limit, offset)
        with database.read() as session:
            boards = LeaderboardService(session, settings)
            name = board if board is not None else boards.name_of_scale(scale or "", track)
            return boards.board(name, view).model_dump_json().encode()

    key = repr(("api", board, scale, track, limit, offset, sort, descending))
    return answers.get(key, "application/json", make).response(request)
