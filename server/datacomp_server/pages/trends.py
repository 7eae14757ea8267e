"""`/trends`: methods across the scales of a track. What is measured comes first, what is extrapolated says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from datacomp.messages import Forecast, ScalePoint, Track, TrendOut, TrendsOut
from datacomp.scales import SCALES
from datacomp.scaling.laws import LEAST_ERROR
from datacomp.suite import Suite
from datacomp_server.charts.kinds import Course, Courses
from datacomp_server.dependencies import AnswersDep, DatabaseDep, StudioDep
from datacomp_server.pages.charts import MEDIA, Form, LookDep, drawn
from datacomp_server.pages.contexts import Page, Site
from datacomp_server.pages.rendering import render
from datacomp_server.pages.table import group_label
from datacomp_server.pages.web import PageViewer, anonymous_site, answer, site_for
from datacomp_server.trends.service import DEFAULT_METRIC, Asked, TrendService

router = APIRouter(include_in_schema=False)
HTML = "text/html; charset=utf-8"
MOST_CROSSINGS = 20
MOST_COURSES = 8
"""Methods on the chart: more cannot be told apart."""
AXES = (("macs", "compute (MACs)"), ("samples", "samples seen"))


@dataclass(frozen=True)
class Line:
    """A method in the table: its scores in the order of the scales."""

    trend: TrendOut
    scores: list[float | None]


@dataclass(frozen=True, kw_only=True)
class TrendsPage(Page):
    """`trends.html`."""

    template: ClassVar[str] = "trends.html"
    asked: Asked
    found: TrendsOut
    scales: list[str]
    lines: list[Line]
    metrics: list[tuple[str, str]]
    """Value and label of what may be asked for."""
    tracks: list[str]
    axes: tuple[tuple[str, str], ...] = AXES
    more_crossings: int = 0
    query: str
    """What is asked for, as in the address."""


def _asked(
    track: Track = Track.FILTERING,
    suite: Annotated[str | None, Query(max_length=120)] = None,
    metric: Annotated[str, Query(max_length=120)] = DEFAULT_METRIC,
    x: Annotated[str, Query(max_length=20)] = "macs",
    method: Annotated[str | None, Query(max_length=120)] = None,
) -> Asked:
    return Asked(track, suite or None, metric, x, (method or "").strip() or None)


AskedDep = Annotated[Asked, Depends(_asked)]


@router.get("/trends")
def trends(
    request: Request, viewer: PageViewer, database: DatabaseDep, answers: AnswersDep, asked: AskedDep
) -> Response:
    """How well small scales rank, and what methods do across scales; the whole state of the view is in the address."""

    def make(site: Site) -> TrendsPage:
        with database.read() as session:
            service = TrendService(session)
            return build(site, asked, service.overview(asked), service.suite(asked))

    if viewer is not None:
        return answer(request, make(site_for(request, viewer)))
    key = repr(("trends page", asked))
    return answers.get(key, HTML, lambda: render(make(anonymous_site(request))).encode()).response(request)


@router.get("/trends/chart.{form}")
def chart(
    form: Form,
    look: LookDep,
    request: Request,
    database: DatabaseDep,
    answers: AnswersDep,
    studio: StudioDep,
    asked: AskedDep,
) -> Response:
    """The methods of the page, drawn: error over compute."""

    def make() -> bytes:
        with database.read() as session:
            found = TrendService(session).overview(asked)
        return drawn(studio, courses(found), look, form)

    return answers.get(repr(("trends chart", asked, form, look)), MEDIA[form], make).response(request)


def courses(found: TrendsOut) -> Courses:
    """The chart of the first methods."""
    shown = [trend for trend in found.trends if len(trend.series.points) > 1][:MOST_COURSES] or found.trends[:1]
    x_title = dict(AXES)[found.x]
    return Courses(x_title, f"error (1 - {found.metric})", tuple(_course(trend, found.x) for trend in shown))


def _course(trend: TrendOut, x: str) -> Course:
    def place(of: ScalePoint | Forecast) -> float:
        return of.macs if x == "macs" else of.samples_seen

    points = tuple((place(point), _error(point.score)) for point in trend.series.points)
    expected = trend.forecast
    label = f"{trend.series.method} (published)" if trend.series.published else trend.series.method
    if expected is None:
        return Course(label, points)
    bounds = (_error(expected.score), _error(expected.hi), _error(expected.lo))
    return Course(label, points, (place(expected), *bounds))


def _error(score: float) -> float:
    return max(1 - score, LEAST_ERROR)


def build(site: Site, asked: Asked, found: TrendsOut, suite: Suite | None) -> TrendsPage:
    """The page of what was found."""
    seen = {point.scale for trend in found.trends for point in trend.series.points}
    scales = [scale for scale in SCALES if scale in seen]
    return TrendsPage(
        site=site,
        asked=asked,
        found=found.model_copy(update={"crossings": found.crossings[:MOST_CROSSINGS]}),
        scales=scales,
        lines=[Line(trend, _scores(trend, scales)) for trend in found.trends],
        metrics=_metrics(asked.metric, suite),
        tracks=[track.value for track in Track],
        more_crossings=max(len(found.crossings) - MOST_CROSSINGS, 0),
        query=query_of(asked),
    )


def query_of(asked: Asked) -> str:
    """The query of an address, naming only what differs from the default; empty or beginning with `?`."""
    default = Asked()
    fields = {name: getattr(asked, name) for name in ("track", "suite", "metric", "x", "method")}
    said = {name: str(value) for name, value in fields.items() if value and value != getattr(default, name)}
    return f"?{urlencode(said)}" if said else ""


def _scores(trend: TrendOut, scales: list[str]) -> list[float | None]:
    found = {point.scale: point.score for point in trend.series.points}
    return [found.get(scale) for scale in scales]


def _metrics(metric: str, suite: Suite | None) -> list[tuple[str, str]]:
    found = [("average", "Average"), ("main", "Main task")]
    if suite is not None:
        found += [(f"group:{name}", group_label(name)) for name in suite.groups() if name != "main"]
        found += [(f"task:{task.key}", task.name) for task in suite.tasks if task.metric is not None]
    return found if metric in dict(found) else [*found, (metric, metric)]
