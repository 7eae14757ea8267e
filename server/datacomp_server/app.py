"""The FastAPI application: made by a factory, so that tests and commands give it their own settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from datacomp import __version__
from datacomp_server.accounts.endpoints import router as accounts_router
from datacomp_server.accounts.providers import Providers
from datacomp_server.audit.endpoints import router as audit_router
from datacomp_server.boards.endpoints import router as boards_router
from datacomp_server.charts.studio import Studio
from datacomp_server.dependencies import TURNS
from datacomp_server.handlers import install_handlers
from datacomp_server.heads import AnswerHead
from datacomp_server.health import router as health_router
from datacomp_server.leaderboard.answers import Answers
from datacomp_server.leaderboard.comparing import Comparisons
from datacomp_server.leaderboard.endpoints import compare_router
from datacomp_server.leaderboard.endpoints import router as leaderboard_router
from datacomp_server.leaderboard.rescored import Rescored
from datacomp_server.notices.endpoints import router as notices_router
from datacomp_server.operation.logs import AccessLog
from datacomp_server.operation.metrics import CountRequests, RequestMetrics
from datacomp_server.operation.metrics import router as metrics_router
from datacomp_server.pages.endpoints import install_pages
from datacomp_server.pages.reference import router as reference_router
from datacomp_server.pools.endpoints import router as pools_router
from datacomp_server.pools.service import Desk
from datacomp_server.published.endpoints import router as published_router
from datacomp_server.rates import Limiter, RateLimits
from datacomp_server.requests import RequestContext
from datacomp_server.runs.endpoints import queue_router
from datacomp_server.runs.endpoints import router as worker_router
from datacomp_server.settings import Settings, load_settings
from datacomp_server.startup import Platform, start
from datacomp_server.submissions.downloads import router as downloads_router
from datacomp_server.submissions.endpoints import router as submissions_router
from datacomp_server.submissions.events import Hub
from datacomp_server.teams.endpoints import router as teams_router
from datacomp_server.trends.endpoints import router as trends_router
from datacomp_server.uploads.endpoints import router as uploads_router

DESCRIPTION = """\
A dataset-filtering competition: model, training recipe and evaluation are fixed, participants compete on the data.

Make an account (`POST /api/accounts`), send its token as `Authorization: Bearer TOKEN`, open a submission
(`POST /api/submissions`), send its file to the address that the answer names in `upload`, and follow it
(`GET /api/submissions/{id}` or its events). Every refusal is a list of problems: a stable code, what happened, where,
and what to do.
"""
TAGS = [
    {"name": "accounts", "description": "Accounts, API tokens and browser sessions."},
    {"name": "teams", "description": "People who submit together."},
    {"name": "notices", "description": "Webhooks and mail when a submission ends."},
    {"name": "audit", "description": "Who did what that matters for security."},
    {"name": "boards", "description": "Track x scale x suite version, with a pool and quotas."},
    {"name": "submissions", "description": "What somebody hands in to a board, and its receipt."},
    {"name": "uploads", "description": "A submission's file, in resumable pieces by the tus protocol."},
    {"name": "leaderboard", "description": "Ranked rows; every one was trained and evaluated here."},
    {"name": "queue", "description": "What waits, what runs, and who serves it."},
    {"name": "worker", "description": "The protocol of workers: claim, heartbeat, files, finish, fail."},
    {"name": "health", "description": "For load balancers and supervisors."},
]


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application. Database and storage are opened when it starts, and closed when it ends."""
    app = FastAPI(
        title="DataComp",
        version=__version__,
        description=DESCRIPTION,
        openapi_url="/api/openapi.json",
        openapi_tags=TAGS,
        docs_url=None,  # the usual page loads its scripts from elsewhere; ours is in pages/reference.py
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.settings = settings or load_settings()
    for router in (
        accounts_router,
        teams_router,
        notices_router,
        audit_router,
        boards_router,
        pools_router,
        submissions_router,
        uploads_router,
        downloads_router,
        leaderboard_router,
        compare_router,
        published_router,
        trends_router,
        queue_router,
        worker_router,
        health_router,
        metrics_router,
        reference_router,
    ):
        app.include_router(router)
    install_handlers(app)
    app.add_middleware(AnswerHead)
    app.add_middleware(RateLimits)
    install_pages(app)
    app.state.metrics = RequestMetrics()
    app.add_middleware(CountRequests, metrics=app.state.metrics)
    app.add_middleware(AccessLog)
    app.add_middleware(RequestContext)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    platform: Platform = await run_in_threadpool(start, app.state.settings)
    app.state.limiter = Limiter(app.state.settings)
    app.state.providers = Providers(app.state.settings)
    app.state.database, app.state.storage = platform.database, platform.storage
    app.state.turns = asyncio.Semaphore(TURNS)
    app.state.hub = Hub(platform.database, app.state.settings, platform.storage)
    app.state.comparisons = Comparisons()
    app.state.answers = Answers(app.state.settings.board_cache_seconds)
    app.state.studio = Studio()
    app.state.desk = Desk(app.state.settings)
    app.state.rescored = Rescored()
    try:
        yield
    finally:
        app.state.answers.close()
        app.state.studio.close()
        await run_in_threadpool(platform.database.close)
