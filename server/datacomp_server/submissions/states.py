"""A submission's state as a pure function of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datacomp.messages import Blame, RunState, Stage

UPLOADING, SCORED, REJECTED, FAILED, CANCELLED, WITHDRAWN = (
    "uploading", "scored", "rejected", "failed", "cancelled", "withdrawn",
)  # fmt: skip
FINAL = frozenset({SCORED, REJECTED, FAILED, CANCELLED, WITHDRAWN})

DOING = {
    Stage.VALIDATE: "validating",
    Stage.FETCH: "fetching",
    Stage.DECONTAMINATE: "decontaminating",
    Stage.FILTER: "filtering",
    Stage.DEDUP: "deduplicating",
    Stage.SUBSET: "subsetting",
    Stage.TRAIN: "training",
    Stage.EVALUATE: "evaluating",
}


@dataclass(frozen=True)
class RunFact:
    """What the state depends on of one run."""

    stage: Stage
    state: RunState
    blame: Blame | None = None
    """Whose fault it was, of a failed run."""


JUDGING = frozenset({Stage.VALIDATE, Stage.FETCH, Stage.DECONTAMINATE})
"""Stages that may find a submission unfit: then it is rejected, not failed."""


def derive_state(*, uploaded: bool, cancelled: bool, withdrawn: bool, runs: Sequence[RunFact]) -> str:
    """The submission's state: a failure outweighs everything, then the earliest unfinished stage names it."""
    failed = next((run for run in runs if run.state is RunState.FAILED), None)
    if withdrawn:
        return WITHDRAWN
    if failed is not None:
        return REJECTED if failed.stage in JUDGING and failed.blame is Blame.PARTICIPANT else FAILED
    if cancelled:
        return CANCELLED
    if not uploaded or not runs:
        return UPLOADING
    for stage in Stage:
        of_stage = [run for run in runs if run.stage is stage]
        done = sum(run.state is RunState.DONE for run in of_stage)
        if done < len(of_stage):
            return f"{DOING[stage]} {done + 1} of {len(of_stage)}" if len(of_stage) > 1 else DOING[stage]
    return SCORED
