"""Hand-made messages for tests of pages: a board, its table, and receipts in every state."""

from datetime import UTC, datetime, timedelta
from typing import Any

from pool_here import KEPT

from datacomp.digests import digest_bytes
from datacomp.messages import (
    BestBaseline,
    Blame,
    BoardOut,
    DedupMode,
    DedupResult,
    DedupSetting,
    Disclosure,
    EvaluateResult,
    Failure,
    FilterResult,
    LeaderboardOut,
    LeaderboardRow,
    Progress,
    RunOut,
    RunState,
    ScoreOut,
    Stage,
    SubmissionKind,
    SubmissionOut,
    SubsetResult,
    TaskScore,
    Track,
    TrainResult,
    ValidateResult,
)
from datacomp.problems import Problem
from datacomp.scales import SCALES
from datacomp.suite import Kind, Metric, Suite, Task
from datacomp_server.pages.contexts import Person, Site
from datacomp_server.runs.schemas import QueueLane, QueueOut, QueueRun, WorkerOut

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}"
DIGEST = "0123456789abcdef" * 4
TASKS = {
    "tiny/colours": ("Colours", "main"),
    "tiny/shift-grey": ("Grey shapes", "shift"),
    "tiny/shift-rotated": ("Rotated shapes", "shift"),
    "tiny/digits": ("Digits", "vtab"),
    "tiny/counting": ("Counting", "vtab"),
    "tiny/retrieval": ("Captions", "retrieval"),
    "tiny/worst-background": ("Worst background", "other"),
}


def site(path: str = "/", *, name: str | None = "ada", role: str = "participant") -> Site:
    viewer = Person(name, role) if name else None
    return Site(viewer=viewer, csrf="c5rf", path=path, public_url="http://127.0.0.1:8000", now=NOW)


def board(scale: str = "tiny", **changes: Any) -> BoardOut:
    fields: dict[str, Any] = {
        "name": f"filtering-{scale}",
        "title": f"Filtering, {scale}",
        "description": "A small image-text pool that behaves like a crawl.",
        "track": Track.FILTERING,
        "scale": SCALES[scale].to_json(),
        "suite": "tiny@1",
        "suite_digest": DIGEST,
        "pool": "tiny",
        "pool_digest": DIGEST,
        "pool_rows": 16_384,
        "train_queue": "cpu",
        "seeds": 1,
        "dedup": DedupSetting(mode=DedupMode.REPORT),
        "max_upload_bytes": 1 << 30,
        "submissions_per_day": 100,
        "opens_at": None,
        "closes_at": None,
        "open": True,
        "private_tasks": [],
        "reveals_at": None,
        "revealed": True,
        "disclosure": Disclosure.NEVER,
        "show_images": False,
    }
    return BoardOut(**fields | changes)


def row(rank: int | None, method: str, score: float | None, **changes: Any) -> LeaderboardRow:
    value = score or 0.0
    fields: dict[str, Any] = {
        "rank": rank,
        "method": method,
        "participant": "ada",
        "submission": digest_bytes(method.encode())[:16],
        "url": None,
        "subset_size": 4915,
        "score": score,
        "main": None if score is None else value + 0.21,
        "groups": {"shift": value - 0.05, "vtab": value + 0.02, "retrieval": value - 0.11, "other": value},
        "tasks": {key: value + 0.01 * place for place, key in enumerate(TASKS)},
        "status": "scored",
        "kind": SubmissionKind.UIDS,
        "delta_to_baseline": None if score is None else value - 0.402,
        "date": NOW - timedelta(days=rank or 0),
    }
    return LeaderboardRow(**fields | changes)


def table(rows: list[LeaderboardRow] | None = None, *, total: int | None = None, offset: int = 0) -> LeaderboardOut:
    published = {"submission": None, "status": "published", "source": "Gadre et al. 2023, Table 3", "tasks": {}}
    shown = rows
    if shown is None:
        shown = [
            row(1, "Caption agreement with a rather long and descriptive method name", 0.461, participant="grace"),
            row(2, "CLIP score L/14 30%", 0.402, baseline=True, participant="organiser"),
            row(3, "basic filter", 0.315, baseline=True, participant="organiser", kind=SubmissionKind.CODE),
            row(4, "No filter", 0.2215, baseline=True, participant="organiser", subset_size=16_384),
            row(5, "CLIP score again", 0.402, duplicate_of=DIGEST[:16]),
            row(None, "Image-based ∩ CLIP score", 0.328, participant="DataComp paper", **published),
        ]
    waiting = [row(None, "still training", None, status="training", groups={}, tasks={})] if rows is None else []
    return LeaderboardOut(
        board="filtering-tiny",
        title="Filtering, tiny",
        scale="tiny",
        suite="tiny@1",
        suite_digest=DIGEST,
        rank_by="average",
        tasks=list(TASKS),
        total=len(shown) if total is None else total,
        offset=offset,
        rows=shown,
        under_way_total=len(waiting),
        under_way=waiting,
        generated_at=NOW,
    )


def run(stage: Stage, state: RunState, **changes: Any) -> RunOut:
    begun = state not in {RunState.WAITING, RunState.QUEUED, RunState.CANCELLED}
    start = NOW - timedelta(minutes=4)
    fields: dict[str, Any] = {
        "id": f"run-{stage.value}-{changes.get('seed', 0)}",
        "stage": stage,
        "seed": 0,
        "state": state,
        "queue": "cpu",
        "attempts": 1 if begun else 0,
        "worker": "cpu-1@box" if begun else None,
        "queued_at": None if state is RunState.WAITING else start,
        "started_at": start + timedelta(seconds=3) if begun else None,
        "finished_at": start + timedelta(seconds=71) if state in {RunState.DONE, RunState.FAILED} else None,
        "deadline": NOW + timedelta(seconds=6) if state is RunState.RUNNING else None,
        "reused_from": None,
        "progress": None,
        "failure": None,
        "result": None,
        "log_tail": "",
        "waiting_note": "",
    }
    return RunOut(**fields | changes)


def results() -> dict[Stage, dict[str, Any]]:
    made = [
        ValidateResult(rows=4915, unique=4900, repeats=15, unavailable=3),
        FilterResult(rows_in=16_384, rows_kept=4915, nan_scores=12, rule="top_fraction(score, 0.3)", seconds=0.52),
        DedupResult(
            mode=DedupMode.REPORT, threshold=0.95, rows_in=4915, removable=211, rows_kept=4915,
            recall=0.9998, recall_low=0.9991, recall_high=1.0, cells_digest=DIGEST,
        ),
        SubsetResult(samples=4912, unique=4897, unavailable=3, shards=1, subset_digest=DIGEST, kept=KEPT),
        TrainResult(
            samples_seen=20_480, seconds=31.2, samples_per_second=656.4, final_loss=1.213, device="cpu", threads=2,
            precision="fp32", resumed_from=0, scale_digest=DIGEST, recipe_digest=DIGEST, subset_digest=DIGEST,
            weights_digest=DIGEST,
            loss_curve=[(256 * n, 5.5 / (1 + n / 12) + 0.2 * ((n * 7) % 5) / 5) for n in range(1, 81)],
        ),
        EvaluateResult(tasks=7, records=8211, seconds=4.1, suite_digest=DIGEST),
    ]  # fmt: skip
    return {result.stage: result.model_dump(mode="json") for result in made}


def receipt(state: str, runs: list[RunOut], **changes: Any) -> SubmissionOut:
    fields: dict[str, Any] = {
        "id": "a1b2c3d4e5f60718",
        "url": "http://127.0.0.1:8000/submissions/a1b2c3d4e5f60718",
        "board": "filtering-tiny",
        "kind": SubmissionKind.CODE,
        "method": "Caption agreement",
        "description": "Keeps the pairs whose caption names what the picture shows.\nSecond line.",
        "link": "https://example.org/paper",
        "participant": "ada",
        "filename": "my_filter.py",
        "digest": DIGEST,
        "size": 2311,
        "rehearsal": False,
        "state": state,
        "final": state in {"scored", "rejected", "failed", "cancelled", "withdrawn"},
        "created_at": NOW - timedelta(minutes=5),
        "subset_size": 4912,
        "quota_refunded": False,
        "failure": None,
        "runs": runs,
        "score": None,
    }
    return SubmissionOut(**fields | changes)


def done(*stages: Stage) -> list[RunOut]:
    facts = results()
    return [run(stage, RunState.DONE, result=facts[stage]) for stage in stages]


DATA = (Stage.VALIDATE, Stage.FILTER, Stage.DEDUP, Stage.SUBSET)


def training() -> SubmissionOut:
    progress = Progress(done=12_288, total=20_480, unit="samples", rate=655.0, note="epoch 3", values={"loss": 1.87})
    log = "\n".join(f"step {n}: loss {5 / n:.3f}" for n in range(1, 60))
    live = run(Stage.TRAIN, RunState.RUNNING, progress=progress, log_tail=log, attempts=2)
    return receipt("training", [*done(*DATA), live, run(Stage.EVALUATE, RunState.WAITING)])


def queued() -> SubmissionOut:
    waits = run(Stage.TRAIN, RunState.QUEUED, queue="gpu", waiting_note="no worker serves queue gpu")
    return receipt("training", [*done(*DATA), waits, run(Stage.EVALUATE, RunState.WAITING, queue="gpu")])


def scored() -> SubmissionOut:
    tasks = [
        TaskScore(
            task=key,
            name=name,
            group=group,
            metric="acc1",
            value=0.4 + 0.02 * n,
            chance=0.125,
            n=512,
            delta_to_baseline=-0.05,
        )
        for n, (key, (name, group)) in enumerate(TASKS.items())
    ]
    groups = {"main": 0.4, "shift": 0.41, "vtab": 0.48}
    base = BestBaseline(submission="b" * 16, method=HOSTILE, delta=0.059, lo=0.02, hi=0.098)
    placed = {"rank_lo": 1, "rank_hi": 2, "ranked": 6, "baseline": base}
    score = ScoreOut(average=0.461, main=0.671, groups=groups, tasks=tasks, seeds=1, **placed)
    return receipt("scored", done(*DATA, Stage.TRAIN, Stage.EVALUATE), score=score)


def failed(blame: Blame = Blame.PARTICIPANT) -> SubmissionOut:
    problem = Problem(
        code="filter-raised",
        message="the filter raised KeyError: 'clip_l14'",
        where="my_filter.py, line 12",
        hint="the columns are listed by `datacomp pool info DIR`",
    )
    failure = Failure(
        blame=blame, problems=[problem], log_tail="Traceback (most recent call last):\n  KeyError: 'clip_l14'"
    )
    runs = [
        *done(Stage.VALIDATE),
        run(Stage.FILTER, RunState.FAILED, failure=failure),
        run(Stage.TRAIN, RunState.CANCELLED),
    ]
    return receipt("failed", runs, failure=failure, quota_refunded=blame is Blame.PLATFORM, subset_size=None)


def queue() -> QueueOut:
    def line(method: str, state: RunState, position: int | None, **changes: Any) -> QueueRun:
        fields: dict[str, Any] = {
            "run": f"run-{method}", "submission": "a1b2c3d4e5f60718", "board": "filtering-tiny", "method": method,
            "participant": "ada", "stage": Stage.TRAIN, "seed": 0, "rehearsal": False, "state": state, "since": NOW,
            "position": position, "worker": "cpu-1@box" if position is None else None, "note": "",
        }  # fmt: skip
        return QueueRun(**fields | changes)

    cpu = [
        line("first", RunState.RUNNING, None),
        line("second", RunState.QUEUED, 1, note="position 1 of 2 in queue cpu", starts_p50=NOW, starts_p90=NOW),
        line("third", RunState.QUEUED, 2, starts_p50=NOW + timedelta(minutes=3), starts_p90=NOW + timedelta(hours=2)),
    ]
    gpu = [line("third", RunState.QUEUED, 1, note="no worker serves queue gpu", rehearsal=True)]
    return QueueOut(
        queues=[QueueLane(name="cpu", live_workers=1, runs=cpu), QueueLane(name="gpu", live_workers=0, runs=gpu)],
        workers=[
            WorkerOut(name="cpu-1@box", queues=["cpu"], alive=True, busy="run-first", no_code="", last_seen=NOW),
            WorkerOut(
                name="cpu-2@box",
                queues=["cpu"],
                alive=False,
                busy=None,
                no_code="bwrap is not installed",
                last_seen=NOW - timedelta(hours=1),
            ),
        ],
        generated_at=NOW,
    )


SUITE = Suite(
    name="tiny",
    version="1",
    tasks=tuple(
        Task(key=key, name=name, kind=Kind.ZEROSHOT, metric=Metric.ACC1, group=group, chance=0.125, classes=8, size=512)
        for key, (name, group) in TASKS.items()
    ),
)
PROBLEMS = [
    Problem(
        code="method-invalid", message="the method has no name", where="method", hint="give it 1 to 120 characters"
    ),
    Problem(
        code="quota-spent", message="20 of 20 submissions are used today", where="board", hint="come back tomorrow"
    ),
]
IN_FILE = [
    Problem(code="uids-unsorted", message="3 rows are smaller than the row before them", where="uids.npy: row 17"),
    Problem(code="other", message="something without a place"),
]


def receipts() -> dict[str, SubmissionOut]:
    """A receipt in every state, and one full of hostile text."""
    cancelled = [*done(Stage.VALIDATE), run(Stage.FILTER, RunState.CANCELLED)]
    rejected = failed().failure
    hostile = {"method": HOSTILE, "description": HOSTILE, "link": "javascript:alert(1)", "filename": HOSTILE}
    loud = run(Stage.FILTER, RunState.RUNNING, log_tail=HOSTILE, worker=HOSTILE, waiting_note=HOSTILE)
    return {
        "uploading": receipt("uploading", [], subset_size=None),
        "queued": queued(),
        "training": training(),
        "scored": scored(),
        "rehearsal": scored().model_copy(update={"rehearsal": True}),
        "failed": failed(),
        "failed-ours": failed(Blame.PLATFORM),
        "rejected": receipt("rejected", [run(Stage.VALIDATE, RunState.FAILED, failure=rejected)], failure=rejected),
        "cancelled": receipt("cancelled", cancelled, quota_refunded=True, subset_size=None),
        "withdrawn": scored().model_copy(update={"state": "withdrawn"}),
        "hostile": receipt("filtering", [loud], participant=HOSTILE, **hostile),
    }
