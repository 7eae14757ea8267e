"""A job and its context for tests that call a stage directly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from datacomp.digests import digest_bytes
from datacomp.messages import BoardFacts, FileRef, Job, Progress, Stage, StageResult, SubmissionKind, Track
from datacomp_worker.stages.base import Cancelled, StageContext

DIGEST = digest_bytes(b"")


@dataclass
class Notes:
    """A reporter that remembers, and cancels when progress bears the note `cancel_at`."""

    cancel_at: str | None = None
    seen: list[Progress] = field(default_factory=list)
    text: str = ""

    def progress(self, progress: Progress) -> None:
        self.seen.append(progress)
        if self.cancel_at is not None and progress.note == self.cancel_at:
            raise Cancelled

    def log(self, text: str) -> None:
        self.text += text

    def check(self) -> None:
        pass

    def store(self, name: str, path: Path) -> None:
        raise AssertionError("this stage stores nothing on the way")


def stage_context(
    stage: Stage,
    directory: Path,
    inputs: Mapping[str, Path],
    *,
    pool_dir: Path = Path("no-pool"),
    suite_dir: Path = Path("no-suite"),
    notes: Notes | None = None,
    rehearsal: bool = False,
    before: Sequence[StageResult] = (),
    **board: object,
) -> StageContext:
    """The context of a stage that works in `directory`/output; `before` are results of earlier stages,
    further names facts of the board."""
    workspace = directory / "output"
    workspace.mkdir(parents=True)
    facts = {"scale": "tiny", "suite": "tiny@1", "suite_digest": DIGEST, "pool": "p", **board}
    job = Job(
        attempt="a",
        fence=1,
        number=1,
        lease_seconds=60,
        heartbeat_seconds=15,
        run="r",
        submission="s",
        stage=stage,
        seed=0,
        rehearsal=rehearsal,
        kind=SubmissionKind.UIDS,
        board=BoardFacts(name="b", track=Track.FILTERING, **facts),
        upload=FileRef(name="u.npy", digest=DIGEST, size=1),
        inputs=[],
        facts={result.stage: result.model_dump(mode="json") for result in before},
    )
    return StageContext(job, workspace, directory / "scratch", pool_dir, suite_dir, inputs, None, notes or Notes())


def dataset_context(stage: Stage, directory: Path, upload: Path, **board: object) -> StageContext:
    """The same for a dataset that was handed in."""
    context = stage_context(stage, directory, {"upload": upload}, **board)
    named = context.job.upload.model_copy(update={"name": upload.name})
    job = context.job.model_copy(update={"kind": SubmissionKind.DATASET, "upload": named})
    return replace(context, job=job)
