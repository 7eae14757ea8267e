"""A platform's server in a test: its application, people with tokens, and a worker who speaks the protocol by hand."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from mini_suite import SUITE, records
from pool_here import KEPT

from datacomp.messages import (
    CHECKPOINT_FILE,
    DATASET_FILE,
    RECORDS_FILE,
    REPORT_FILE,
    SUBSET_FILE,
    BoardFacts,
    DecontaminateResult,
    DedupMode,
    DedupResult,
    EvaluateResult,
    FetchResult,
    FilterResult,
    Job,
    LeaderboardOut,
    Stage,
    SubmissionOut,
    SubsetResult,
    TrainResult,
    ValidateResult,
)
from datacomp.scales import get_scale, rehearsal_of
from datacomp.suite import Suite, load_suite
from datacomp.suite import rehearsal_of as rehearsal_suite
from datacomp_server.accounts.models import Role
from datacomp_server.accounts.service import AccountService, Viewer
from datacomp_server.database import Database
from datacomp_server.settings import Settings
from datacomp_server.storage import Storage

ONLY_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what does not depend on the database: PostgreSQL is spared."""
WORKER_TOKEN, ORGANISER_TOKEN = "worker-token-of-the-tests", "organiser-token-of-the-tests"
DIGEST = "0123456789abcdef" * 4
ONE_BOARD = """
[[boards]]
name = "small-board"
title = "Small board"
scale = "tiny"
suite = "mini.json"
pool = "tiny"
submissions_per_day = 20
max_upload_bytes = 1000000
baseline_accounts = ["Pinned"]
"""


def write_boards(folder: Path, text: str = ONE_BOARD) -> Path:
    """A boards file with its suite beside it."""
    (folder / "mini.json").write_text(json.dumps(SUITE))
    path = folder / "boards.toml"
    path.write_text(text)
    return path


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def uids(seed: int, count: int = 50) -> bytes:
    """An npy file of sorted uids."""
    import io

    array = np.zeros(count, dtype="u8,u8")
    array["f1"] = np.sort(np.random.default_rng(seed).choice(10**6, count, replace=False))
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


@dataclass
class Attempt:
    """A claimed run in a worker's hands."""

    worker: FakeWorker
    job: Job

    @property
    def path(self) -> str:
        return f"/api/worker/attempts/{self.job.attempt}"

    def post(self, what: str, **body: Any) -> Any:
        return self.worker.site.http.post(
            f"{self.path}/{what}", json={"fence": self.job.fence, **body}, headers=self.worker.headers
        )

    def beat(self, **body: Any) -> Any:
        return self.post("heartbeat", **body)

    def store(self, name: str, content: bytes) -> Any:
        return self.worker.site.http.put(
            f"{self.path}/files/{name}?fence={self.job.fence}", content=content, headers=self.worker.headers
        )

    def fetch(self, name: str) -> Any:
        return self.worker.site.http.get(f"{self.path}/inputs/{name}", headers=self.worker.headers)

    def fail(self, blame: str, code: str = "it-broke") -> Any:
        problem = {"code": code, "message": "it broke", "where": "line 1", "hint": "mend it"}
        return self.post("fail", failure={"blame": blame, "problems": [problem], "log_tail": "the tail"})

    def finish(self, *, colours: int = 4, shift: int | None = None, **changes: Any) -> Any:
        """Store what the stage must leave, then report it done."""
        result, files = self.output(colours, shift)
        refs = []
        for name, content in files.items():
            reply = self.store(name, content)
            assert reply.status_code == 200, reply.text
            refs.append(reply.json())
        body = {"result": result, "outputs": refs, "environment": {"python": "3.11"}, "log": "done\n"}
        return self.post("finish", **(body | changes))

    def output(self, colours: int, shift: int | None) -> tuple[dict[str, Any], dict[str, bytes]]:
        """A result that fits the run, and its files. Everything depends on the upload, as in real stages."""
        job, board = self.job, self.job.board
        mark = job.upload.digest
        files: dict[str, bytes] = {}
        match job.stage:
            case Stage.VALIDATE:
                result: Any = ValidateResult(rows=50, unique=50, repeats=0, unavailable=0)
                files = {SUBSET_FILE: b"subset of " + mark.encode()} if job.kind == "uids" else {}
            case Stage.FETCH:
                result = FetchResult(
                    rows=60, samples=55, from_pool=5, causes={"http-404": 5}, hosts={"example.org": 50},
                    licenses={"CC0-1.0": 55}, urls_digest=DIGEST, dataset_digest=DIGEST, bytes=1000, seconds=0.1,
                )  # fmt: skip
                files = {name: f"{name} of {mark}".encode() for name in (DATASET_FILE, SUBSET_FILE, REPORT_FILE)}
            case Stage.DECONTAMINATE:
                result = DecontaminateResult(
                    samples=55, near_images=4, same_texts=1, removed=5, kept=50, threshold=0.99, limit=0.2,
                    method="pixels@3", evaluation_images=24, suite_digest=self.worker.site.suite.digest,
                )  # fmt: skip
                files = {name: f"kept of {mark}".encode() for name in (SUBSET_FILE, REPORT_FILE)}
            case Stage.FILTER:
                result = FilterResult(rows_in=100, rows_kept=50, nan_scores=1, rule="score > 0", seconds=0.1)
                files = {SUBSET_FILE: b"subset of " + mark.encode()}
            case Stage.DEDUP:
                result = DedupResult(
                    mode=DedupMode.REPORT, threshold=0.95, rows_in=50, removable=2, rows_kept=50,
                    recall=1, recall_low=0.99, recall_high=1, cells_digest=DIGEST,
                )  # fmt: skip
            case Stage.SUBSET:
                result = SubsetResult(
                    samples=50, unique=50, unavailable=0, shards=1, subset_digest=mark, kept=KEPT
                )  # fmt: skip
            case Stage.TRAIN:
                result = train_result(board, seed=job.seed, mark=mark, rehearsal=job.rehearsal)
                files = {CHECKPOINT_FILE: f"weights {mark} {job.seed}".encode()}
            case Stage.EVALUATE:
                suite = rehearsal_suite(self.worker.site.suite) if job.rehearsal else self.worker.site.suite
                result = EvaluateResult(tasks=3, records=24, seconds=0.1, suite_digest=suite.digest)
                files = {RECORDS_FILE: records(colours, shift, items=suite.tasks[0].size or 8)}
        return result.model_dump(mode="json"), files


def train_result(board: BoardFacts, *, seed: int, mark: str, rehearsal: bool) -> TrainResult:
    scale = get_scale(board.scale)
    return TrainResult(
        samples_seen=100, seconds=1, samples_per_second=100, final_loss=1.5, device="cpu", threads=2, precision="fp32",
        resumed_from=0, scale_digest=(rehearsal_of(scale) if rehearsal else scale).digest, recipe_digest=DIGEST,
        subset_digest=DIGEST,
        weights_digest=digest(f"{mark} {seed}".encode()), loss_curve=[(50, 2.0), (100, 1.5)],
    )  # fmt: skip


@dataclass
class FakeWorker:
    """Claims runs and answers for them over HTTP, as a worker does."""

    site: Site
    name: str = "worker-1"
    queues: tuple[str, ...] = ("cpu",)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {WORKER_TOKEN}"}

    @property
    def json_headers(self) -> dict[str, str]:
        return {**self.headers, "Content-Type": "application/json"}

    def claim(self) -> Attempt | None:
        body = {"worker": self.name, "queues": list(self.queues)}
        reply = self.site.http.post("/api/worker/claim", json=body, headers=self.headers)
        assert reply.status_code in {200, 204}, reply.text
        return Attempt(self, Job.model_validate(reply.json())) if reply.status_code == 200 else None

    def must_claim(self, stage: Stage | None = None) -> Attempt:
        attempt = self.claim()
        assert attempt is not None, "nothing to claim"
        assert stage is None or attempt.job.stage is stage
        return attempt

    def work(self, **scores: Any) -> int:
        """Carry out everything there is; returns how many runs."""
        done = 0
        while (attempt := self.claim()) is not None:
            reply = attempt.finish(**scores)
            assert reply.status_code == 204, reply.text
            done += 1
        return done

    def work_until(self, stage: Stage) -> Attempt:
        """Carry out everything before a stage, and claim it."""
        while (attempt := self.must_claim()).job.stage is not stage:
            assert attempt.finish().status_code == 204
        return attempt


@dataclass
class Site:
    """The application under test."""

    settings: Settings
    app: FastAPI
    http: httpx.Client
    tokens: dict[str, str] = field(default_factory=lambda: {"worker": WORKER_TOKEN, "organiser": ORGANISER_TOKEN})

    @property
    def database(self) -> Database:
        database: Database = self.app.state.database
        return database

    @property
    def storage(self) -> Storage:
        storage: Storage = self.app.state.storage
        return storage

    @cached_property
    def suite(self) -> Suite:
        return load_suite(self.settings.data_dir / "mini.json")

    def headers(self, name: str | None) -> dict[str, str]:
        """Of a person; makes a participant's account on first mention."""
        if name is None:
            return {}
        if name not in self.tokens:
            with self.database.write() as session:
                accounts = AccountService(session, self.settings)
                accounts.create_user(name, Role.PARTICIPANT)
                self.tokens[name] = accounts.token_for(name, "test").token
        return {"Authorization": f"Bearer {self.tokens[name]}"}

    def viewer(self, name: str) -> Viewer:
        self.headers(name)
        with self.database.read() as session:
            viewer = AccountService(session, self.settings).viewer_of_token(self.tokens[name])
        assert viewer is not None
        return viewer

    def worker(self, name: str = "worker-1", *queues: str) -> FakeWorker:
        return FakeWorker(self, name, queues or ("cpu",))

    def announce(self, content: bytes, **changes: Any) -> dict[str, Any]:
        body = {
            "board": "small-board", "kind": "uids", "method": "a method", "filename": "uids.npy",
            "digest": digest(content), "size": len(content),
        }  # fmt: skip
        return body | changes

    def open(self, name: str, content: bytes, **changes: Any) -> SubmissionOut:
        reply = self.http.post("/api/submissions", json=self.announce(content, **changes), headers=self.headers(name))
        assert reply.status_code == 201, reply.text
        return SubmissionOut.model_validate(reply.json())

    def send(self, name: str, submission: str, content: bytes) -> Any:
        return self.http.put(f"/api/submissions/{submission}/content", content=content, headers=self.headers(name))

    def submit(self, name: str, content: bytes, **changes: Any) -> SubmissionOut:
        opened = self.open(name, content, **changes)
        reply = self.send(name, opened.id, content)
        assert reply.status_code == 200, reply.text
        return SubmissionOut.model_validate(reply.json())

    def score(
        self, name: str, content: bytes, *, colours: int = 4, shift: int | None = None, **changes: Any
    ) -> SubmissionOut:
        """Hand in and carry out everything."""
        opened = self.submit(name, content, **changes)
        self.worker().work(colours=colours, shift=shift)
        return self.receipt(opened.id)

    def receipt(self, submission: str, name: str | None = "organiser") -> SubmissionOut:
        reply = self.http.get(f"/api/submissions/{submission}", headers=self.headers(name))
        assert reply.status_code == 200, reply.text
        return SubmissionOut.model_validate(reply.json())

    def act(self, name: str, submission: str, what: str) -> Any:
        return self.http.post(f"/api/submissions/{submission}/{what}", headers=self.headers(name))

    def board(self, name: str = "small-board") -> LeaderboardOut:
        reply = self.http.get(f"/api/leaderboard?board={name}")
        assert reply.status_code == 200, reply.text
        return LeaderboardOut.model_validate(reply.json())


def codes(reply: Any) -> list[str]:
    """The codes of a refusal's problems."""
    return [problem["code"] for problem in reply.json()["problems"]]


@cache
def application() -> FastAPI:
    """One application for all tests: what it serves from is in its state, and making it anew takes longer."""
    from datacomp_server.app import create_app

    return create_app(Settings())


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """An application that runs already, behind a real socket too; gives the address."""
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_config=None, timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(timeout=10)


@contextmanager
def running(settings: Settings) -> Iterator[Site]:
    """The application, started with these settings."""
    app = application()
    app.state.settings = settings
    with TestClient(app, base_url="http://testserver") as http:
        yield Site(settings, app, http)
