"""`/api/worker` (workers only) and `/api/queue`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from datacomp.messages import ClaimRequest, Fail, FileRef, Finish, Heartbeat, HeartbeatReply, Job, WorkerHello
from datacomp_server.dependencies import (
    DatabaseDep,
    MaybeViewer,
    QueueServiceDep,
    SettingsDep,
    StorageDep,
    WorkerDep,
    WorkerServiceDep,
)
from datacomp_server.errors import refusals
from datacomp_server.leaderboard.scoring import score_stored_records
from datacomp_server.runs.claiming import Claims
from datacomp_server.runs.schemas import QueueOut
from datacomp_server.runs.service import WorkerService
from datacomp_server.streaming import Received, receive, send_file

router = APIRouter(prefix="/api/worker", tags=["worker"])
queue_router = APIRouter(prefix="/api/queue", tags=["queue"])
FileName = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,119}$")]


@queue_router.get("", responses=refusals(401))
def get_queue(viewer: MaybeViewer, queue: QueueServiceDep) -> QueueOut:
    """All queues: what runs, what waits in which order, and who serves them."""
    return queue.overview(viewer)


@router.post("/hello", status_code=204, responses=refusals(401, 403))
def hello(body: WorkerHello, worker: WorkerDep, service: WorkerServiceDep) -> None:
    """A worker says that it is alive."""
    service.see(body.worker, body.queues, body.busy, body.no_code)


@router.post(
    "/claim",
    response_model=Job,
    responses={204: {"description": "Nothing is queued for these queues"}, **refusals(401, 403)},
)
def claim(
    body: ClaimRequest, worker: WorkerDep, database: DatabaseDep, settings: SettingsDep, storage: StorageDep
) -> Job | Response:
    """The best run of the worker's queues, with a lease and a fencing number."""
    job = Claims(database, settings, storage).claim(body)
    return job if job is not None else Response(status_code=204)


@router.post("/attempts/{attempt}/heartbeat", responses=refusals(401, 403, 404, 409))
def heartbeat(attempt: str, body: Heartbeat, worker: WorkerDep, service: WorkerServiceDep) -> HeartbeatReply:
    """Extend the lease; 409 means that the attempt is over."""
    return service.heartbeat(attempt, body)


@router.put(
    "/attempts/{attempt}/files/{name}",
    responses=refusals(401, 403, 404, 409),
    openapi_extra={
        "requestBody": {
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            "required": True,
        }
    },
)
async def store_file(
    attempt: str,
    name: FileName,
    fence: Annotated[int, Query()],
    request: Request,
    worker: WorkerDep,
    database: DatabaseDep,
    settings: SettingsDep,
    storage: StorageDep,
) -> FileRef:
    """Store an output under this attempt, streamed. It counts once the run is finished with it."""

    def place() -> str:
        with database.write() as session:
            return WorkerService(session, settings, storage).file_key(attempt, name, fence)

    def note(key: str, received: Received) -> FileRef:
        file = FileRef(name=name, digest=received.digest, size=received.size)
        with database.write() as session:
            WorkerService(session, settings, storage).record_file(attempt, fence, key, file)
        return file

    key = await run_in_threadpool(place)
    received = await receive(request, storage, key, limit=None, accept=lambda _: None)
    return await run_in_threadpool(note, key, received)


@router.get(
    "/attempts/{attempt}/inputs/{name}",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/octet-stream": {}}}, **refusals(401, 403, 404, 409)},
)
def get_input(
    attempt: str, name: FileName, worker: WorkerDep, service: WorkerServiceDep, storage: StorageDep
) -> StreamingResponse:
    """An input of the attempt: `upload`, an earlier run's output, or the checkpoint to go on from."""
    file = service.input_file(attempt, name)
    return send_file(storage, file.key, name=file.name, size=file.size, digest=file.digest)


@router.post("/attempts/{attempt}/finish", status_code=204, responses=refusals(401, 403, 404, 409))
def finish(
    attempt: str, body: Finish, worker: WorkerDep, database: DatabaseDep, settings: SettingsDep, storage: StorageDep
) -> None:
    """The run is done: its outputs are promoted, its records scored, its successors queued. May be sent again."""
    with database.read() as session:
        records = WorkerService(session, settings, storage).unscored(attempt, body)
    scores = score_stored_records(storage, records.key, records.digest, records.suite) if records else None
    with database.write() as session:
        WorkerService(session, settings, storage).finish(attempt, body, scores)
    Claims(database, settings, storage).take_over()


@router.post("/attempts/{attempt}/fail", status_code=204, responses=refusals(401, 403, 404, 409))
def fail(attempt: str, body: Fail, worker: WorkerDep, service: WorkerServiceDep) -> None:
    """The attempt failed; our own faults are tried again. May be sent again."""
    service.fail(attempt, body)
