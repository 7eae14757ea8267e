"""The worker's side of the worker protocol: claim, heartbeat, files, finish, fail."""

from __future__ import annotations

from pathlib import Path

from datacomp.digests import digest_file
from datacomp.http import ServerLink
from datacomp.messages import (
    ClaimRequest,
    Fail,
    Failure,
    FileRef,
    Finish,
    Heartbeat,
    HeartbeatReply,
    Job,
    Progress,
    StageResult,
    Usage,
    WorkerHello,
)
from datacomp.problems import PlatformFault


class WorkerApi:
    """Typed calls of the worker protocol. Every call about an attempt carries its fencing number."""

    def __init__(self, url: str, token: str) -> None:
        self._link = ServerLink(url, token)

    def claim(self, worker: str, queues: list[str], no_code: str = "") -> Job | None:
        """The best run of these queues, or None; `no_code` says why this worker cannot run participants' code. Not
        retried: a lost reply's lease simply runs out."""
        request = ClaimRequest(worker=worker, queues=queues, no_code=no_code)
        response = self._link.send("/api/worker/claim", request, retry=False)
        return None if response.status_code == 204 else Job.model_validate_json(response.content)

    def hello(self, worker: str, queues: list[str], busy: str | None, no_code: str = "") -> None:
        """Say that this worker is alive; `no_code` as in `claim`."""
        self._link.send("/api/worker/hello", WorkerHello(worker=worker, queues=queues, busy=busy, no_code=no_code))

    def heartbeat(self, job: Job, progress: Progress | None, log: str, usage: Usage) -> HeartbeatReply:
        """Extend the lease; `Refused` with status 409 means that the run is no longer ours."""
        body = Heartbeat(fence=job.fence, progress=progress, log=log, usage=usage)
        return self._link.post(f"{_attempt(job)}/heartbeat", body, HeartbeatReply)

    def fetch(self, job: Job, file: FileRef, to: Path, *, name: str | None = None) -> None:
        """Download an input and check its digest (`PlatformFault` when it differs)."""
        self._link.download(f"{_attempt(job)}/inputs/{name or file.name}", to)
        if digest_file(to) != file.digest:
            to.unlink()
            raise PlatformFault.of(
                "input-digest", f"{file.name} arrived with another digest than recorded", where=job.run
            )

    def store(self, job: Job, name: str, path: Path) -> FileRef:
        """Store an output under this attempt."""
        return self._link.upload(f"{_attempt(job)}/files/{name}?fence={job.fence}", path, FileRef)

    def finish(
        self,
        job: Job,
        result: StageResult,
        outputs: list[FileRef],
        *,
        environment: dict[str, str],
        log: str,
        usage: Usage,
    ) -> None:
        """Report the run done; safe to send again."""
        body = Finish(fence=job.fence, result=result, outputs=outputs, environment=environment, log=log, usage=usage)
        self._link.send(f"{_attempt(job)}/finish", body)

    def fail(self, job: Job, failure: Failure, log: str, usage: Usage) -> None:
        """Report the run failed; safe to send again."""
        self._link.send(f"{_attempt(job)}/fail", Fail(fence=job.fence, failure=failure, log=log, usage=usage))


def _attempt(job: Job) -> str:
    return f"/api/worker/attempts/{job.attempt}"
