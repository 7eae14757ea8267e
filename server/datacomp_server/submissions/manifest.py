"""The manifest of a scored submission: everything that its result depends on, named by digest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datacomp import __version__
from datacomp.digests import digest_json
from datacomp.messages import CHECKPOINT_FILE, RECORDS_FILE, ByodSetting, DedupSetting, ManifestOut, Stage
from datacomp.messages.manifest import (
    MANIFEST_FORMAT,
    Manifest,
    ManifestAttempt,
    ManifestBoard,
    ManifestDigests,
    ManifestFile,
    ManifestPool,
    ManifestRun,
    ManifestScores,
    ManifestSeed,
    ManifestSubmission,
    ManifestSuite,
    ManifestUpload,
)
from datacomp.reproduction.tolerance import tolerance_of
from datacomp_server.leaderboard.models import Score, SeedScore
from datacomp_server.leaderboard.visibility import shown
from datacomp_server.runs.models import Attempt, Run
from datacomp_server.runs.reuse import scale_of
from datacomp_server.submissions.disclosure import without_kept
from datacomp_server.submissions.models import StoredFile, Submission

PER_SEED = (Stage.TRAIN, Stage.EVALUATE)


def build_manifest(
    submission: Submission,
    runs: Sequence[Run],
    files: Sequence[StoredFile],
    attempts: Mapping[str, Sequence[Attempt]],
    score: Score,
    seeds: Sequence[SeedScore],
    *,
    hidden: list[str],
) -> ManifestOut:
    """The manifest; `digest` is that of the canonical JSON of `body`. Scores of `hidden` tasks are left out.

    `attempts` are those at each run, or at the run whose outputs it took over. Without hidden tasks the manifest
    changes only when its board is scored anew; with them it gains their scores when they are revealed.
    """
    told = [_run(run, files, attempts.get(run.id, ())) for run in runs]
    manifest = Manifest(
        format=MANIFEST_FORMAT,
        platform={"datacomp": __version__},
        submission=_submission(submission),
        board=_board(submission),
        digests=_digests(submission, told, seeds),
        runs=told,
        scores=_scores(score, seeds, hidden),
    )
    body = manifest.model_dump(mode="json")
    if not hidden:
        del body["scores"]["withheld"]
    return ManifestOut(digest=digest_json(body), body=body)


def _submission(submission: Submission) -> ManifestSubmission:
    return ManifestSubmission(
        id=submission.id,
        participant=submission.user.name,
        team=submission.team.name if submission.team else None,
        method=submission.method,
        kind=submission.kind,
        rehearsal=submission.rehearsal,
        created_at=submission.created_at,
        upload=ManifestUpload(filename=submission.filename, digest=submission.digest, size=submission.size),
    )


def _board(submission: Submission) -> ManifestBoard:
    board, scale = submission.board, scale_of(submission)
    return ManifestBoard(
        name=board.name,
        track=board.track,
        scale=scale.to_json(),
        suite=ManifestSuite(name=board.suite.name, digest=board.suite_digest),
        pool=ManifestPool(name=board.pool, digest=board.pool_digest),
        dedup=DedupSetting.model_validate(board.dedup),
        byod=ByodSetting.model_validate(board.byod) if board.byod is not None else None,
        seeds=board.seeds,
        tolerance=tolerance_of(scale),
    )


def _run(run: Run, files: Sequence[StoredFile], attempts: Sequence[Attempt]) -> ManifestRun:
    return ManifestRun(
        stage=run.stage,
        seed=run.seed,
        input_digest=run.input_digest,
        reused_from=run.reused_from,
        result=without_kept(run.result),
        environment=run.environment,
        outputs={f.name: ManifestFile(digest=f.digest, size=f.size) for f in files if f.run_id == run.id},
        attempts=[_attempt(attempt) for attempt in attempts],
    )


def _attempt(attempt: Attempt) -> ManifestAttempt:
    return ManifestAttempt(
        number=attempt.number,
        worker=attempt.worker,
        state=attempt.state.value,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        device=attempt.device,
        device_count=attempt.device_count,
        seconds=attempt.seconds,
        cpu_seconds=attempt.cpu_seconds,
    )


def _digests(submission: Submission, runs: Sequence[ManifestRun], seeds: Sequence[SeedScore]) -> ManifestDigests:
    results: dict[Stage, dict[str, Any]] = {run.stage: run.result or {} for run in runs}
    subset, ruled = results.get(Stage.SUBSET, {}), results.get(Stage.FILTER, {})
    engine = next((run.environment or {} for run in runs if run.stage is Stage.FILTER), {})
    by_stage = {stage: [run for run in runs if run.stage is stage] for stage in PER_SEED}
    return ManifestDigests(
        pool=submission.board.pool_digest or subset.get("pool_digest"),
        filter=submission.digest,
        rule=ruled.get("rule"),
        engine=engine.get("datacomp"),
        subset=subset.get("subset_digest"),
        scale=scale_of(submission).digest,
        recipe=results.get(Stage.TRAIN, {}).get("recipe_digest"),
        suite=seeds[0].suite_digest if seeds else None,
        weights={str(run.seed): run.result["weights_digest"] for run in by_stage[Stage.TRAIN] if run.result},
        checkpoints=_of_output(by_stage[Stage.TRAIN], CHECKPOINT_FILE),
        records=_of_output(by_stage[Stage.EVALUATE], RECORDS_FILE),
    )


def _of_output(runs: Sequence[ManifestRun], name: str) -> dict[str, str]:
    return {str(run.seed): run.outputs[name].digest for run in runs if name in run.outputs}


def _scores(whole: Score, seeds: Sequence[SeedScore], hidden: list[str]) -> ManifestScores:
    score = shown(whole, hidden)
    return ManifestScores(
        average=score.average,
        main=score.main,
        groups=score.groups,
        tasks=score.tasks,
        seeds=[_seed(row, hidden) for row in seeds],
        withheld=hidden,
    )


def _seed(row: SeedScore, hidden: list[str]) -> ManifestSeed:
    """One seed; its means would tell of hidden tasks."""
    tasks = {key: found["value"] for key, found in row.tasks.items() if key not in hidden}
    seed = ManifestSeed(seed=row.seed, suite_digest=row.suite_digest, records_digest=row.records_digest, tasks=tasks)
    return seed if hidden else seed.model_copy(update={"average": row.average, "main": row.main})
