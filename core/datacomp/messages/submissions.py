"""Boards, submissions, their receipts and history, leaderboards and manifests."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from datacomp.messages.accounts import QuotaNote
from datacomp.messages.ranks import SeedDeviationOut
from datacomp.messages.words import (
    ByodSetting,
    DedupSetting,
    Digest,
    Disclosure,
    Message,
    Name,
    RunState,
    Stage,
    SubmissionKind,
    Track,
)
from datacomp.messages.worker import Failure, Progress


class BoardOut(Message):
    name: str
    title: str
    description: str
    track: Track
    scale: dict[str, Any]
    suite: str
    suite_digest: Digest
    pool: str
    pool_digest: Digest | None
    pool_rows: int | None
    train_queue: str
    seeds: int
    dedup: DedupSetting
    byod: ByodSetting | None = None
    """What the board asks of datasets; null on boards of the filtering track."""
    max_upload_bytes: int
    submissions_per_day: int
    submissions_total: int | None = None
    """Of one participant or team over the board's life; null: no limit."""
    submissions_concurrent: int | None = None
    """Of one participant or team under way at once; null: no limit."""
    opens_at: datetime | None
    closes_at: datetime | None
    open: bool
    """Whether it takes submissions now."""
    closed: bool = False
    """Whether it takes none any more."""
    private_tasks: list[str]
    """Tasks whose scores nobody but the organisers sees before `reveals_at`."""
    reveals_at: datetime | None
    revealed: bool
    """Whether all scores are shown: always so on a board without private tasks."""
    disclosure: Disclosure
    show_images: bool
    """Whether pages may show images of the pool, with faces blurred."""


class SubmissionCreate(Message):
    """Opens a submission. The file follows in pieces, to the address that the answer names in `upload`."""

    board: str
    kind: SubmissionKind
    method: Name
    description: str = Field(default="", max_length=4000)
    link: str = Field(default="", max_length=400)
    filename: str = Field(min_length=1, max_length=200)
    digest: Digest
    size: int = Field(gt=0)
    rehearsal: bool = False
    expression: str | None = Field(default=None, max_length=40_000)
    """For the kind `expression`: the file's text, so that its errors are told before anything is opened."""


class RunOut(Message):
    id: str
    stage: Stage
    seed: int
    state: RunState
    queue: str
    attempts: int
    worker: str | None
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    deadline: datetime | None
    """When the lease of the running attempt ends."""
    due_at: datetime | None = None
    """When the state it is in must have ended; then the run is handed on, or fails with its quota refunded."""
    reused_from: str | None
    """The run whose outputs this one took over because all inputs' digests agree."""
    progress: Progress | None
    failure: Failure | None
    result: dict[str, Any] | None
    log_tail: str
    gpu_hours: float = 0.0
    """Of all attempts, lost ones too: GPUs held, times wall clock. 0 where finished work was taken over."""
    cpu_hours: float = 0.0
    """Of all attempts: processor time."""
    waiting_note: str
    """For queued runs: position, or `no worker serves queue gpu`."""


class TaskScore(Message):
    task: str
    name: str
    group: str
    metric: str | None
    value: float | None
    chance: float | None
    n: int
    lo: float | None = None
    """Bounds of the 95% interval that the number of items gives."""
    hi: float | None = None
    details: dict[str, float] = Field(default_factory=dict)
    """Of probes what each number of shots gives, of varied tasks what each variation does, see docs/suite.md."""
    delta_to_baseline: float | None = None
    """To the best baseline's value; `/api/compare` has its interval."""


class BestBaseline(Message):
    """The best baseline of a board, and how far a submission's average lies from it."""

    submission: str
    method: str
    delta: float
    lo: float | None = None
    """Bounds of the 95% interval; none of its own difference to itself."""
    hi: float | None = None


class ScoreOut(Message):
    """Scores of one submission, mean over seeds."""

    average: float | None
    main: float | None
    groups: dict[str, float]
    tasks: list[TaskScore]
    seeds: int
    average_lo: float | None = None
    """Bounds of 95% intervals, for other seeds and other items."""
    average_hi: float | None = None
    main_lo: float | None = None
    main_hi: float | None = None
    other_tasks_lo: float | None = None
    """Bounds of the average when the tasks themselves are drawn anew: would it hold on other tasks?"""
    other_tasks_hi: float | None = None
    withheld: list[str] = Field(default_factory=list)
    """Private tasks that are left out of `tasks` and of the means until their board reveals them."""
    rank_lo: int | None = None
    """Between which places of how many (`ranked`) it may well stand; null while that is not worked out, and for what no
    board lists."""
    rank_hi: int | None = None
    ranked: int | None = None
    baseline: BestBaseline | None = None
    """Null where the board has none, and for what no board lists."""


class EntryOverlap(Message):
    """How much of its subset an entry has in common with another entry of its board."""

    submission: str
    url: str
    method: str
    participant: str
    jaccard: float
    """Different samples that both have, among those that either has; estimated from sketches."""
    error: float
    """Its standard error; 0 where the sketches hold both subsets whole."""
    place: int
    """Its place on the board by score, from 1."""
    nearest: bool
    """Whether it is the most similar of those that were compared."""


class SubmissionOut(Message):
    """A submission's receipt."""

    id: str
    url: str
    board: str
    kind: SubmissionKind
    method: str
    description: str
    link: str
    participant: str
    team: str | None = None
    """The team that it belongs to."""
    filename: str
    digest: Digest
    size: int
    rehearsal: bool
    state: str
    """`uploading`, `validating`, ..., `training 2 of 3`, `evaluating`, or one of the final states `scored`, `rejected`,
    `failed`, `cancelled`, `withdrawn`."""
    final: bool
    created_at: datetime
    subset_size: int | None
    subset_digest: Digest | None = None
    """Digest of the uids that are trained on."""
    duplicate_of: str | None = None
    """The first submission to the same board with the same subset."""
    quota_refunded: bool
    upload: str | None = None
    """While the file is awaited: where it goes on this server, by the tus protocol (1.0.0) or a single PUT."""
    quota: QuotaNote | None = None
    gpu_hours: float = 0.0
    cpu_hours: float = 0.0
    failure: Failure | None
    runs: list[RunOut]
    score: ScoreOut | None
    overlaps: list[EntryOverlap] = Field(default_factory=list)
    """With the board's best entries and the most similar one, most similar first; once the subset is settled."""


class SubmissionLine(Message):
    """A submission in its participant's list."""

    id: str
    url: str
    method: str
    board: str
    kind: SubmissionKind
    digest: Digest
    size: int
    state: str
    final: bool
    rehearsal: bool
    created_at: datetime
    subset_size: int | None


class EventOut(Message):
    """One line of a submission's append-only history, also sent over SSE."""

    id: int
    at: datetime
    submission: str
    run: str | None
    stage: Stage | None
    what: str
    """`state` (a transition), `progress`, `log` or `attempt`."""
    before: str | None = None
    after: str | None = None
    actor: str = ""
    reason: str = ""
    progress: Progress | None = None


class LeaderboardRow(Message):
    rank: int | None
    """Its place by the score alone."""
    rank_lo: int | None = None
    """Between which places it may well stand: 1 + the number of entries significantly better, to the number of all
    less those significantly worse. Null while it is not worked out yet, and for what is never ranked."""
    rank_hi: int | None = None
    holm_lo: int | None = None
    """The same, with Holm's correction over the entry's comparisons."""
    holm_hi: int | None = None
    method: str
    participant: str
    team: str | None = None
    """The team that it belongs to; then `participant` is who handed it in."""
    submission: str | None
    url: str | None
    subset_size: int | None
    score: float | None
    """Average over the suite's counted tasks."""
    score_lo: float | None = None
    """Bounds of 95% intervals, for other seeds and other items."""
    score_hi: float | None = None
    main: float | None
    main_lo: float | None = None
    main_hi: float | None = None
    groups: dict[str, float]
    tasks: dict[str, float]
    status: str
    """`scored`, `published` (from a paper, not run here) or the state of an unfinished submission."""
    kind: SubmissionKind | None
    baseline: bool = False
    delta_to_baseline: float | None = None
    """Of the score, to the best baseline's."""
    delta_lo: float | None = None
    delta_hi: float | None = None
    seeds: int | None = None
    tries: int | None = None
    """Entries that its team, or its participant, has had scored on this board: many tries flatter the best."""
    duplicate_of: str | None = None
    """The first submission with the same subset."""
    source: str = ""
    date: datetime | None = None


class LeaderboardOut(Message):
    board: str
    title: str
    scale: str
    suite: str
    suite_digest: Digest
    rank_by: str
    tasks: list[str]
    """Keys of the tasks that are shown."""
    withheld: list[str] = Field(default_factory=list)
    """Private tasks, shown from `reveals_at` on; until then the means leave them out."""
    reveals_at: datetime | None = None
    total: int
    """Entries on the board, of which `rows` is one page."""
    offset: int = 0
    """Entries before this page."""
    rows: list[LeaderboardRow]
    ranked: int | None = None
    """Entries that were placed by the last sweep; null before there was one."""
    ranks_at: datetime | None = None
    """The rank ranges are those of the scores at this time."""
    ranks_pending: bool = False
    """Whether scores have changed since: ranges follow within seconds."""
    seed_deviation: SeedDeviationOut | None = None
    rule: str = ""
    """How entries are ranked, in words."""
    under_way_total: int = 0
    under_way: list[LeaderboardRow] = Field(default_factory=list)
    """The oldest of what is not finished yet."""
    generated_at: datetime


class ManifestOut(Message):
    """Everything that a result depends on, by digest. `digest` covers `body`."""

    digest: Digest
    body: dict[str, Any]
