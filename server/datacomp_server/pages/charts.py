"""The charts of boards and receipts: SVG for every browser, Vega-Lite for those that make them answer to a pointer."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from datacomp.filtering.expression import LONGEST
from datacomp.messages import LeaderboardOut, LeaderboardRow, Stage, SubmissionOut
from datacomp_server.charts.bundle import BUNDLE
from datacomp_server.charts.kinds import Chart, Curves, Dot, Dots, Look, Mark, Strip, Tick
from datacomp_server.charts.studio import Studio
from datacomp_server.dependencies import (
    AnswersDep,
    BoardServiceDep,
    DatabaseDep,
    SettingsDep,
    StudioDep,
    SubmissionServiceDep,
)
from datacomp_server.errors import NotFound
from datacomp_server.leaderboard.service import LeaderboardService, View
from datacomp_server.pages.assets import YEAR
from datacomp_server.pages.kept import bars_of, kept_of_receipt, shares_of
from datacomp_server.pages.results import result_of
from datacomp_server.pages.web import PageViewer
from datacomp_server.pools.endpoints import BoardPoolDep
from datacomp_server.published.service import PublishedService

router = APIRouter(include_in_schema=False)
MOST_ENTRIES = 500
"""Entries on a board's charts: the best."""
WIDE = 20
"""Times the smallest subset that the largest must be for their axis to be logarithmic."""
LONGEST_CURVE = 400
"""Points of a loss curve."""


class Form(StrEnum):
    """What a chart is asked for as."""

    SVG = "svg"
    JSON = "json"


MEDIA = {Form.SVG: "image/svg+xml", Form.JSON: "application/json"}


class BoardChart(StrEnum):
    """A board's charts."""

    SIZE = "size"
    TASKS = "tasks"


class Theme(StrEnum):
    """The colours that a browser asks for."""

    LIGHT = "light"
    DARK = "dark"


def _look(theme: Theme = Theme.LIGHT, narrow: Annotated[bool, Query()] = False) -> Look:
    return Look(theme is Theme.DARK, narrow)


LookDep = Annotated[Look, Depends(_look)]


@router.get(BUNDLE)
def vega(request: Request, studio: StudioDep) -> Response:
    """Vega, Vega-Lite and vega-embed in one script, as vl-convert carries them."""
    caching = f"public, max-age={YEAR}, immutable" if "v" in request.query_params else "no-cache"
    content = studio.bundle()
    return Response(content, media_type="text/javascript; charset=utf-8", headers={"Cache-Control": caching})


@router.get("/boards/{name}/charts/{which}.{form}")
def board_chart(
    name: str,
    which: BoardChart,
    form: Form,
    look: LookDep,
    request: Request,
    database: DatabaseDep,
    settings: SettingsDep,
    boards: BoardServiceDep,
    answers: AnswersDep,
    studio: StudioDep,
) -> Response:
    """Subset size against score, or scores by task."""
    names = {task.key: task.name for task in boards.suite(name).tasks}
    chances = {task.name: task.chance for task in boards.suite(name).tasks if task.chance is not None}

    def make() -> bytes:
        with database.read() as session:
            table = LeaderboardService(session, settings).board(name, View(limit=MOST_ENTRIES))
            papers = PublishedService(session).leaderboard_rows(name)
        table = table.model_copy(update={"rows": [*table.rows, *papers]})
        chart = sizes(table) if which is BoardChart.SIZE else tasks(table, names, chances)
        return drawn(studio, chart, look, form)

    return answers.get(repr(("chart", name, which, form, look)), MEDIA[form], make).response(request)


@router.get("/submissions/{submission_id}/charts/loss.{form}")
def loss_chart(
    submission_id: str,
    form: Form,
    look: LookDep,
    viewer: PageViewer,
    submissions: SubmissionServiceDep,
    studio: StudioDep,
) -> Response:
    """The loss over samples seen, a line a seed; axes alone as long as nothing has been trained."""
    chart = losses(submissions.receipt(submission_id, viewer))
    return Response(drawn(studio, chart, look, form), media_type=MEDIA[form], headers={"Cache-Control": "no-cache"})


@router.get("/submissions/{submission_id}/charts/kept/{which}.{form}")
def kept_chart(
    submission_id: str,
    which: str,
    form: Form,
    look: LookDep,
    viewer: PageViewer,
    submissions: SubmissionServiceDep,
    studio: StudioDep,
) -> Response:
    """One property of what a submission kept, beside the whole pool."""
    kept = kept_of_receipt(submissions.receipt(submission_id, viewer))
    chart = next((shares_of(each) for each in kept.binned if each.name == which), None) if kept is not None else None
    if chart is None:
        raise NotFound.of("chart-missing", f"nothing is known of {which!r} here", where=submission_id)
    return Response(drawn(studio, chart, look, form), media_type=MEDIA[form], headers={"Cache-Control": "no-cache"})


@router.get("/boards/{name}/pool/charts/{which}.{form}")
def pool_chart(
    pool: BoardPoolDep,
    which: str,
    form: Form,
    look: LookDep,
    studio: StudioDep,
    expression: Annotated[str, Query(max_length=LONGEST)] = "",
) -> Response:
    """One property of a board's pool, or of what an expression keeps of it beside the whole."""
    if expression:
        every = [(each.name, shares_of(each)) for each in pool.preview(expression).kept.binned]
    else:
        every = [(each.name, bars_of(each)) for each in pool.describe().counted]
    chart = dict(every).get(which)
    if chart is None:
        raise NotFound.of("chart-missing", f"nothing is known of {which!r} here", where=pool.board.name)
    return Response(drawn(studio, chart, look, form), media_type=MEDIA[form], headers={"Cache-Control": "no-cache"})


def sizes(table: LeaderboardOut) -> Dots:
    """Where each entry lies between few samples and many, and what it scored."""
    dots = [
        Dot(row.method, row.subset_size, row.score, _mark(row), *_interval(row))
        for row in table.rows
        if row.score is not None and row.subset_size
    ]
    across = [dot.x for dot in dots] or [1]
    wide = max(across) > WIDE * min(across)
    return Dots("samples in the subset", table.rank_by, tuple(dots), log_x=wide)


def tasks(table: LeaderboardOut, names: dict[str, str], chances: dict[str, float]) -> Strip:
    """Every entry's score of every task."""
    shown = tuple(names[key] for key in table.tasks)
    ticks = [
        Tick(names[key], row.method, row.tasks[key], _mark(row))
        for row in table.rows
        for key in table.tasks
        if key in row.tasks
    ]
    return Strip("score", shown, tuple(ticks), tuple((task, chances[task]) for task in shown if task in chances))


def losses(receipt: SubmissionOut) -> Curves:
    """The loss curves of a submission's trainings."""
    curves = []
    for run in receipt.runs:
        result = result_of(run.result) if run.stage is Stage.TRAIN else None
        points = getattr(result, "loss_curve", ())
        every = max(1, len(points) // LONGEST_CURVE)
        if len(points) > 1:
            curves.append((f"seed {run.seed}", tuple((float(x), float(y)) for x, y in points[::every])))
    return Curves("samples seen", "training loss", tuple(curves))


def _mark(row: LeaderboardRow) -> Mark:
    if row.status == Mark.PUBLISHED.name.lower():
        return Mark.PUBLISHED
    return Mark.BASELINE if row.baseline else Mark.ENTRY


def _interval(row: LeaderboardRow) -> tuple[float, float] | tuple[None, None]:
    low, high = getattr(row, "low", None), getattr(row, "high", None)
    return (low, high) if low is not None and high is not None else (None, None)


def drawn(studio: Studio, chart: Chart, look: Look, form: Form) -> bytes:
    """The chart in the form that is asked for."""
    return (studio.svg(chart, look) if form is Form.SVG else studio.spec(chart, look)).encode()
