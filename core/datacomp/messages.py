"""The typed messages between server, workers and clients. Everything that crosses HTTP is one of these.

Server and worker never import each other; this module is what they share.
"""

from __future__ import annotations

import math
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from datacomp.problems import Problem

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(min_length=1, max_length=120)]


class Message(BaseModel):
    """Base of all messages: unknown fields are refused, so that typos surface."""

    model_config = ConfigDict(extra="forbid")


# --- words ---------------------------------------------------------------------------------------------------------


class Track(StrEnum):
    FILTERING = "filtering"
    BYOD = "byod"


class SubmissionKind(StrEnum):
    UIDS = "uids"
    EXPRESSION = "expression"
    CODE = "code"
    DATASET = "dataset"


class Stage(StrEnum):
    """Stages in the order in which a submission passes through them."""

    VALIDATE = "validate"
    FILTER = "filter"
    DEDUP = "dedup"
    SUBSET = "subset"
    TRAIN = "train"
    EVALUATE = "evaluate"


class RunState(StrEnum):
    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Blame(StrEnum):
    """Whose fault a failure is. `participant` ends the submission; `platform` is tried again and refunds the quota."""

    PARTICIPANT = "participant"
    PLATFORM = "platform"


class DedupMode(StrEnum):
    OFF = "off"
    REPORT = "report"
    APPLY = "apply"


class Disclosure(StrEnum):
    """When the code and the uids of an entry become public."""

    NEVER = "never"
    SCORED = "scored"
    """As soon as the entry is scored."""
    CLOSING = "closing"
    """When its board closes."""


class DedupSetting(Message):
    """What a board does about near-duplicates in a subset."""

    mode: DedupMode = DedupMode.OFF
    threshold: float = Field(default=0.95, gt=0, le=1)
    """Cosine similarity of image embeddings at or above which two samples are near-duplicates."""
    feature: str = "l14_img"
    keep: Literal["greedy"] = "greedy"
    rank: str = "clip_l14_similarity_score"


# --- worker protocol -----------------------------------------------------------------------------------------------


class BoardFacts(Message):
    """What a stage needs to know of the board."""

    name: str
    track: Track
    scale: str
    suite: str
    """`name@version`."""
    suite_digest: Digest
    pool: str
    """Name of the pool; each worker's settings say where it lies."""
    pool_digest: Digest | None = None
    """When given, a worker whose pool has another digest refuses the run."""
    dedup: DedupSetting = DedupSetting()


class FileRef(Message):
    """A stored file: an upload or a promoted output."""

    name: str
    digest: Digest
    size: int = Field(ge=0)


class ClaimRequest(Message):
    worker: Name
    queues: list[str] = Field(min_length=1)
    no_code: str = Field(default="", max_length=4000)
    """Why this worker cannot run participants' code: then it is handed none. Empty where its sandbox holds."""


class Job(Message):
    """One attempt at one run, handed to a worker with its fencing number."""

    attempt: str
    fence: int
    number: int
    """1 for the first attempt of this run."""
    lease_seconds: float
    heartbeat_seconds: float
    run: str
    submission: str
    stage: Stage
    seed: int
    rehearsal: bool
    kind: SubmissionKind
    board: BoardFacts
    upload: FileRef
    inputs: list[FileRef]
    """Promoted outputs of the submission's earlier runs (of the same seed, where they have one)."""
    resume: FileRef | None = None
    """The newest checkpoint that an earlier attempt at this run stored."""
    removed: list[str] = []
    """For the stage `subset`: uids that were removed from the pool on request, and are not trained with."""
    facts: dict[Stage, dict[str, Any]]
    """Results of the earlier stages, by stage: `result_type(stage).model_validate(facts[stage])`."""


class Progress(Message):
    """Live progress of a run. Units are named by `unit` (`rows`, `samples`, `tasks`, ...)."""

    done: float
    total: float | None = None
    unit: str
    rate: float | None = None
    """Units per second."""
    note: str = ""
    values: dict[str, float] = {}
    """Further figures, for instance `{"loss": 4.2}`. Those that JSON cannot carry (NaN) are left out."""

    @field_validator("values")
    @classmethod
    def _only_finite(cls, values: dict[str, float]) -> dict[str, float]:
        return {name: value for name, value in values.items() if math.isfinite(value)}


class Usage(Message):
    """What an attempt has used so far."""

    device: Literal["cpu", "cuda"]
    count: int = Field(ge=0)
    """GPUs that it holds (`cuda`), or processors that it may use."""
    seconds: float = Field(ge=0, allow_inf_nan=False)
    """Wall clock since it was claimed."""
    cpu_seconds: float = Field(ge=0, allow_inf_nan=False)
    """Processor time of the worker and everything that it started for this attempt."""


class Heartbeat(Message):
    fence: int
    progress: Progress | None = None
    log: str = ""
    """Text to append to the run's log since the last heartbeat."""
    usage: Usage | None = None


class HeartbeatReply(Message):
    cancel: bool
    """The worker must stop the run and report nothing more."""


class Failure(Message):
    """Why a run failed."""

    blame: Blame
    problems: list[Problem] = Field(min_length=1)
    log_tail: str = ""


class ValidateResult(Message):
    stage: Literal[Stage.VALIDATE] = Stage.VALIDATE
    rows: int
    """Rows of the file (0 for code, which is only parsed here)."""
    unique: int
    repeats: int
    unavailable: int
    """Uids that the pool knows but this site has no image for: counted, trained without."""
    description: str = ""
    """For code: the docstring of the module, which is the public description of the method."""


class FilterResult(Message):
    stage: Literal[Stage.FILTER] = Stage.FILTER
    rows_in: int
    rows_kept: int
    nan_scores: int
    rule: str
    """The selection rule that was applied."""
    seconds: float


class DedupResult(Message):
    stage: Literal[Stage.DEDUP] = Stage.DEDUP
    mode: DedupMode
    threshold: float
    rows_in: int
    removable: int
    """Rows that the keep rule would remove."""
    rows_kept: int
    """Equal to rows_in unless mode is `apply`."""
    recall: float
    """Measured on brute-forced sample queries."""
    recall_low: float
    recall_high: float
    cells_digest: Digest
    without_features: int = 0


class SubsetResult(Message):
    stage: Literal[Stage.SUBSET] = Stage.SUBSET
    samples: int
    """Samples written, repeats counted."""
    unique: int
    unavailable: int
    removed: int = 0
    """Rows left out because their uid was removed from the pool on request."""
    shards: int
    """0 where the site holds no images: then all samples count, and the host that trains drops what it lacks."""
    subset_digest: Digest
    """Digest of the sorted uid array that is trained on (little-endian u8,u8 bytes)."""


class TrainResult(Message):
    stage: Literal[Stage.TRAIN] = Stage.TRAIN
    samples_seen: int
    seconds: float
    samples_per_second: float
    final_loss: float
    device: str
    threads: int | None
    precision: str
    resumed_from: int
    """Checkpoint (epoch) that this attempt continued from; 0 for a fresh start."""
    scale_digest: Digest
    recipe_digest: Digest
    subset_digest: Digest
    """Digest of the uids trained on: the subset's, but for samples dropped when only this host has images."""
    weights_digest: Digest
    """Digest of the final state dict: names, shapes, dtypes and bytes in order."""
    loss_curve: list[tuple[int, float]]
    """(samples seen, loss) at the trainer's log steps."""


class EvaluateResult(Message):
    stage: Literal[Stage.EVALUATE] = Stage.EVALUATE
    tasks: int
    records: int
    seconds: float
    suite_digest: Digest


StageResult = Annotated[
    ValidateResult | FilterResult | DedupResult | SubsetResult | TrainResult | EvaluateResult,
    Field(discriminator="stage"),
]


class Finish(Message):
    """A run is done. Every output must have been stored under this attempt before."""

    fence: int
    result: StageResult
    outputs: list[FileRef]
    environment: dict[str, str] = {}
    """Versions that the result depends on (python, torch, open_clip, faiss, ...), for the manifest."""
    log: str = ""
    usage: Usage | None = None


class Fail(Message):
    fence: int
    failure: Failure
    log: str = ""
    usage: Usage | None = None


class WorkerHello(Message):
    """Sent every heartbeat interval by an idle or busy worker, so that the queue card can say who is alive."""

    worker: Name
    queues: list[str]
    busy: str | None = None
    """Run id in progress."""
    no_code: str = Field(default="", max_length=4000)
    """As in `ClaimRequest`."""


# Output names that one stage leaves for later ones.
SUBSET_FILE = "subset.npy"
"""Sorted u8,u8 array: made by validate (uids), filter (code) and dedup (apply); the latest one counts."""
CHECKPOINT_FILE = "checkpoint.pt"
"""The final checkpoint. While training runs, `epoch_<k>.pt` are stored as they appear, k counting from 1."""
RECORDS_FILE = "records.parquet"
REPORT_FILE = "report.json"


# --- public API ----------------------------------------------------------------------------------------------------


AccountName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{1,38}$")]


class Registration(Message):
    name: AccountName
    password: Annotated[str, Field(min_length=8, max_length=200)]
    email: str | None = Field(default=None, max_length=200)


class Scope(StrEnum):
    """What an API token may be used for, within what its account may do. Every scope includes reading."""

    READ = "read"
    """Look at what the account may see, its own logs included."""
    SUBMIT = "submit"
    """Hand in, cancel and withdraw."""
    ACCOUNT = "account"
    """Change the account: teams, tokens, webhooks, export, deletion."""
    ORGANISE = "organise"
    """Act as an organiser, with an organiser's account."""
    WORK = "work"
    """Take up runs, with a worker's account."""


class Credentials(Message):
    name: str = Field(max_length=200)
    password: str = Field(max_length=200)
    label: str = Field(default="cli", min_length=1, max_length=80)
    scopes: list[Scope] | None = Field(default=None, min_length=1)
    """Default: everything that the account may do."""
    expires_days: int | None = Field(default=None, ge=1, le=3650)
    """Default: never."""


class TokenOut(Message):
    """A new API token; the only time its secret is shown."""

    token: str
    name: str
    label: str
    scopes: list[Scope]
    expires_at: datetime | None


class TokenInfo(Message):
    """An API token as its owner sees it later, without its secret."""

    id: str
    label: str
    scopes: list[Scope]
    created_at: datetime
    last_used_at: datetime | None
    """To the hour."""
    expires_at: datetime | None
    expired: bool
    current: bool
    """Whether it is the one in use."""


class SessionInfo(Message):
    """A browser session."""

    id: str
    client: str
    """What the browser called itself."""
    address: str | None
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime
    current: bool


class PasswordChange(Message):
    current: str = Field(default="", max_length=200)
    new: Annotated[str, Field(min_length=8, max_length=200)]


class AccountOut(Message):
    name: str
    role: str
    team: str | None = None
    scopes: list[Scope]
    """Of the token in use."""


class QuotaCount(Message):
    used: int
    limit: int | None
    """None: no limit."""

    @property
    def left(self) -> int | None:
        """How many more; None: no limit."""
        return None if self.limit is None else max(self.limit - self.used, 0)


class QuotaOut(Message):
    """What counts against somebody, or against a team, on a board now."""

    board: str
    title: str
    rehearsal: bool
    """Rehearsals have a daily allowance of their own, and no total."""
    day: QuotaCount
    """Since 00:00 UTC."""
    total: QuotaCount
    concurrent: QuotaCount
    """Under way."""


class QuotaState(StrEnum):
    """A reservation is charged or refunded when its submission ends."""

    RESERVED = "reserved"
    CHARGED = "charged"
    REFUNDED = "refunded"


class QuotaNote(Message):
    """What a submission costs."""

    state: QuotaState
    reason: str
    """Why it was charged or refunded."""
    settled_at: datetime | None
    now: QuotaOut | None = None
    """What is used and left, for those to whom the submission belongs."""


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


class ScoreOut(Message):
    """Scores of one submission, mean over seeds."""

    average: float | None
    main: float | None
    groups: dict[str, float]
    tasks: list[TaskScore]
    seeds: int
    withheld: list[str] = []
    """Private tasks that are left out of `tasks` and of the means until their board reveals them."""


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
    method: str
    participant: str
    team: str | None = None
    """The team that it belongs to; then `participant` is who handed it in."""
    submission: str | None
    url: str | None
    subset_size: int | None
    score: float | None
    """Average over the suite's counted tasks."""
    main: float | None
    groups: dict[str, float]
    tasks: dict[str, float]
    status: str
    """`scored`, `published` (from a paper, not run here) or the state of an unfinished submission."""
    kind: SubmissionKind | None
    baseline: bool = False
    delta_to_baseline: float | None = None
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
    withheld: list[str] = []
    """Private tasks, shown from `reveals_at` on; until then the means leave them out."""
    reveals_at: datetime | None = None
    total: int
    """Entries on the board, of which `rows` is one page."""
    offset: int = 0
    """Entries before this page."""
    rows: list[LeaderboardRow]
    under_way_total: int = 0
    under_way: list[LeaderboardRow] = []
    """The oldest of what is not finished yet."""
    generated_at: datetime


class ManifestOut(Message):
    """Everything that a result depends on, by digest. `digest` covers `body`."""

    digest: Digest
    body: dict[str, Any]


TeamName = Annotated[str, Field(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9_. -]{0,37}[A-Za-z0-9])$")]
"""Letters, digits, dots, dashes, underscores and single words' blanks; stands on boards."""


class TeamCreate(Message):
    name: TeamName


class TeamMemberOut(Message):
    name: str
    owner: bool
    joined_at: datetime


class InviteInfo(Message):
    """An invitation that is open, without its code."""

    id: str
    created_by: str
    created_at: datetime
    expires_at: datetime
    uses_left: int


class TeamOut(Message):
    """A team as its members see it."""

    name: str
    created_at: datetime
    owner: bool
    """Whether the one who asks is its owner."""
    members: list[TeamMemberOut]
    invites: list[InviteInfo]


class InviteCreate(Message):
    expires_days: int = Field(default=7, ge=1, le=90)
    uses: int = Field(default=1, ge=1, le=100)


class InviteOut(Message):
    """A new invitation; the only time its code is shown."""

    code: str
    url: str
    team: str
    expires_at: datetime
    uses_left: int


class InviteCode(Message):
    code: str = Field(min_length=1, max_length=200)


class MemberName(Message):
    name: str = Field(min_length=1, max_length=200)


class AuditOut(Message):
    """One line of the audit log."""

    id: int
    at: datetime
    what: str
    actor: str | None
    """Who did it; null for nobody known, and for the server's own console."""
    subject: str | None
    """The account it was done to."""
    about: str
    """Id of the token, team, submission, ... that it was done to."""
    address: str | None
    request_id: str | None
    details: dict[str, Any]


class WebhookCreate(Message):
    url: str = Field(min_length=1, max_length=2000)


class WebhookInfo(Message):
    """An address that is told when a submission ends."""

    id: str
    url: str
    created_at: datetime


class WebhookOut(WebhookInfo):
    """A new webhook. Its deliveries are signed with `secret` as https://www.standardwebhooks.com describes."""

    secret: str


class NoticeOut(Message):
    """Something that was or will be told about a submission."""

    id: str
    """The same in every try (`webhook-id`), so that a repetition is known."""
    kind: str
    """`webhook` or `mail`."""
    to: str
    """The webhook's address, or the mail's."""
    submission: str
    event: str
    created_at: datetime
    due_at: datetime | None
    """When it is tried next."""
    tries: int
    delivered_at: datetime | None
    given_up_at: datetime | None
    error: str
    """What went wrong the last time."""


class MailSetting(Message):
    email: str | None = Field(default=None, max_length=200)
    """Where to; default: the address the account has. A new one has to be confirmed by a link sent to it."""
    on_final: bool
    """Whether mail is wanted when a submission ends."""


class MailSettingOut(Message):
    available: bool
    """Whether this platform sends mail."""
    email: str | None
    confirmed: bool
    on_final: bool


class IdentityInfo(Message):
    """An account elsewhere that may sign in to this one."""

    id: str
    provider: str
    login: str
    created_at: datetime


class Membership(Message):
    """A time in a team."""

    team: str
    owner: bool
    joined_at: datetime
    left_at: datetime | None


class Keep(StrEnum):
    """What becomes of results when their account is deleted."""

    ANONYMISE = "anonymise"
    """They stay on the boards under a name that says nothing."""
    WITHDRAW = "withdraw"
    """They are taken off the boards."""


class Deletion(Message):
    submissions: Keep
    password: str = Field(default="", max_length=200)
    """For accounts that have one."""
    name: str = Field(default="", max_length=200)
    """The account's own name, typed once more."""


class ExportedSubmission(Message):
    receipt: SubmissionOut
    events: list[EventOut]


class AccountExport(Message):
    """Everything that is stored about an account, but for secrets and files."""

    exported_at: datetime
    name: str
    role: str
    email: str | None
    email_confirmed_at: datetime | None
    mail_on_final: bool
    created_at: datetime
    has_password: bool
    identities: list[IdentityInfo]
    teams: list[Membership]
    tokens: list[TokenInfo]
    sessions: list[SessionInfo]
    webhooks: list[WebhookInfo]
    notices: list[NoticeOut]
    submissions: list[ExportedSubmission]
    audit: list[AuditOut]


class ErrorOut(Message):
    """Body of every refusal (4xx)."""

    problems: list[Problem]
