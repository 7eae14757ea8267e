"""Rules of the worker protocol. Every write names an attempt and its fencing number, and is refused once the attempt
is over: the lease ran out, the run was handed on, or it ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.orm import Session

from datacomp.messages import (
    CHECKPOINT_FILE,
    DATASET_FILE,
    RECORDS_FILE,
    SUBSET_FILE,
    ClaimRequest,
    EvaluateResult,
    Fail,
    FileRef,
    Finish,
    Heartbeat,
    HeartbeatReply,
    Job,
    Progress,
    RunState,
    Stage,
    SubmissionKind,
    TrainResult,
    Usage,
)
from datacomp.problems import BadInput, Problem, raise_if_any
from datacomp.suite import Suite, rehearsal_of
from datacomp_server.boards.service import BoardService
from datacomp_server.clock import now
from datacomp_server.database import storable
from datacomp_server.errors import Conflict, NotFound
from datacomp_server.leaderboard.scoring import SeedResult
from datacomp_server.runs.lifecycle import Done, Lifecycle
from datacomp_server.runs.models import Attempt, AttemptState, Run
from datacomp_server.runs.repository import RunRepository
from datacomp_server.runs.reuse import ancestors, inherit, scale_of
from datacomp_server.runs.scheduling import Candidate, fair_order
from datacomp_server.settings import Settings
from datacomp_server.storage import Storage
from datacomp_server.submissions.models import StoredFile, Submission
from datacomp_server.submissions.repository import SubmissionRepository

UPLOAD = "upload"


@dataclass(frozen=True)
class Held:
    """An attempt with its run and submission, the submission locked."""

    submission: Submission
    run: Run
    attempt: Attempt


@dataclass(frozen=True)
class Unscored:
    """A records file and the suite to score it under."""

    key: str
    digest: str
    suite: Suite


class WorkerService:
    """What workers may ask and say."""

    def __init__(self, session: Session, settings: Settings, storage: Storage) -> None:
        self.settings = settings
        self.runs = RunRepository(session)
        self.submissions = SubmissionRepository(session)
        self.lifecycle = Lifecycle(session, settings, storage)

    # --- claiming

    def see(self, worker: str, queues: list[str], busy: str | None, no_code: str) -> None:
        """Note that a worker is alive."""
        self.runs.see_worker(worker, queues, busy, no_code, now())

    def candidates(self, request: ClaimRequest) -> list[Candidate]:
        """Queued runs that a worker may have, best first."""
        found = self.runs.candidates(request.queues, code=not request.no_code)
        loads = self.runs.loads(list({candidate.party for candidate in found}))
        return list(fair_order(found, loads, now(), timedelta(seconds=self.settings.ageing_seconds)))

    def try_claim(self, candidate: Candidate, request: ClaimRequest) -> Job | None:
        """Claim a run; None when somebody was faster."""
        submission = self.submissions.lock(candidate.submission)
        run = self.runs.get(candidate.run)
        if submission is None or run is None or run.state is not RunState.QUEUED:
            return None
        self.runs.hold_work(run)
        if self.lifecycle.take_over(submission, run) or self.runs.twin_in(RunState.RUNNING, run):
            return None
        attempt = self.lifecycle.claim(submission, run, request.worker)
        self.see(request.worker, request.queues, run.id, request.no_code)
        return self._job(submission, run, attempt)

    def take_over(self, submission_id: str) -> None:
        """Give a submission's queued runs the outputs of the same work that was finished meanwhile. Idempotent."""
        submission = self.submissions.lock(submission_id)
        for run in self.runs.of_submission(submission_id) if submission else []:
            if submission is not None:
                self.lifecycle.take_over(submission, run)

    def overrun(self, run_id: str) -> None:
        """Hand a run on, or fail it, if it was in its state for too long. Idempotent."""
        submission_id = self.runs.submission_of(run_id)
        submission = self.submissions.lock(submission_id) if submission_id else None
        run = self.runs.get(run_id)
        if submission is not None and run is not None and run.due_at is not None and run.due_at <= now():
            self.lifecycle.overrun(submission, run)

    def expire(self, attempt_id: str) -> None:
        """Hand an attempt's run on if its lease ran out. Idempotent."""
        held = self._find(attempt_id)
        if held.attempt.state is AttemptState.OPEN and held.attempt.lease_until <= now():
            self.lifecycle.lose(held.submission, held.run, held.attempt)

    # --- during an attempt

    def heartbeat(self, attempt_id: str, beat: Heartbeat) -> HeartbeatReply:
        """Extend the lease, keep progress and log; or ask the worker to stop a cancelled run."""
        held = self._find(attempt_id)
        if held.attempt.fence == beat.fence and held.attempt.state is AttemptState.CANCELLED:
            return HeartbeatReply(cancel=True)
        self._check(held.attempt, beat.fence)
        at = now()
        held.attempt.lease_until = at + timedelta(seconds=self.settings.lease_seconds)
        held.run.heard_at = at
        _note_usage(held.attempt, beat.usage)
        if beat.progress is not None:
            held.run.progress = storable(_finite(beat.progress))
        self.lifecycle.append_log(held.run, beat.log)
        return HeartbeatReply(cancel=False)

    def file_key(self, attempt_id: str, name: str, fence: int) -> str:
        """Where an output of this attempt belongs. Asked before its bytes are read."""
        held = self._held(attempt_id, fence)
        return f"runs/{held.run.id}/{held.attempt.id}/{name}"

    def record_file(self, attempt_id: str, fence: int, key: str, file: FileRef) -> None:
        """Note a stored output; the same name again replaces it."""
        held = self._held(attempt_id, fence)
        for row in self.submissions.attempt_files(attempt_id):
            if row.name == file.name:
                row.digest, row.size = file.digest, file.size
                return
        row = StoredFile(submission_id=held.submission.id, run_id=held.run.id, attempt_id=attempt_id, name=file.name)
        row.key, row.digest, row.size = key, file.digest, file.size
        self.submissions.add(row)

    def input_file(self, attempt_id: str, name: str) -> StoredFile:
        """An input of an attempt in progress: `upload`, an earlier run's output, or the checkpoint to go on from."""
        attempt = self.runs.attempt(attempt_id)
        if attempt is None:
            raise NotFound.of("attempt-unknown", "there is no such attempt", where=attempt_id)
        self._check(attempt, attempt.fence)
        run = attempt.run
        if name == UPLOAD:
            found = self.submissions.upload(run.submission_id)
        else:
            found = self._inherited_files(run).get(name)
            resume = self._resume_file(run)
            if found is None and resume is not None and resume.name == name:
                found = resume
        if found is None:
            raise NotFound.of("input-unknown", f"this run has no input {name!r}", where=run.id)
        return found

    # --- the end of an attempt

    def unscored(self, attempt_id: str, finish: Finish) -> Unscored | None:
        """The records to score before `finish`: outside its transaction, because that takes a while."""
        attempt = self.runs.attempt(attempt_id)
        if attempt is None or attempt.state is not AttemptState.OPEN or finish.result.stage is not Stage.EVALUATE:
            return None
        stored = {file.name: file for file in self.submissions.attempt_files(attempt_id)}
        records = stored.get(RECORDS_FILE)
        if records is None:
            return None
        return Unscored(records.key, records.digest, suite_of(attempt.run.submission))

    def finish(self, attempt_id: str, finish: Finish, scores: SeedResult | None) -> None:
        """The run is done. Saying so twice is as good as once."""
        held = self._find(attempt_id)
        if held.attempt.fence == finish.fence and held.attempt.state is AttemptState.DONE:
            return
        self._check(held.attempt, finish.fence)
        outputs = self._check_outputs(held, finish)
        if finish.result.stage is Stage.EVALUATE and scores is None:
            raise Conflict.of("records-unscored", "the records changed while they were scored", hint="finish again")
        self.lifecycle.append_log(held.run, finish.log)
        _note_usage(held.attempt, finish.usage)
        done = Done(finish.result, outputs, finish.environment, scores)
        self.lifecycle.finish(held.submission, held.run, held.attempt, done)

    def fail(self, attempt_id: str, fail: Fail) -> None:
        """The attempt failed. Saying so twice is as good as once."""
        held = self._find(attempt_id)
        if held.attempt.fence == fail.fence and held.attempt.state is AttemptState.FAILED:
            return
        self._check(held.attempt, fail.fence)
        self.lifecycle.append_log(held.run, fail.log)
        _note_usage(held.attempt, fail.usage)
        self.lifecycle.fail(held.submission, held.run, held.attempt, fail.failure)

    # --- inside

    def _find(self, attempt_id: str) -> Held:
        submission_id = self.runs.submission_of_attempt(attempt_id)
        submission = self.submissions.lock(submission_id) if submission_id else None
        attempt = self.runs.attempt(attempt_id)
        run = self.runs.get(attempt.run_id) if attempt else None
        if submission is None or attempt is None or run is None:
            raise NotFound.of("attempt-unknown", "there is no such attempt", where=attempt_id)
        return Held(submission, run, attempt)

    def _held(self, attempt_id: str, fence: int) -> Held:
        held = self._find(attempt_id)
        self._check(held.attempt, fence)
        return held

    @staticmethod
    def _check(attempt: Attempt, fence: int) -> None:
        if attempt.fence != fence or attempt.state is not AttemptState.OPEN or attempt.lease_until <= now():
            state = "its lease ran out" if attempt.state is AttemptState.OPEN else f"it is {attempt.state}"
            raise Conflict.of(
                "attempt-fenced", f"this attempt is over: {state}", where=attempt.id, hint="stop, write nothing more"
            )

    def _job(self, submission: Submission, run: Run, attempt: Attempt) -> Job:
        runs = self.runs.of_submission(submission.id)
        chain = ancestors(run, runs)
        inherited = inherit(chain, self.submissions.promoted([above.id for above in chain]))
        resume = self._resume_file(run)
        return Job(
            attempt=attempt.id,
            fence=attempt.fence,
            number=attempt.number,
            lease_seconds=self.settings.lease_seconds,
            heartbeat_seconds=self.settings.heartbeat_seconds,
            run=run.id,
            submission=submission.id,
            stage=run.stage,
            seed=run.seed,
            rehearsal=submission.rehearsal,
            kind=submission.kind,
            board=BoardService.facts(submission.board),
            upload=FileRef(name=submission.filename, digest=submission.digest, size=submission.size),
            inputs=[file_ref(file) for file in inherited.files.values()],
            resume=file_ref(resume) if resume else None,
            removed=self.lifecycle.removals.of_pool(submission.board.pool) if run.stage is Stage.SUBSET else [],
            facts=inherited.facts,
        )

    def _inherited_files(self, run: Run) -> dict[str, StoredFile]:
        chain = ancestors(run, self.runs.of_submission(run.submission_id))
        return inherit(chain, self.submissions.promoted([above.id for above in chain])).files

    def _resume_file(self, run: Run) -> StoredFile | None:
        """The checkpoint of the highest epoch that any attempt at this run stored; the latest of equals."""
        if run.stage is not Stage.TRAIN:
            return None
        found = [(epoch, file) for file in self.submissions.run_files(run.id) if (epoch := _epoch(file.name))]
        return max(found, key=lambda item: (item[0], item[1].created_at))[1] if found else None

    def _check_outputs(self, held: Held, finish: Finish) -> list[StoredFile]:
        """The stored files of the outputs named; `BadInput` lists all that does not fit."""
        problems = _result_problems(held, finish)
        stored = {file.name: file for file in self.submissions.attempt_files(held.attempt.id)}
        for output in finish.outputs:
            file = stored.get(output.name)
            if file is None or (file.digest, file.size) != (output.digest, output.size):
                problems.append(
                    Problem(
                        code="output-not-stored",
                        message=f"{output.name} was not stored under this attempt with that digest",
                        where=output.name,
                    )
                )
        named = {output.name for output in finish.outputs}
        problems += [
            Problem(code="output-missing", message=f"stage {held.run.stage} must leave {name}", where=name)
            for name in _required(held.run.stage, held.submission.kind)
            if name not in named
        ]
        raise_if_any(problems)
        return [stored[name] for name in named]


def file_ref(file: StoredFile) -> FileRef:
    """A stored file as messages name it."""
    return FileRef(name=file.name, digest=file.digest, size=file.size)


def suite_of(submission: Submission) -> Suite:
    """The suite that a submission is evaluated under: its board's, or the rehearsal of it."""
    suite = BoardService.suite_of(submission.board)
    return rehearsal_of(suite) if submission.rehearsal else suite


def _epoch(name: str) -> int | None:
    """The k of `epoch_<k>.pt`; None for other names."""
    number = name.removeprefix("epoch_").removesuffix(".pt")
    return int(number) if name == f"epoch_{number}.pt" and number.isascii() and number.isdigit() else None


def _required(stage: Stage, kind: SubmissionKind) -> tuple[str, ...]:
    match stage:
        case Stage.VALIDATE:
            return (SUBSET_FILE,) if kind is SubmissionKind.UIDS else ()
        case Stage.FETCH:
            return (SUBSET_FILE, DATASET_FILE)
        case Stage.FILTER | Stage.DECONTAMINATE:
            return (SUBSET_FILE,)
        case Stage.TRAIN:
            return (CHECKPOINT_FILE,)
        case Stage.EVALUATE:
            return (RECORDS_FILE,)
    return ()


def _result_problems(held: Held, finish: Finish) -> list[Problem]:
    """A result must be of the run's stage, and made under the frozen scale and suite."""
    result, board = finish.result, held.submission.board
    if result.stage is not held.run.stage:
        raise BadInput.of("result-stage", f"a {held.run.stage} run cannot end with a {result.stage} result")
    problems = []
    if isinstance(result, TrainResult) and result.scale_digest != scale_of(held.submission).digest:
        problems.append(
            Problem(
                code="scale-differs", message=f"not trained under the frozen scale {board.scale}", where=held.run.id
            )
        )
    if isinstance(result, EvaluateResult) and result.suite_digest != suite_of(held.submission).digest:
        problems.append(
            Problem(code="suite-differs", message=f"not evaluated under {board.suite.name}", where=held.run.id)
        )
    return problems


def _note_usage(attempt: Attempt, usage: Usage | None) -> None:
    """Keep what an attempt says it used. It grows only, and no attempt is older than its claim."""
    if usage is None:
        return
    age = (now() - attempt.started_at).total_seconds()
    attempt.device, attempt.device_count = usage.device, usage.count
    attempt.seconds = max(attempt.seconds, min(usage.seconds, age))
    attempt.cpu_seconds = max(attempt.cpu_seconds, usage.cpu_seconds)


def _finite(progress: Progress) -> Progress:
    """Without figures that JSON cannot carry; a loss may well be NaN."""
    keep = {name: value for name, value in progress.values.items() if abs(value) < float("inf")}
    rate = progress.rate if progress.rate is not None and abs(progress.rate) < float("inf") else None
    total = progress.total if progress.total is not None and abs(progress.total) < float("inf") else None
    done = progress.done if abs(progress.done) < float("inf") else 0.0
    return progress.model_copy(update={"values": keep, "rate": rate, "total": total, "done": done})
