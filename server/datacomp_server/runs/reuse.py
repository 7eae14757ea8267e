"""Finished work by digest: what a run's result depends on, and the outputs of an earlier run with the same inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datacomp import __version__
from datacomp.digests import digest_json
from datacomp.messages import DATASET_FILE, SUBSET_FILE, Stage, SubmissionKind, SubsetResult, TrainResult
from datacomp.scales import Scale, get_scale, rehearsal_of
from datacomp_server.boards.models import Board
from datacomp_server.runs.models import Run
from datacomp_server.submissions.models import StoredFile, Submission


@dataclass(frozen=True)
class Inheritance:
    """What a run is given by the runs before it: promoted files by name (the latest counts) and typed results."""

    files: dict[str, StoredFile]
    facts: dict[Stage, dict[str, Any]]


def ancestors(run: Run, runs: Sequence[Run]) -> list[Run]:
    """The runs that a run builds on, first to last."""
    by_id = {other.id: other for other in runs}
    chain = []
    above = run.after_id
    while above is not None:
        chain.append(by_id[above])
        above = by_id[above].after_id
    return chain[::-1]


def inherit(chain: Sequence[Run], files: Sequence[StoredFile]) -> Inheritance:
    """What a chain of runs leaves behind."""
    latest: dict[str, StoredFile] = {}
    for run in chain:
        latest.update({file.name: file for file in files if file.run_id == run.id})
    return Inheritance(latest, {run.stage: run.result for run in chain if run.result is not None})


def scale_of(submission: Submission) -> Scale:
    """The scale that a submission is trained at: its board's, or the rehearsal of it."""
    scale = get_scale(submission.board.scale)
    return rehearsal_of(scale) if submission.rehearsal else scale


def input_digest(run: Run, submission: Submission, inherited: Inheritance, removed: Sequence[str] = ()) -> str:
    """Digest of everything that the run's result depends on. `removed`: uids that the pool's organisers removed."""
    board = submission.board
    parts: dict[str, Any] = {
        "stage": run.stage,
        "code": __version__,
        "pool": [board.pool, board.pool_digest],
        "rehearsal": submission.rehearsal,
    }
    if submission.kind is SubmissionKind.DATASET:  # samples are not those of the board's pool
        fetched = inherited.facts.get(Stage.FETCH, {})
        parts["dataset"] = fetched.get("dataset_digest")
    match run.stage:
        case Stage.VALIDATE | Stage.FILTER:
            parts |= {"kind": submission.kind, "upload": submission.digest}
        case Stage.FETCH:  # the web answers anew every time
            parts |= {"upload": submission.digest, "submission": submission.id}
        case Stage.DECONTAMINATE:
            files = {name: inherited.files[name].digest for name in (SUBSET_FILE, DATASET_FILE)}
            parts |= {**files, "byod": board.byod, **_suite(board)}
        case Stage.DEDUP:
            parts |= {"subset": inherited.files[SUBSET_FILE].digest, "dedup": board.dedup}
        case Stage.SUBSET:
            parts |= {"subset": inherited.files[SUBSET_FILE].digest} | ({"removed": list(removed)} if removed else {})
        case Stage.TRAIN:
            subset = SubsetResult.model_validate(inherited.facts[Stage.SUBSET])
            parts |= {"subset": subset.subset_digest, "scale": scale_of(submission).digest, "seed": run.seed}
        case Stage.EVALUATE:
            train = TrainResult.model_validate(inherited.facts[Stage.TRAIN])
            parts |= {"weights": train.weights_digest, **_suite(board), "seed": run.seed}
    return digest_json(parts)


def _suite(board: Board) -> dict[str, str]:
    return {"suite": board.suite_digest, "suite_name": board.suite.name, "scale": board.scale}
