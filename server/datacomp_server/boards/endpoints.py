"""`/api/boards`."""

from __future__ import annotations

from fastapi import APIRouter

from datacomp.messages import BoardOut
from datacomp_server.dependencies import BoardServiceDep
from datacomp_server.errors import refusals

router = APIRouter(prefix="/api/boards", tags=["boards"])


@router.get("", responses=refusals())
def list_boards(boards: BoardServiceDep) -> list[BoardOut]:
    """All boards, in the order of pages."""
    return boards.list_boards()


@router.get("/{name}", responses=refusals(404))
def get_board(name: str, boards: BoardServiceDep) -> BoardOut:
    """One board."""
    return boards.board(name)
