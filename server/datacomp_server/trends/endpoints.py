"""`/api/trends`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from datacomp.messages import Track, TrendsOut
from datacomp_server.dependencies import AnswersDep, DatabaseDep
from datacomp_server.errors import refusals
from datacomp_server.trends.service import DEFAULT_METRIC, Asked, TrendService

router = APIRouter(prefix="/api/trends", tags=["leaderboard"])

Text = Annotated[str | None, Query(max_length=120)]


@router.get("", response_model=TrendsOut, responses={304: {"description": "Not changed"}, **refusals(422)})
def trends(
    request: Request,
    database: DatabaseDep,
    answers: AnswersDep,
    track: Track = Track.FILTERING,
    suite: Text = None,
    metric: Annotated[str, Query(max_length=120)] = DEFAULT_METRIC,
    x: Annotated[str, Query(max_length=20)] = "macs",
    method: Text = None,
) -> Response:
    """Methods across the scales of a track: how well small scales rank, trends, and what they expect one scale up.

    `metric`: `average`, `main`, `group:<name>` or `task:<key>`; `x`: `macs` or `samples`; `method`: a part of names.
    """
    asked = Asked(track, suite, metric, x, method)

    def make() -> bytes:
        with database.read() as session:
            return TrendService(session).overview(asked).model_dump_json().encode()

    return answers.get(repr(("trends", asked)), "application/json", make).response(request)
