"""The protocol of workers: claim, heartbeat, results, failure; and the outputs that stages leave."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from datacomp.messages.kept import Kept
from datacomp.messages.words import (
    Blame,
    ByodSetting,
    DedupMode,
    DedupSetting,
    Digest,
    Message,
    Name,
    Stage,
    SubmissionKind,
    Track,
)
from datacomp.problems import Problem


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
    byod: ByodSetting = ByodSetting()


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
    removed: list[str] = Field(default_factory=list)
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
    values: dict[str, float] = Field(default_factory=dict)
    """Further figures, for instance `{"loss": 4.2}`. Those that JSON cannot carry (NaN) are left out."""

    @field_validator("values")
    @classmethod
    def _only_finite(cls, values: dict[str, float]) -> dict[str, float]:
        return {name: value for name, value in values.items() if math.isfinite(value)}


class Usage(Message):
    """What an attempt has used so far."""

    device: Literal["cpu", "cuda"]
    count: int = Field(ge=0, lt=2**31)
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
    left_out: dict[str, int] = Field(default_factory=dict)
    """For datasets: rows that cannot be used, by cause."""
    description: str = ""
    """For code: the docstring of the module, which is the public description of the method."""


class SourceShare(Message):
    """A source of a dataset."""

    name: str
    weight: float
    """How often one of its samples is drawn, against a sample of a source of weight 1."""
    samples: int
    digest: Digest | None = None
    """Of its sorted uids, once it is settled what is trained on."""


class FetchResult(Message):
    """What a dataset came to once its images were fetched."""

    stage: Literal[Stage.FETCH] = Stage.FETCH
    rows: int
    """Of the file; of tars that it names the samples in them."""
    samples: int
    """Different pairs of image and caption."""
    from_pool: int
    """Of them, samples that the file names by uid."""
    causes: dict[str, int]
    """Rows that became no sample, by cause."""
    hosts: dict[str, int]
    """Samples by the hosts that most came from."""
    licenses: dict[str, int]
    """Samples by what the column `license` says."""
    urls_digest: Digest
    """Of the addresses of all samples, one a line, sorted."""
    dataset_digest: Digest
    """Of the pool that the samples make."""
    bytes: int
    seconds: float
    sources: list[SourceShare] = Field(default_factory=list)
    """Where the file names sources. Without, weights are repeats in the subset."""
    detector: str | None = None
    """What looked for unsafe pictures, beside the file's own column."""


class DecontaminateResult(Message):
    """Samples that were removed because evaluation has them."""

    stage: Literal[Stage.DECONTAMINATE] = Stage.DECONTAMINATE
    samples: int
    near_images: int
    """Whose image is a copy of an evaluation image."""
    same_texts: int
    """Whose caption is, letter by letter but for case and white space, one of a retrieval task's."""
    removed: int
    kept: int
    threshold: float
    limit: float
    method: str
    """What copies were told by: pixels, or the board's model with its weights' digest."""
    evaluation_images: int
    suite_digest: Digest


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
    samples: int = Field(ge=0, lt=2**63)
    """Samples written, repeats counted."""
    unique: int
    unavailable: int
    removed: int = 0
    """Rows left out because their uid was removed from the pool on request."""
    shards: int
    """0 where the site holds no images: then all samples count, and the host that trains drops what it lacks."""
    subset_digest: Digest
    """Digest of the sorted uid array that is trained on (little-endian u8,u8 bytes); with several sources, of theirs
    and their weights."""
    sources: list[SourceShare] = Field(default_factory=list)
    """Of which samples are drawn by weight, where a dataset has several."""
    pool_digest: Digest | None = None
    """Of the pool that it was taken from."""
    near_evaluation: int | None = None
    """Different samples at a cosine of at least `near_threshold` to an evaluation image, if the pool knows (`datacomp
    pool near`)."""
    near_threshold: float | None = None
    kept: Kept | None = None
    """What it keeps of the pool; null in results of older workers."""
    removed_uids: list[str] = Field(default_factory=list)
    """The uids that `removed` counts, sorted, so that others can leave the same ones out."""


class TrainResult(Message):
    stage: Literal[Stage.TRAIN] = Stage.TRAIN
    samples_seen: int
    seconds: float
    samples_per_second: float
    final_loss: float
    device: str
    threads: int | None
    precision: str
    processes: int = 1
    """Ranks that shared every batch."""
    accumulation: int = 1
    """Parts in which each of them worked its share off, because memory was short of it."""
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
    ValidateResult
    | FetchResult
    | DecontaminateResult
    | FilterResult
    | DedupResult
    | SubsetResult
    | TrainResult
    | EvaluateResult,
    Field(discriminator="stage"),
]


class Finish(Message):
    """A run is done. Every output must have been stored under this attempt before."""

    fence: int
    result: StageResult
    outputs: list[FileRef]
    environment: dict[str, str] = Field(default_factory=dict)
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
DATASET_FILE = "dataset.tar"
"""A fetched dataset: the metadata and shards of a small pool, made by fetch (dataset)."""
RECORDS_FILE = "records.parquet"
SKETCH_FILE = "sketch.bin"
"""A bottom-k sketch of the subset, from which overlaps with others are estimated, see `datacomp.sketches`."""
REPORT_FILE = "report.json"
