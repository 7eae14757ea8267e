"""`/api/leaderboard`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from datacomp.messages import LeaderboardOut, Track
from datacomp.problems import BadInput
from datacomp_server.dependencies import LeaderboardServiceDep
from datacomp_server.errors import refusals

router = APIRouter(prefix="/api/leaderboard", tags=["leaderboard"])


@router.get("", responses=refusals(404))
def leaderboard(
    leaderboards: LeaderboardServiceDep,
    board: Annotated[str | None, Query(max_length=64)] = None,
    scale: Annotated[str | None, Query(max_length=40)] = None,
    track: Track = Track.FILTERING,
) -> LeaderboardOut:
    """The leaderboard of a board, or of the first board of a track and scale."""
    if board is not None:
        return leaderboards.board(board)
    if scale is not None:
        return leaderboards.board_of_scale(scale, track)
    raise BadInput.of("board-not-named", "which leaderboard?", where="board", hint="give ?board= or ?scale=")
