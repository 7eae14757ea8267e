"""What every stage is given and gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from datacomp.messages import Job, Progress, Stage, StageResult
from datacomp.problems import PlatformFault


class Cancelled(Exception):
    """The server refused our heartbeat or asked us to stop: leave at once, write nothing more."""


class Reporter(Protocol):
    """The stage's line to the server. Every method raises `Cancelled` once the run is no longer ours."""

    def progress(self, progress: Progress) -> None:
        """Publish live progress; cheap, may be called thousands of times a second (only the latest is sent)."""

    def log(self, text: str) -> None:
        """Append text to the run's log."""

    def check(self) -> None:
        """Do nothing, or raise `Cancelled`."""

    def store(self, name: str, path: Path) -> None:
        """Store a file under this attempt before the stage ends (checkpoints, so that another host can go on)."""


class Silent:
    """A stage's line to nobody."""

    def progress(self, progress: Progress) -> None:
        """Told to nobody."""

    def log(self, text: str) -> None:
        """Told to nobody."""

    def check(self) -> None:
        """Never cancelled."""

    def store(self, name: str, path: Path) -> None:
        """Kept nowhere: nobody goes on with this attempt."""


def in_rows(reporter: Reporter) -> Callable[[str, float, float], None]:
    """A stage's line for work that reports (what, rows done, rows in all)."""

    def report(what: str, done: float, total: float) -> None:
        reporter.progress(Progress(done=done, total=total, unit="rows", note=what))

    return report


@dataclass(frozen=True)
class StageContext:
    """One attempt at one run, with everything it may read."""

    job: Job
    workspace: Path
    """Empty directory of this attempt alone; removed afterwards."""
    scratch: Path
    """Host-wide, content-addressed cache that survives attempts; entries are complete when their marker exists."""
    pool_dir: Path
    """The board's pool: metadata/, shards/, pack/."""
    suite_dir: Path
    """Folder of the suite's `wds_*` task folders. Not to be touched before evaluation."""
    inputs: Mapping[str, Path]
    """Downloaded and digest-checked: `upload` (the participant's file) and the earlier stages' outputs by name."""
    resume: Path | None
    """The latest checkpoint that an earlier attempt at this run stored, or None."""
    report: Reporter
    device: str = "cpu"
    """`cpu` or `cuda`."""
    gpus: int = 0

    def input(self, name: str) -> Path:
        """An input file; `PlatformFault` when an earlier stage did not leave it."""
        if name not in self.inputs:
            raise PlatformFault.of(
                "input-missing", f"stage {self.job.stage} needs {name}, which no earlier stage left", where=self.job.run
            )
        return self.inputs[name]


@dataclass(frozen=True)
class StageOutput:
    """What a stage leaves: its typed result and files in its workspace, by output name."""

    result: StageResult
    files: Mapping[str, Path] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    """Versions and hardware of the host that made it, where that is not the worker's own."""


StageFunction = Callable[[StageContext], StageOutput]

__all__ = ["Cancelled", "Reporter", "Silent", "Stage", "StageContext", "StageFunction", "StageOutput", "in_rows"]
