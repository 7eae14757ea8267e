"""`/api/boards/{name}/published`."""

from __future__ import annotations

from fastapi import APIRouter

from datacomp.messages import PublishedOut
from datacomp_server.dependencies import SessionDep
from datacomp_server.errors import refusals
from datacomp_server.published.service import PublishedService

router = APIRouter(prefix="/api/boards", tags=["boards"])


@router.get("/{name}/published", responses=refusals(404))
def published(name: str, session: SessionDep) -> PublishedOut:
    """What papers report of a board's scale: not run here, and not ranked."""
    return PublishedService(session).beside(name)
