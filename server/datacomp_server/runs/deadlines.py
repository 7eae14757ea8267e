"""Why a run that overran its deadline ends there."""

from __future__ import annotations

from datacomp.messages import Blame, Failure, RunState
from datacomp.problems import Problem
from datacomp_server.runs.models import Run
from datacomp_server.settings import DAY, Settings


def deadline_failure(run: Run, settings: Settings) -> Failure:
    """Why a run that overran its deadline ends there: never its participant's fault."""
    if run.state is RunState.QUEUED:
        days = settings.queued_seconds / DAY
        problem = Problem(
            code="queue-deadline",
            message=f"no worker took up this run within {days:.3g} days",
            where=f"queue {run.queue}",
            hint=f"start a worker for it: datacomp worker --queues {run.queue}; then submit again",
        )
    else:
        hours = settings.running_seconds(run.stage) / 3600
        problem = Problem(
            code="stage-deadline",
            message=f"{run.stage} on {run.worker} took longer than {hours:.3g} hours",
            where=run.id,
            hint=f"look at that worker's log; more time: DATACOMP_{run.stage.upper()}_SECONDS",
        )
    return Failure(blame=Blame.PLATFORM, problems=[problem])
