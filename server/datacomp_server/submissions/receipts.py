"""From rows to the receipt that people and programs read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from datacomp.messages import (
    EntryOverlap,
    Failure,
    Progress,
    QuotaNote,
    QuotaState,
    RunOut,
    RunState,
    ScoreOut,
    Stage,
    SubmissionOut,
    TaskScore,
)
from datacomp.suite import Suite
from datacomp_server.leaderboard.models import Score
from datacomp_server.leaderboard.spread import Spread
from datacomp_server.leaderboard.visibility import public_part, shown
from datacomp_server.runs.hours import Hours
from datacomp_server.runs.models import Run
from datacomp_server.submissions.disclosure import is_disclosed, without_samples
from datacomp_server.submissions.models import Submission
from datacomp_server.submissions.states import FINAL, UPLOADING

OWN_CODE = frozenset({Stage.VALIDATE, Stage.FILTER})
"""Stages whose log holds what the participant's own file printed: for the participant and the organisers alone."""


def run_out(run: Run, *, deadline: datetime | None, note: str, hours: Hours, private: bool, samples: bool) -> RunOut:
    """A run as the API shows it; `private` ones come without their log, and without `samples` no uid is named."""
    failure = Failure.model_validate(run.failure) if run.failure else None
    if private and failure:
        failure = failure.model_copy(update={"log_tail": ""})
    running = run.state is RunState.RUNNING
    return RunOut(
        id=run.id,
        stage=run.stage,
        seed=run.seed,
        state=run.state,
        queue=run.queue,
        attempts=run.attempt_count,
        worker=run.worker,
        queued_at=run.queued_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        deadline=deadline,
        due_at=run.due_at,
        reused_from=run.reused_from,
        progress=Progress.model_validate(run.progress) if run.progress and running else None,
        failure=failure,
        result=run.result if samples else without_samples(run.result),
        log_tail="" if private else run.log_tail,
        gpu_hours=hours.gpu,
        cpu_hours=hours.cpu,
        waiting_note=note,
    )


def score_out(whole: Score, suite: Suite, hidden: list[str], spread: Spread) -> ScoreOut:
    """A submission's scores with their intervals, tasks in the suite's order, without the hidden ones."""
    tasks = []
    score = shown(whole, hidden)
    average, main, others = spread.average(score), spread.main(score), score.variances.get("tasks")
    for task in public_part(suite, hidden).tasks:
        found = score.tasks.get(task.key, {})
        tasks.append(
            TaskScore(
                task=task.key,
                name=task.name,
                group=task.group,
                metric=task.metric.value if task.metric else None,
                value=found.get("value"),
                chance=task.chance,
                n=found.get("n", 0),
                lo=found.get("lo"),
                hi=found.get("hi"),
                details=found.get("details", {}),
            )
        )
    return ScoreOut(
        average=score.average,
        main=score.main,
        groups=score.groups,
        tasks=tasks,
        seeds=whole.seeds,
        average_lo=average.lo if average else None,
        average_hi=average.hi if average else None,
        main_lo=main.lo if main else None,
        main_hi=main.hi if main else None,
        other_tasks_lo=others[0] if others else None,
        other_tasks_hi=others[1] if others else None,
        withheld=hidden,
    )


def receipt_url(public_url: str, submission_id: str) -> str:
    """Address of the receipt page."""
    return f"{public_url}/submissions/{submission_id}"


def upload_path(submission_id: str) -> str:
    """Where a submission's file goes, on this server."""
    return f"/api/submissions/{submission_id}/content"


def submission_out(
    submission: Submission,
    runs: Sequence[Run],
    *,
    public_url: str,
    deadlines: Mapping[str, datetime],
    notes: Mapping[str, str],
    hours: Mapping[str, Hours],
    quota: QuotaNote | None,
    score: ScoreOut | None,
    overlaps: list[EntryOverlap],
    insider: bool,
) -> SubmissionOut:
    """The receipt. `deadlines`, `notes` and `hours` are by run; an `insider` is its participant or an organiser."""
    shown = [
        run_out(
            run,
            deadline=deadlines.get(run.id),
            note=notes.get(run.id, ""),
            hours=hours.get(run.id, Hours()),
            private=run.stage in OWN_CODE and not insider,
            samples=insider or is_disclosed(submission),
        )
        for run in runs
    ]
    total = sum(hours.values(), Hours())
    return SubmissionOut(
        id=submission.id,
        url=receipt_url(public_url, submission.id),
        board=submission.board_name,
        kind=submission.kind,
        method=submission.method,
        description=submission.description,
        link=submission.link,
        participant=submission.user.name,
        team=submission.team.name if submission.team else None,
        filename=submission.filename,
        digest=submission.digest,
        size=submission.size,
        rehearsal=submission.rehearsal,
        state=submission.state,
        final=submission.state in FINAL,
        created_at=submission.created_at,
        subset_size=submission.subset_size,
        subset_digest=submission.subset_digest,
        duplicate_of=submission.duplicate_of,
        quota_refunded=quota is not None and quota.state is QuotaState.REFUNDED,
        quota=quota,
        gpu_hours=total.gpu,
        cpu_hours=total.cpu,
        upload=upload_path(submission.id) if submission.state == UPLOADING else None,
        failure=next((run.failure for run in shown if run.failure), None),
        runs=shown,
        score=score,
        overlaps=overlaps,
    )
