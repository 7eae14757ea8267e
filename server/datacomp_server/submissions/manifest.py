"""The manifest of a scored submission: everything that its result depends on, named by digest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datacomp import __version__
from datacomp.digests import digest_json
from datacomp.messages import ManifestOut
from datacomp_server.leaderboard.models import Score, SeedScore
from datacomp_server.leaderboard.visibility import shown
from datacomp_server.runs.models import Run
from datacomp_server.runs.reuse import scale_of
from datacomp_server.submissions.models import StoredFile, Submission

FORMAT = "datacomp-manifest@1"


def build_manifest(
    submission: Submission,
    runs: Sequence[Run],
    files: Sequence[StoredFile],
    score: Score,
    seeds: Sequence[SeedScore],
    *,
    hidden: list[str],
) -> ManifestOut:
    """The manifest; `digest` is that of the canonical JSON of `body`. Scores of `hidden` tasks are left out.

    Without hidden tasks the manifest never changes again; with them it gains their scores when they are revealed.
    """
    body = {
        "format": FORMAT,
        "platform": {"datacomp": __version__},
        "submission": _submission(submission),
        "board": _board(submission),
        "runs": [_run(run, [file for file in files if file.run_id == run.id]) for run in runs],
        "scores": _scores(score, seeds, hidden),
    }
    return ManifestOut(digest=digest_json(body), body=body)


def _submission(submission: Submission) -> dict[str, Any]:
    return {
        "id": submission.id,
        "participant": submission.user.name,
        "team": submission.team.name if submission.team else None,
        "method": submission.method,
        "kind": submission.kind.value,
        "rehearsal": submission.rehearsal,
        "created_at": submission.created_at.isoformat(),
        "upload": {"filename": submission.filename, "digest": submission.digest, "size": submission.size},
    }


def _board(submission: Submission) -> dict[str, Any]:
    board = submission.board
    return {
        "name": board.name,
        "track": board.track.value,
        "scale": scale_of(submission).to_json(),
        "suite": {"name": board.suite.name, "digest": board.suite_digest},
        "pool": {"name": board.pool, "digest": board.pool_digest},
        "dedup": board.dedup,
        "seeds": board.seeds,
    }


def _run(run: Run, files: Sequence[StoredFile]) -> dict[str, Any]:
    return {
        "stage": run.stage.value,
        "seed": run.seed,
        "input_digest": run.input_digest,
        "reused_from": run.reused_from,
        "result": run.result,
        "environment": run.environment,
        "outputs": {file.name: {"digest": file.digest, "size": file.size} for file in files},
    }


def _scores(whole: Score, seeds: Sequence[SeedScore], hidden: list[str]) -> dict[str, Any]:
    score = shown(whole, hidden)
    body: dict[str, Any] = {
        "average": score.average,
        "main": score.main,
        "groups": score.groups,
        "tasks": score.tasks,
        "seeds": [_seed(row, means=not hidden) for row in seeds],
    }
    return {**body, "withheld": hidden} if hidden else body


def _seed(row: SeedScore, *, means: bool) -> dict[str, Any]:
    """One seed; its means would tell of hidden tasks."""
    named = {"seed": row.seed, "suite_digest": row.suite_digest, "records_digest": row.records_digest}
    return {**named, "average": row.average, "main": row.main} if means else named
