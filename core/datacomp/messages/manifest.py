"""The manifest of a scored submission: everything that its result depends on, named by digest.

`MANIFEST_FORMAT` names the schema; docs/formats.md describes it. A field that is added has a default, so that manifests
of before can still be read, and gives the format a new number.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field

from datacomp.messages.words import ByodSetting, DedupSetting, Digest, Message, Stage, SubmissionKind, Track

MANIFEST_FORMAT = "datacomp-manifest@2"
READABLE = ("datacomp-manifest@1", MANIFEST_FORMAT)


class ManifestPart(Message):
    """Unlike other messages it is kept for years: what a newer platform adds is ignored, not refused."""

    model_config = ConfigDict(extra="ignore")


class ManifestFile(ManifestPart):
    digest: Digest
    size: int = Field(ge=0)


class ManifestUpload(ManifestFile):
    filename: str


class ManifestSubmission(ManifestPart):
    id: str
    participant: str
    team: str | None = None
    method: str
    kind: SubmissionKind
    rehearsal: bool
    created_at: datetime
    upload: ManifestUpload


class ManifestSuite(ManifestPart):
    name: str
    """`name@version`."""
    digest: Digest


class ManifestPool(ManifestPart):
    name: str
    digest: Digest | None
    """As the board names it; null where it does not, then `digests.pool` has what the worker reported."""


class ManifestTolerance(ManifestPart):
    """How far scores of a reproduction may lie from the manifest's: absolute differences, of one seed."""

    average: float = Field(ge=0)
    main: float = Field(ge=0)
    source: str
    """Where the figures are from."""


class ManifestBoard(ManifestPart):
    name: str
    track: Track
    scale: dict[str, Any]
    """Every field of the recipe, and its digest."""
    suite: ManifestSuite
    pool: ManifestPool
    dedup: DedupSetting
    byod: ByodSetting | None = None
    seeds: list[int]
    tolerance: ManifestTolerance | None = None
    """Null where none is published for the scale."""


class ManifestAttempt(ManifestPart):
    """One claim of a run by a worker; the last one is whose outputs count."""

    number: int
    worker: str
    state: str
    started_at: datetime
    ended_at: datetime | None
    device: str | None = None
    """`cpu` or `cuda`."""
    device_count: int = 0
    """GPUs held, or processors."""
    seconds: float = 0.0
    cpu_seconds: float = 0.0


class ManifestRun(ManifestPart):
    stage: Stage
    seed: int
    input_digest: Digest | None
    """Of everything that the run's result depends on."""
    reused_from: str | None = None
    result: dict[str, Any] | None
    environment: dict[str, str] | None
    """Versions and hardware of the worker that finished it."""
    outputs: dict[str, ManifestFile]
    attempts: list[ManifestAttempt] = Field(default_factory=list)


class ManifestSeed(ManifestPart):
    seed: int
    suite_digest: Digest
    records_digest: Digest
    average: float | None = None
    """Absent, as the next, while tasks are withheld: it would tell of them."""
    main: float | None = None
    tasks: dict[str, float | None] = Field(default_factory=dict)


class ManifestScores(ManifestPart):
    """Means over the seeds."""

    average: float | None
    main: float | None
    groups: dict[str, float]
    tasks: dict[str, dict[str, Any]]
    seeds: list[ManifestSeed]
    withheld: list[str] = Field(default_factory=list)
    """Private tasks, left out of everything above until their board reveals them."""


class ManifestDigests(ManifestPart):
    """The digests by what they are of, in one place; what is by seed has the seed as its key."""

    pool: Digest | None = None
    filter: Digest | None = None
    """Of the participant's file: code, expression or uids."""
    rule: str | None = None
    """The selection rule that was applied to a filter's scores."""
    engine: str | None = None
    """Version of the engine that applied it."""
    subset: Digest | None = None
    """Of the uids trained on."""
    scale: Digest | None = None
    recipe: Digest | None = None
    suite: Digest | None = None
    weights: dict[str, Digest] = Field(default_factory=dict)
    checkpoints: dict[str, Digest] = Field(default_factory=dict)
    """Of the checkpoint files."""
    records: dict[str, Digest] = Field(default_factory=dict)


class Manifest(ManifestPart):
    format: str
    platform: dict[str, str]
    submission: ManifestSubmission
    board: ManifestBoard
    digests: ManifestDigests = ManifestDigests()
    runs: list[ManifestRun]
    scores: ManifestScores
