"""What a training child tells its worker: one JSON line an event, appended to a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from datacomp.messages import Digest, Message
from datacomp.problems import Problem
from datacomp.scales import Scale
from datacomp_worker.training.crew import Crew

EVENTS_FILE = "events.jsonl"
OUT_OF_MEMORY = "training-out-of-memory"
"""Code of the failure that smaller parts of a batch may mend."""


class Plan(Message):
    """Everything a training child is told."""

    scale: Scale
    seed: int
    shards: Path
    """Folder of subset shards."""
    workdir: Path
    device: str
    crew: Crew = Crew()
    accumulation: int = 1
    """Parts in which every rank works its share of a batch off."""
    calls: Path | None = None
    """Where further hosts look for trainings that want them."""
    resume: Path | None
    """A checkpoint of an earlier attempt."""
    identity: Digest
    """Of scale, recipe, seed and data: a checkpoint with another identity is not continued from."""
    parent: int
    """Process id of the worker; the child does not outlive it."""

    @property
    def checkpoints(self) -> Path:
        """Where the trainer keeps its checkpoints."""
        return self.workdir / "run" / "checkpoints"


class Started(Message):
    """The trainer is about to start."""

    event: Literal["started"] = "started"
    epoch: int
    """Epochs that an earlier attempt had done; 0 for a fresh start."""


class Step(Message):
    """A log step of the trainer."""

    event: Literal["step"] = "step"
    samples: int
    """Samples seen since the beginning of the run, earlier attempts included."""
    loss: float
    samples_per_second: float
    learning_rate: float
    data_wait: float = 0.0
    """Share of the time since the event before that was spent waiting for data."""


class Checkpoint(Message):
    """An epoch's checkpoint is complete."""

    event: Literal["checkpoint"] = "checkpoint"
    epoch: int
    file: Path


class Finished(Message):
    """Training has ended, and the final weights are written."""

    event: Literal["finished"] = "finished"
    file: Path
    weights_digest: Digest
    curve: list[tuple[int, float]]
    """(samples seen, loss) at every log step, earlier attempts included."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Versions and hardware where the first rank ran; empty on the worker's own host."""


class Failed(Message):
    """Training has ended in an error that the child understands."""

    event: Literal["failed"] = "failed"
    ours: bool
    """False where the data are at fault."""
    problem: Problem


Event = Annotated[Started | Step | Checkpoint | Finished | Failed, Field(discriminator="event")]
_ADAPTER: TypeAdapter[Event] = TypeAdapter(Event)


def emit(workdir: Path, event: Started | Step | Checkpoint | Finished | Failed) -> None:
    """Append an event in one write."""
    line = event.model_dump_json().encode() + b"\n"
    file = os.open(workdir / EVENTS_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line)
    finally:
        os.close(file)


def parse(line: bytes) -> Event:
    """An event from its line."""
    return _ADAPTER.validate_json(line)
