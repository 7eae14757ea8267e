"""A board's stored records scored again, under its suite or another version of it.

First everything is scored and compared, and nothing is written: what cannot be scored is told with its run, all at
once. Then the differences are applied, one transaction a submission, with a line in its history and in the audit log.
An application that breaks off is gone on with by the same command: what has the new scores is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from datacomp.digests import digest_json
from datacomp.messages import RECORDS_FILE
from datacomp.problems import BadInput, PlatformFault, Problem, raise_if_any
from datacomp.suite import Suite, rehearsal_of
from datacomp_server.audit.service import Act, Actor, Audit
from datacomp_server.boards.models import Board, StoredSuite
from datacomp_server.boards.repository import BoardRepository
from datacomp_server.boards.service import BoardService
from datacomp_server.database import Database
from datacomp_server.errors import Conflict
from datacomp_server.leaderboard.models import Score, SeedScore
from datacomp_server.leaderboard.repository import ScoreRepository
from datacomp_server.leaderboard.scoring import SeedResult, mean_or_none, score_stored_records
from datacomp_server.leaderboard.visibility import note_means
from datacomp_server.settings import Settings
from datacomp_server.storage import Storage
from datacomp_server.submissions.models import StoredFile, Submission
from datacomp_server.submissions.repository import SubmissionRepository

Report = Callable[[str, float, float], None]
BATCH = 200
"""Submissions whose files are asked for at once."""
ScoreRecords = Callable[[Storage, str, str, Suite], SeedResult]
"""As `score_stored_records`."""


@dataclass(frozen=True)
class Means:
    """A submission's figures and its place among the listed entries of the board."""

    average: float | None
    main: float | None
    rank: int | None
    """None for what is not listed or has no average."""


@dataclass(frozen=True)
class Change:
    """One submission before and after."""

    submission: str
    method: str
    participant: str
    before: Means
    after: Means
    stored: Mapping[str, str]
    """Digest of the records that were scored, by run."""
    seeds: Mapping[str, SeedResult]
    """New scores by run."""
    fresh: bool
    """Whether anything is other than what is stored."""

    @property
    def rank_changes(self) -> bool:
        """Whether it comes to another place."""
        return self.before.rank != self.after.rank


@dataclass(frozen=True)
class Plan:
    """What scoring a board again would change."""

    board: str
    suite: Suite
    suite_before: str
    changes: tuple[Change, ...]

    @property
    def differing(self) -> tuple[Change, ...]:
        """The submissions whose stored scores would change."""
        return tuple(change for change in self.changes if change.fresh)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to apply."""
        return not self.differing and self.suite.id == self.suite_before

    @property
    def moved(self) -> tuple[Change, ...]:
        """The submissions whose figures or places would change."""
        return tuple(change for change in self.changes if change.fresh or change.rank_changes)

    @property
    def digest(self) -> str:
        """Of all that it would do, and of what it starts from: equal plans change the same."""
        changes = [asdict(change) for change in self.changes]
        return digest_json([self.board, self.suite.digest, self.suite_before, changes])


@dataclass(frozen=True)
class _Found:
    """A submission with the stored evaluations of its seeds."""

    submission: Submission
    score: Score | None
    seeds: list[SeedScore]
    files: dict[str, StoredFile]
    """Records by run."""


def plan_rescoring(
    database: Database,
    storage: Storage,
    board: str,
    suite: Suite | None,
    report: Report,
    score: ScoreRecords = score_stored_records,
) -> Plan:
    """Score all records of a board under a suite, its own by default. `BadInput` names the runs whose records are gone,
    or do not fit the suite; `NotFound` for an unknown board. What `report` and `score` raise ends it."""
    with database.read() as session:
        row = BoardService(session).row(board)
        before = BoardService.suite_of(row)
        found = _found(session, board)
        session.expunge_all()
    wanted = suite or before
    raise_if_any([_gone(one, seed) for one in found for seed in one.seeds if seed.run_id not in one.files])
    scored: list[dict[str, SeedResult]] = []
    problems: list[Problem] = []
    for place, one in enumerate(found):
        report("scoring", place, len(found))
        scored.append(_score(one, wanted, storage, score, problems))
    raise_if_any(problems)
    return Plan(board, wanted, before.id, _changes(found, scored))


def _found(session: Session, board: str) -> list[_Found]:
    query = (
        select(SeedScore, Submission, Score)
        .join(Submission, Submission.id == SeedScore.submission_id)
        .outerjoin(Score, Score.submission_id == Submission.id)
        .where(Submission.board_name == board)
        .order_by(Submission.created_at, Submission.id, SeedScore.seed)
    )
    by_submission: dict[str, _Found] = {}
    for seed, submission, score in session.execute(query):
        by_submission.setdefault(submission.id, _Found(submission, score, [], {})).seeds.append(seed)
    found = list(by_submission.values())
    for some in (found[place : place + BATCH] for place in range(0, len(found), BATCH)):
        of_run = {seed.run_id: one for one in some for seed in one.seeds}
        for file in SubmissionRepository(session).promoted(list(of_run)):
            if file.run_id is not None and file.name == RECORDS_FILE and file.deleted_at is None:
                of_run[file.run_id].files[file.run_id] = file
    return found


def _gone(one: _Found, seed: SeedScore) -> Problem:
    return Problem(
        code="records-missing",
        message=f"the records of seed {seed.seed} are not stored any more",
        where=f"submission {one.submission.id}, run {seed.run_id}",
        hint="bring them back from a backup; scores cannot be computed without them",
    )


def _score(
    one: _Found, suite: Suite, storage: Storage, score: ScoreRecords, problems: list[Problem]
) -> dict[str, SeedResult]:
    under = rehearsal_of(suite) if one.submission.rehearsal else suite
    results = {}
    for seed in one.seeds:
        file = one.files[seed.run_id]
        try:
            results[seed.run_id] = score(storage, file.key, file.digest, under)
        except (BadInput, PlatformFault) as error:
            if error.problems[0].code == "storage-missing":
                problems.append(_gone(one, seed))
                continue
            where = f"submission {one.submission.id}, run {seed.run_id}"
            problems += [problem.at(f"{where}: {problem.where}") for problem in error.problems]
    return results


def _changes(found: Sequence[_Found], scored: Sequence[Mapping[str, SeedResult]]) -> tuple[Change, ...]:
    after = [_average(results) for results in scored]
    ranks_before = _ranks([(one, one.score.average if one.score else None) for one in found])
    ranks_after = _ranks(list(zip(found, after, strict=True)))
    return tuple(
        Change(
            submission=one.submission.id,
            method=one.submission.method,
            participant=one.submission.user.name,
            before=Means(
                one.score.average if one.score else None,
                one.score.main if one.score else None,
                ranks_before.get(one.submission.id),
            ),
            after=Means(
                average,
                mean_or_none([result.main for result in results.values()]),
                ranks_after.get(one.submission.id),
            ),
            stored={run: file.digest for run, file in one.files.items()},
            seeds=results,
            fresh=any(_differs(seed, results[seed.run_id]) for seed in one.seeds),
        )
        for one, results, average in zip(found, scored, after, strict=True)
    )


def _average(results: Mapping[str, SeedResult]) -> float | None:
    return mean_or_none([result.average for result in results.values()])


def _ranks(entries: Sequence[tuple[_Found, float | None]]) -> dict[str, int]:
    """Places of the listed entries that have an average; ties go to the one that was handed in earlier."""
    ranked = sorted(
        (-average, one.submission.created_at, one.submission.id)
        for one, average in entries
        if one.score is not None and one.score.listed and average is not None
    )
    return {submission: place for place, (_, _, submission) in enumerate(ranked, start=1)}


def _differs(seed: SeedScore, result: SeedResult) -> bool:
    return any(getattr(seed, name) != value for name, value in _columns(result).items())


def _columns(result: SeedResult) -> dict[str, Any]:
    return {field.name: getattr(result, field.name) for field in fields(result)}


def apply_rescoring(database: Database, settings: Settings, plan: Plan, *, actor: Actor, report: Report) -> int:
    """Write what differs; returns how many submissions changed. `Conflict` when records changed since the plan."""
    with database.write() as session:
        board = BoardService(session).row(plan.board)
        _require_current(session, board, plan)
        _set_suite(session, board, plan.suite)
        count = len(plan.differing)
        audit = Audit(session, settings)
        audit.note(Act.BOARD_RESCORED, actor=actor.user_id, about=plan.board, suite=plan.suite.id, count=count)
    for place, change in enumerate(plan.differing):
        report("applying", place, len(plan.differing))
        with database.write() as session:
            _apply(session, settings, plan, change, actor)
    return len(plan.differing)


def _require_current(session: Session, board: Board, plan: Plan) -> None:
    """`Conflict` before anything is written when evaluations came or changed, or the board's suite did."""
    query = select(SeedScore.run_id, SeedScore.records_digest)
    query = query.join(Submission, Submission.id == SeedScore.submission_id).where(Submission.board_name == board.name)
    present = {row.run_id: row.records_digest for row in session.execute(query)}
    planned = {run: digest for change in plan.changes for run, digest in change.stored.items()}
    if present != planned or board.suite.name != plan.suite_before:
        raise _stale(board.name)


def _stale(where: str) -> Conflict:
    hint = "look at the differences again, then apply them"
    return Conflict.of("rescore-stale", "its evaluations changed meanwhile", where=where, hint=hint)


def _set_suite(session: Session, board: Board, suite: Suite) -> None:
    boards = BoardRepository(session)
    if boards.suite(suite.digest) is None:
        boards.add(StoredSuite(digest=suite.digest, name=suite.id, body=suite.model_dump(mode="json")))
    board.suite_digest = suite.digest
    boards.note_ranks(board.name)


def _apply(session: Session, settings: Settings, plan: Plan, change: Change, actor: Actor) -> None:
    submissions, scores = SubmissionRepository(session), ScoreRepository(session)
    submission = submissions.lock(change.submission)
    seeds = scores.seed_scores(change.submission)
    if submission is None or {seed.run_id: seed.records_digest for seed in seeds} != dict(change.stored):
        raise _stale(change.submission)
    for seed in seeds:
        for name, value in _columns(change.seeds[seed.run_id]).items():
            setattr(seed, name, value)
    score = scores.score(change.submission)
    if score is not None:
        note_means(score, seeds, submission.board)
        scores.note_change(submission.board_name)
    told = (
        f"scored again under {plan.suite.id}: average {_told(change.before.average)} -> {_told(change.after.average)}"
    )
    submissions.add_event(
        change.submission,
        run_id=None,
        stage=None,
        what="state",
        before=submission.state,
        after=submission.state,
        actor=actor.name,
        reason=told,
    )
    averages = {"before": change.before.average, "after": change.after.average}
    Audit(session, settings).note(
        Act.SUBMISSION_RESCORED,
        actor=actor.user_id,
        subject=submission.user_id,
        about=change.submission,
        suite=plan.suite.id,
        **averages,
    )


def _told(value: float | None) -> str:
    return "none" if value is None else f"{value:.5f}"
