"""The manifest of a scored submission: everything that its result depends on, named by digest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datacomp import __version__
from datacomp.digests import digest_json
from datacomp.messages import ManifestOut
from datacomp_server.leaderboard.models import Score, SeedScore
from datacomp_server.runs.models import Run
from datacomp_server.runs.reuse import scale_of
from datacomp_server.submissions.models import StoredFile, Submission

FORMAT = "datacomp-manifest@1"


def build_manifest(
    submission: Submission, runs: Sequence[Run], files: Sequence[StoredFile], score: Score, seeds: Sequence[SeedScore]
) -> ManifestOut:
    """The manifest; `digest` is that of the canonical JSON of `body`."""
    body = {
        "format": FORMAT,
        "platform": {"datacomp": __version__},
        "submission": _submission(submission),
        "board": _board(submission),
        "runs": [_run(run, [file for file in files if file.run_id == run.id]) for run in runs],
        "scores": _scores(score, seeds),
    }
    return ManifestOut(digest=digest_json(body), body=body)


def _submission(submission: Submission) -> dict[str, Any]:
    return {
        "id": submission.id,
        "participant": submission.user.name,
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


def _scores(score: Score, seeds: Sequence[SeedScore]) -> dict[str, Any]:
    return {
        "average": score.average,
        "main": score.main,
        "groups": score.groups,
        "tasks": score.tasks,
        "seeds": [
            {
                "seed": row.seed,
                "suite_digest": row.suite_digest,
                "records_digest": row.records_digest,
                "average": row.average,
                "main": row.main,
            }
            for row in seeds
        ],
    }
