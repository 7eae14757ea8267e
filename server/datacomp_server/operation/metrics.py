"""Prometheus metrics at `/metrics`.

What this process served is counted as it happens; what the platform holds (queues, runs, leases, hours) is read in the
database when somebody asks, so that it is the same whichever replica answers and survives restarts: take it from one.
"""

from __future__ import annotations

import hmac
import shutil
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from datacomp_server.clock import now
from datacomp_server.database import Database
from datacomp_server.dependencies import DatabaseDep, SettingsDep
from datacomp_server.errors import NotFound, Unauthorised, refusals
from datacomp_server.operation.repository import OperationRepository
from datacomp_server.settings import Mode, Settings

router = APIRouter(tags=["health"])

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
UNKNOWN = "unknown"
"""Route of requests for addresses that do not exist: their paths would make a label without end."""


class RequestMetrics:
    """Counts of one application, shared by its requests."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "datacomp_http_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "datacomp_http_request_seconds",
            "Time until the answer began.",
            ["method", "route"],
            buckets=SECONDS,
            registry=self.registry,
        )


class CountRequests:
    """ASGI middleware that counts and times requests by route."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, method = time.perf_counter(), str(scope["method"])

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", UNKNOWN)
                self.metrics.requests.labels(method, route, str(message["status"])).inc()
                self.metrics.seconds.labels(method, route).observe(time.perf_counter() - began)
            await send(message)

        await self.app(scope, receive, counted)


class PlatformMetrics(Collector):
    """What the database tells."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database, self.settings = database, settings

    def collect(self) -> Iterable[Metric]:
        """All families, from one snapshot."""
        at = now()
        with self.database.read() as session:
            found = OperationRepository(session)
            yield _gauge("datacomp_submissions", "Submissions by board and state.", ("board", "state"), found.states())
            yield _gauge("datacomp_runs", "Runs that are not over.", ("queue", "stage", "state"), found.open_runs())
            ages = {key: _age(at, since) for key, since in found.oldest_queued().items()}
            yield _gauge("datacomp_queue_oldest_seconds", "Age of the oldest queued run.", ("queue",), ages)
            alive = found.live_workers(at, self.settings.worker_alive_seconds)
            yield _gauge("datacomp_workers_alive", "Workers seen lately.", ("queue",), alive)
            yield _gauge("datacomp_outbox_owed", "Rings of the doorbell that are owed.", (), {(): found.owed_rings()})
            yield from _attempts(found)
            hours = {(board, kind): value for board, gpu, cpu in found.hours() for kind, value in _kinds(gpu, cpu)}
            yield _counter("datacomp_hours", "Hours used, lost attempts included.", ("board", "kind"), hours)
        free = shutil.disk_usage(self.settings.data_dir).free if self.settings.data_dir.exists() else float("nan")
        yield _gauge("datacomp_disk_free_bytes", "Free space in the data directory.", (), {(): free})


def _attempts(found: OperationRepository) -> Iterable[Metric]:
    counts, seconds = {}, {}
    for stage, state, count, total in found.attempts():
        counts[(stage, state)], seconds[(stage, state)] = count, total
    yield _counter("datacomp_attempts", "Attempts that ended; `lost` ran out of lease.", ("stage", "state"), counts)
    yield _counter("datacomp_attempt_seconds", "Time that they took.", ("stage", "state"), seconds)


def _kinds(gpu: float, cpu: float) -> list[tuple[str, float]]:
    return [("gpu", gpu), ("cpu", cpu)]


def _age(at: datetime, since: datetime | None) -> float:
    return (at - since).total_seconds() if since else 0.0


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Metric:
    return _fill(GaugeMetricFamily(name, text, labels=labels), values)


def _counter(name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Metric:
    return _fill(CounterMetricFamily(name, text, labels=labels), values)


def _fill(family: Any, values: Mapping[Any, float]) -> Metric:
    for key, value in values.items():
        family.add_metric([str(part) for part in (key if isinstance(key, tuple) else (key,))], value)
    filled: Metric = family
    return filled


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}, **refusals(401, 404)})
def metrics(
    request: Request,
    settings: SettingsDep,
    database: DatabaseDep,
    authorization: Annotated[str, Header(max_length=400)] = "",
) -> Response:
    """Prometheus metrics. In production they need `DATACOMP_METRICS_TOKEN`, sent as a bearer token."""
    token = settings.metrics_token.get_secret_value() if settings.metrics_token else None
    if token is None and settings.mode is Mode.PRODUCTION:
        raise NotFound.of("metrics-off", "metrics are off", hint="set DATACOMP_METRICS_TOKEN")
    sent = authorization.removeprefix("Bearer ")
    if token is not None and not hmac.compare_digest(sent.encode(), token.encode()):
        raise Unauthorised.of("metrics-token", "metrics need their token", hint="send it as a bearer token")
    registry = CollectorRegistry()
    registry.register(PlatformMetrics(database, settings))
    served: RequestMetrics = request.app.state.metrics
    return Response(generate_latest(served.registry) + generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
