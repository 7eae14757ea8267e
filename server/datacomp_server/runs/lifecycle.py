"""The life of a submission's runs: every transition happens here, each with its event, in the caller's transaction.

Callers hold the submission's lock (`SubmissionRepository.lock`), so that transitions of one submission come one after
another whatever the number of servers.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from datacomp.messages import SKETCH_FILE, Blame, DedupSetting, Failure, RunState, Stage, StageResult, SubsetResult
from datacomp.problems import Problem
from datacomp.sketches import SIZE
from datacomp_server.boards.removals import Removals
from datacomp_server.clock import new_id, now
from datacomp_server.database import storable
from datacomp_server.leaderboard.models import Score, SeedScore
from datacomp_server.leaderboard.repository import ScoreRepository
from datacomp_server.leaderboard.scoring import SeedResult
from datacomp_server.leaderboard.visibility import note_means
from datacomp_server.notices.service import NoticeService
from datacomp_server.runs.deadlines import deadline_failure
from datacomp_server.runs.models import Attempt, AttemptState, OutboxRow, Run
from datacomp_server.runs.plan import plan_runs
from datacomp_server.runs.repository import RunRepository
from datacomp_server.runs.reuse import ancestors, inherit, input_digest
from datacomp_server.runs.transitions import FINAL as FINAL_RUN
from datacomp_server.settings import Settings
from datacomp_server.storage import Storage, storage_faults
from datacomp_server.submissions.models import StoredFile, Submission
from datacomp_server.submissions.overlaps import SketchRepository
from datacomp_server.submissions.quota import Quota
from datacomp_server.submissions.repository import SubmissionRepository
from datacomp_server.submissions.states import CANCELLED, FINAL, SCORED, RunFact, derive_state

DISPATCHER = "dispatcher"
SERVER = "server"


@dataclass(frozen=True)
class Done:
    """What an attempt reports when its run is done, checked."""

    result: StageResult
    outputs: list[StoredFile]
    environment: dict[str, str]
    scores: SeedResult | None


class Lifecycle:
    """Moves runs, and with them their submission."""

    def __init__(self, session: Session, settings: Settings, storage: Storage) -> None:
        self.settings, self.storage = settings, storage
        self.runs = RunRepository(session)
        self.submissions = SubmissionRepository(session)
        self.scores = ScoreRepository(session)
        self.sketches = SketchRepository(session)
        self.quota = Quota(session)
        self.removals = Removals(session)
        self.notices = NoticeService(session, settings)

    # --- beginnings

    def open(self, submission: Submission, actor: str) -> None:
        """Note that a submission was opened."""
        self._event(submission, None, None, submission.state, actor, "opened")

    def begin(self, submission: Submission, actor: str) -> None:
        """The upload is confirmed: plan the runs and queue the first."""
        board = submission.board
        planned = plan_runs(
            submission.kind,
            dedup=DedupSetting.model_validate(board.dedup).mode,
            seeds=board.seeds,
            data_queue=board.data_queue,
            train_queue=board.train_queue,
            rehearsal=submission.rehearsal,
        )
        submission.uploaded_at = now()
        made: list[Run] = []
        for position, item in enumerate(planned):
            after = made[item.after].id if item.after is not None else None
            run = Run(id=new_id(), submission_id=submission.id, after_id=after, position=position, stage=item.stage)
            run.seed, run.queue, run.state = item.seed, item.queue, RunState.WAITING
            run.due_at = self._due(run)
            made.append(run)
        self.runs.add(*made)
        self._hand_over(submission, made, None, actor)
        self._refresh(submission, made, actor, "upload confirmed")

    # --- attempts

    def claim(self, submission: Submission, run: Run, worker: str) -> Attempt:
        """A worker takes up a queued run."""
        at = now()
        run.fence += 1
        run.attempt_count += 1
        run.worker, run.progress, run.heard_at = worker, None, at
        run.started_at = at
        attempt = Attempt(run_id=run.id, fence=run.fence, number=run.attempt_count, worker=worker, started_at=at)
        attempt.lease_until = at + timedelta(seconds=self.settings.lease_seconds)
        if run.attempt_count > 1:
            self.append_log(run, f"\n--- attempt {run.attempt_count}, on {worker} ---\n")
        self._move(submission, run, RunState.RUNNING, f"worker:{worker}", f"claimed, attempt {run.attempt_count}")
        self.runs.add(attempt)
        self.runs.note_served(submission.id, at)
        return attempt

    def append_log(self, run: Run, text: str) -> None:
        """Append to the run's log and keep its tail."""
        if text:
            clean = text.replace("\x00", "?")  # which PostgreSQL refuses; replaced by one byte, so that sizes add up
            kept = (run.log_tail + clean).encode("utf-8", "replace")[-self.settings.log_tail_bytes :]
            run.log_tail = kept.decode("utf-8", "ignore")

    def finish(self, submission: Submission, run: Run, attempt: Attempt, done: Done) -> None:
        """The run is done: promote its outputs, store its scores, queue what waited for it."""
        for file in done.outputs:
            file.promoted = True
        run.result, run.environment, run.failure = storable(done.result), done.environment, None
        self._end(attempt, AttemptState.DONE)
        self._note_result(submission, run, done.result, done.scores)
        self._note_sketch(submission, done)
        actor = f"worker:{attempt.worker}"
        self._move(submission, run, RunState.DONE, actor, f"attempt {attempt.number}")
        runs = self.runs.of_submission(submission.id)
        self._hand_over(submission, runs, run, actor)
        self._refresh(submission, runs, actor, f"{run.stage} done")

    def fail(self, submission: Submission, run: Run, attempt: Attempt, failure: Failure) -> None:
        """The attempt failed: our own faults are tried again, a participant's end the submission."""
        self._end(attempt, AttemptState.FAILED)
        self._retry_or_fail(submission, run, failure, f"worker:{attempt.worker}")

    def lose(self, submission: Submission, run: Run, attempt: Attempt) -> None:
        """The attempt's lease ran out: hand the run to another worker."""
        self._end(attempt, AttemptState.LOST)
        problem = Problem(
            code="lease-lost",
            message=f"worker {attempt.worker} fell silent during attempt {attempt.number}",
            where=run.id,
            hint="look at that worker's log",
        )
        self._retry_or_fail(submission, run, Failure(blame=Blame.PLATFORM, problems=[problem]), DISPATCHER)

    def overrun(self, submission: Submission, run: Run) -> None:
        """The run is in its state for longer than it may be: hand it on, or fail it when there is nobody to."""
        runs = self.runs.of_submission(submission.id)
        match run.state:
            case RunState.RUNNING:
                for attempt in self.runs.open_attempts([run.id]):
                    self._end(attempt, AttemptState.LOST)
                self._retry_or_fail(submission, run, deadline_failure(run, self.settings), DISPATCHER)
            case RunState.QUEUED if self.runs.twin_in(RunState.RUNNING, run):
                run.due_at = self._due(run)  # the same work is being done, which has a deadline of its own
            case RunState.QUEUED:
                self._fail(submission, run, deadline_failure(run, self.settings), DISPATCHER)
            case RunState.WAITING:
                run.due_at = self._due(run)
                above = next((other for other in runs if other.id == run.after_id), None)
                if above is None or above.state is RunState.DONE:
                    self._hand_over(submission, runs, above, DISPATCHER)
                    self._refresh(submission, runs, DISPATCHER, "handed over late")

    def take_over(self, submission: Submission, run: Run) -> bool:
        """Let a queued run have the outputs of the same work that was finished meanwhile, if it was."""
        if run.state is not RunState.QUEUED or not self._take_over(submission, run):
            return False
        runs = self.runs.of_submission(submission.id)
        self._hand_over(submission, runs, run, SERVER)
        self._refresh(submission, runs, SERVER, f"{run.stage} taken over")
        return True

    # --- ends

    def cancel(self, submission: Submission, actor: str, reason: str) -> None:
        """Stop a submission that is not final. Quota comes back when no run had been taken up."""
        submission.cancelled_at = now()
        runs = self.runs.of_submission(submission.id)
        untouched = all(run.attempt_count == 0 for run in runs)
        self._stop_runs(submission, runs, actor, reason)
        self.quota.settle(submission.id, refund=untouched, reason=reason)
        self._refresh(submission, runs, actor, reason)

    def requeue(self, submission: Submission, actor: str, reason: str) -> None:
        """Take up a failed submission again where it failed, with all attempts anew; what was stopped with it too.

        Its quota stays as it was settled: whoever was refunded is not charged again.
        """
        submission.finished_at = None
        runs = self.runs.of_submission(submission.id)
        for run in runs:
            if run.state is RunState.CANCELLED:
                run.finished_at = None
                self._move(submission, run, RunState.WAITING, actor, reason)
            elif run.state is RunState.FAILED:
                run.finished_at, run.failure, run.attempt_count = None, None, 0
                self._move(submission, run, RunState.QUEUED, actor, reason)
        for run in runs:  # seeds beside the failed one: what they wait for is done
            if run.state is RunState.DONE:
                self._hand_over(submission, runs, run, actor)
        self._refresh(submission, runs, actor, reason)

    def withdraw(self, submission: Submission, actor: str, reason: str) -> None:
        """Take a scored submission off its board."""
        submission.withdrawn_at = now()
        score = self.scores.score(submission.id)
        if score is not None:
            score.listed = False
            self.scores.note_change(score.board_name)
        self._refresh(submission, self.runs.of_submission(submission.id), actor, reason)

    def _retry_or_fail(self, submission: Submission, run: Run, failure: Failure, actor: str) -> None:
        cause = failure.problems[0]
        if failure.blame is not Blame.PLATFORM or run.attempt_count >= self.settings.max_attempts:
            self._fail(submission, run, failure, actor)
            return
        tries = f"attempt {run.attempt_count} of {self.settings.max_attempts}"
        self._move(submission, run, RunState.QUEUED, actor, f"{cause.code} ({tries}): {cause.message}")
        self._refresh(submission, self.runs.of_submission(submission.id), actor, cause.code)

    def _fail(self, submission: Submission, run: Run, failure: Failure, actor: str) -> None:
        """The run fails for good, and its submission with it. What was our fault is refunded."""
        cause = failure.problems[0]
        tail = failure.log_tail or run.log_tail[-8000:]
        run.failure = storable(failure.model_copy(update={"log_tail": tail}))
        self._move(submission, run, RunState.FAILED, actor, f"{cause.code}: {cause.message}")
        runs = self.runs.of_submission(submission.id)
        self._stop_runs(submission, runs, actor, f"{run.stage} failed")
        ours = failure.blame is Blame.PLATFORM
        self.quota.settle(submission.id, refund=ours, reason=f"{failure.blame}: {cause.code}")
        self._refresh(submission, runs, actor, cause.code)

    def _stop_runs(self, submission: Submission, runs: list[Run], actor: str, reason: str) -> None:
        for attempt in self.runs.open_attempts([run.id for run in runs]):
            self._end(attempt, AttemptState.CANCELLED)
        for run in runs:
            if run.state not in FINAL_RUN:
                self._move(submission, run, RunState.CANCELLED, actor, reason)

    @staticmethod
    def _end(attempt: Attempt, state: AttemptState) -> None:
        attempt.state, attempt.ended_at = state, now()

    # --- hand-over

    def _hand_over(self, submission: Submission, runs: list[Run], done: Run | None, actor: str) -> None:
        """Queue the runs that waited for `done` (None: the first), or take over finished work for them."""
        for run in runs:
            if run.after_id != (done.id if done else None) or run.state is not RunState.WAITING:
                continue
            chain = ancestors(run, runs)
            files = self.submissions.promoted([above.id for above in chain])
            removed = self.removals.of_pool(submission.board.pool) if run.stage is Stage.SUBSET else []
            run.input_digest = input_digest(run, submission, inherit(chain, files), removed)
            if self._take_over(submission, run):
                self._hand_over(submission, runs, run, actor)
            else:
                self._move(submission, run, RunState.QUEUED, actor, "inputs are there")

    def _take_over(self, submission: Submission, run: Run) -> bool:
        """Make the run done with an earlier run's outputs, if one had the same inputs and they are still stored."""
        twin = self.runs.twin(run.input_digest or "")
        if twin is None or twin.result is None:
            return False
        outputs = self.submissions.hold_promoted(twin.id)
        scores = self.scores.seed_score(twin.id)
        if run.stage is Stage.EVALUATE and (scores is None or scores.suite_digest != twin.result["suite_digest"]):
            return False  # none, or of another suite: its board was scored anew
        if not all(file.deleted_at is None and self.storage.exists(file.key) for file in outputs):
            return False
        for file in outputs:
            copy = StoredFile(submission_id=submission.id, run_id=run.id, name=file.name, key=file.key)
            copy.digest, copy.size, copy.promoted = file.digest, file.size, True
            self.submissions.add(copy)
        run.result, run.environment = twin.result, twin.environment
        run.reused_from = twin.reused_from or twin.id
        self._note_result(submission, run, None, _result_of(scores) if scores else None)
        reason = f"same inputs as run {run.reused_from}: its outputs are taken over"
        self._move(submission, run, RunState.DONE, SERVER, reason)
        return True

    def _note_result(
        self, submission: Submission, run: Run, result: StageResult | None, scores: SeedResult | None
    ) -> None:
        if run.stage is Stage.SUBSET:
            subset = result if isinstance(result, SubsetResult) else SubsetResult.model_validate(run.result)
            submission.subset_size, submission.subset_digest = subset.samples, subset.subset_digest
            self.submissions.mark_duplicates(submission)
        if scores is not None:
            self.scores.add(
                SeedScore(
                    run_id=run.id,
                    submission_id=submission.id,
                    seed=run.seed,
                    suite_digest=scores.suite_digest,
                    records_digest=scores.records_digest,
                    average=scores.average,
                    main=scores.main,
                    groups=scores.groups,
                    tasks=scores.tasks,
                    variances=scores.variances,
                )
            )

    def _note_sketch(self, submission: Submission, done: Done) -> None:
        """Keep the subset's sketch where it can be compared with others'; taken-over subsets have theirs already."""
        file = next((file for file in done.outputs if file.name == SKETCH_FILE), None)
        if isinstance(done.result, SubsetResult) and file is not None and file.size <= 8 * SIZE:
            with storage_faults(file.key):
                sketch = b"".join(self.storage.blocks(file.key))
            self.sketches.keep(done.result.subset_digest, sketch)

    # --- the one place where states change

    def _move(self, submission: Submission, run: Run, after: RunState, actor: str, reason: str) -> None:
        before, at = run.state, now()
        run.state = after  # the model refuses what the table of transitions does not know
        if after is RunState.QUEUED:
            run.queued_at, run.worker, run.started_at, run.progress = at, None, None, None
            self.runs.add(OutboxRow(queue=run.queue, run_id=run.id, created_at=at))
        elif after in FINAL_RUN:
            run.finished_at = at
        run.due_at = self._due(run)
        self._event(submission, run, before, after, actor, reason)

    def _due(self, run: Run) -> datetime | None:
        """When the run must have left the state that it is in; None for final ones."""
        match run.state:
            case RunState.WAITING:
                seconds = self.settings.waiting_seconds
            case RunState.QUEUED:
                seconds = self.settings.queued_seconds
            case RunState.RUNNING:
                seconds = self.settings.running_seconds(run.stage)
            case _:
                return None
        return now() + timedelta(seconds=seconds)

    def _refresh(self, submission: Submission, runs: list[Run], actor: str, reason: str) -> None:
        """Derive the submission's state anew; a final one settles quota, and `scored` its scores."""
        before = submission.state
        after = derive_state(
            uploaded=submission.uploaded_at is not None,
            cancelled=submission.cancelled_at is not None,
            withdrawn=submission.withdrawn_at is not None,
            runs=[RunFact(run.stage, run.state, _blame(run)) for run in runs],
        )
        if after == before:
            return
        submission.state = after
        self._event(submission, None, before, after, actor, reason)
        if after not in FINAL:
            return
        submission.finished_at = submission.finished_at or now()
        if after == SCORED:
            self._store_scores(submission)
        if after != CANCELLED:
            self.quota.settle(submission.id, refund=False, reason=after)
        self.notices.on_final(submission)

    def _store_scores(self, submission: Submission) -> None:
        """Mean over seeds, in the transaction that makes the submission scored."""
        seeds = self.scores.seed_scores(submission.id)
        score = Score(
            submission_id=submission.id,
            board_name=submission.board_name,
            handed_in_at=submission.created_at,
            listed=not submission.rehearsal,
        )
        note_means(score, seeds, submission.board)
        self.scores.add(score)

    def _event(
        self, submission: Submission, run: Run | None, before: str | None, after: str | None, actor: str, reason: str
    ) -> None:
        self.submissions.add_event(
            submission.id,
            run_id=run.id if run else None,
            stage=run.stage if run else None,
            what="state",
            before=before,
            after=after,
            actor=actor,
            reason=reason[:2000],
        )


def _blame(run: Run) -> Blame | None:
    return Blame(run.failure["blame"]) if run.failure is not None else None


def _result_of(row: SeedScore) -> SeedResult:
    means = (row.average, row.main, row.groups, row.tasks, row.variances)
    return SeedResult(row.suite_digest, row.records_digest, *means)
