"""`/api/boards/{name}/pool` and `/api/boards/{name}/preview`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from datacomp.messages import PoolOut, PreviewIn, PreviewOut
from datacomp_server.dependencies import DatabaseDep
from datacomp_server.errors import refusals
from datacomp_server.pools.service import BoardPool, Desk

router = APIRouter(prefix="/api/boards", tags=["boards"])


def get_desk(request: Request) -> Desk:
    """What the application keeps of pools."""
    desk: Desk = request.app.state.desk
    return desk


DeskDep = Annotated[Desk, Depends(get_desk)]


def get_board_pool(name: str, database: DatabaseDep, desk: DeskDep) -> BoardPool:
    """The pool of the board that the address names. The transaction ends here: figures may take a while."""
    with database.read() as session:
        return BoardPool.read(session, desk, name)


BoardPoolDep = Annotated[BoardPool, Depends(get_board_pool)]


@router.get("/{name}/pool", responses=refusals(404))
def get_pool(pool: BoardPoolDep) -> PoolOut:
    """What a board's pool contains, as far as this server has a copy of it."""
    return pool.describe()


@router.post("/{name}/preview", responses=refusals(404))
def preview(pool: BoardPoolDep, asked: PreviewIn) -> PreviewOut:
    """What an expression would keep of a board's pool. Nothing is handed in, and no quota is used.

    Expressions that need a filter's own code are refused with the command that works them out on your machine.
    """
    return pool.preview(asked.expression)
