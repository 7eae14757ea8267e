"""The site as a whole: all page routers, static files, headers and error pages."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from datacomp_server.accounts.providers import ElsewhereCookie
from datacomp_server.pages import (
    audit,
    charts,
    compare,
    docs,
    elsewhere,
    forgotten,
    organise,
    organise_boards,
    organise_rescore,
    organise_runs,
    organise_users,
    people,
    pool,
    public,
    receipts,
    settings,
    submit,
    team,
    trends,
)
from datacomp_server.pages.assets import Static
from datacomp_server.pages.errorpages import install_error_pages
from datacomp_server.pages.security import SecurityHeaders
from datacomp_server.pages.signed import install_sign_in

router = APIRouter(include_in_schema=False)
for part in (
    public,
    people,
    settings,
    forgotten,
    elsewhere,
    team,
    submit,
    receipts,
    audit,
    charts,
    trends,
    compare,
    docs,
    pool,
):
    router.include_router(part.router)
for part in (organise, organise_boards, organise_rescore, organise_runs, organise_users):
    router.include_router(part.router)


def install_pages(app: FastAPI) -> None:
    """Serve the site from an application whose state holds settings, database and storage."""
    app.include_router(router)
    app.mount("/static", Static(), name="static")
    app.add_middleware(ElsewhereCookie)
    app.add_middleware(SecurityHeaders)
    install_error_pages(app)
    install_sign_in(app)
