"""The base of all messages, and the words that all of them share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from datacomp.problems import Problem

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(min_length=1, max_length=120)]


class Message(BaseModel):
    """Base of all messages: unknown fields are refused, so that typos surface."""

    model_config = ConfigDict(extra="forbid")


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
    FETCH = "fetch"
    DECONTAMINATE = "decontaminate"
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


class ByodSetting(Message):
    """What a byod board asks of datasets."""

    near: float = Field(default=0.97, gt=0.5, le=1)
    """Likeness (of a model: cosine) from which on an image counts as a copy of an evaluation image, and is removed."""
    model: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    """The embedding model, beside the suite's data on every worker, whose cosine that is. Default: pixels."""
    model_digest: Digest | None = None
    """SHA-256 of its weights, so that no worker uses others."""
    contamination: float = Field(default=0.2, ge=0, le=1)
    """Share of the samples that may be copies; above it the submission is rejected."""
    success: float = Field(default=0.1, ge=0, le=1)
    """Share of the file's rows that must become samples; below it the submission is rejected."""
    rows: int = Field(default=1_000_000, ge=1)
    """Rows that a file may have."""
    unsafe: float = Field(default=0.5, gt=0, le=1)
    """Score, of the file's own column or of the detector, from which on a sample is left out as unsafe."""
    detector: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """The detector of unsafe pictures that workers have under this name."""


class ErrorOut(Message):
    """Body of every refusal (4xx)."""

    problems: list[Problem]
