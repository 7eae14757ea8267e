"""Pages for organisers: how everything stands. The parts beside it: boards, runs, accounts."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from datacomp_server.accounts.service import Viewer
from datacomp_server.audit.service import Actor
from datacomp_server.dependencies import DatabaseDep, SettingsDep
from datacomp_server.operation.overview import standing
from datacomp_server.pages.organise_contexts import OrganisePage
from datacomp_server.pages.signed import OrganiserPage
from datacomp_server.pages.web import answer, site_for

router = APIRouter(prefix="/organise", include_in_schema=False)


@router.get("")
def overview(request: Request, viewer: OrganiserPage, database: DatabaseDep, settings: SettingsDep) -> Response:
    """Boards, queues and room, with links to everything else."""
    with database.read() as session:
        page = OrganisePage(site=site_for(request, viewer), standing=standing(session, settings))
    return answer(request, page)


def actor_of(viewer: Viewer) -> Actor:
    """Who acts, for histories and the audit log."""
    return Actor(f"{viewer.role.value}:{viewer.name}", viewer.user_id)
