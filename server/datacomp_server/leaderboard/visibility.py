"""Private tasks: what of a score is shown before its board reveals them.

A board with private tasks ranks by the others while it is open, so that nobody can tune an entry to tasks whose scores
it never saw; at the revealing time every task counts and the ranks may change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datacomp.scoring import aggregate
from datacomp.statistics.errors import suite_variances
from datacomp.statistics.intervals import task_bootstrap
from datacomp.suite import Suite
from datacomp_server.boards.models import Board
from datacomp_server.boards.service import BoardService, is_revealed
from datacomp_server.leaderboard.columns import pack
from datacomp_server.leaderboard.models import Score, SeedScore, standing_of
from datacomp_server.leaderboard.scoring import mean_groups, mean_or_none, mean_tasks


@dataclass(frozen=True)
class ShownScore:
    """A score as somebody may see it. `tasks`: `{"value": float | None, "n": int}` by key, without `withheld`."""

    average: float | None
    main: float | None
    groups: dict[str, float]
    tasks: dict[str, dict[str, Any]]
    variances: dict[str, Any]
    """As `Score.variances`; empty where they were never computed."""
    seeds: int


def withheld(board: Board) -> list[str]:
    """Keys of the tasks that are not shown now."""
    return [] if is_revealed(board) else board.private_tasks


def shown(score: Score, hidden: list[str], *, tasks: bool = True) -> ShownScore:
    """A score without the hidden tasks, which the means then leave out as well; without any task where none is asked
    for, because they are much the largest part to load."""
    kept = {key: found for key, found in score.tasks.items() if key not in hidden} if tasks else {}
    if not hidden:
        return ShownScore(score.average, score.main, score.groups, kept, score.variances or {}, score.seeds)
    variances = score.public_variances or {}
    return ShownScore(score.public_average, score.public_main, score.public_groups, kept, variances, score.seeds)


def note_means(score: Score, seeds: Sequence[SeedScore], board: Board) -> None:
    """Set everything that follows from the scores of a submission's seeds."""
    score.average = mean_or_none([seed.average for seed in seeds])
    score.main = mean_or_none([seed.main for seed in seeds])
    score.groups = mean_groups([seed.groups for seed in seeds])
    score.tasks = mean_tasks([seed.tasks for seed in seeds], BoardService.suite_of(board))
    score.seeds = len(seeds)
    note_public_means(score, board)


def note_public_means(score: Score, board: Board) -> None:
    """Set what follows from a score's own tasks and means: the tasks' values alone, the means over those that are not
    private, sampling variances, and both standings."""
    suite = BoardService.suite_of(board)
    score.task_values = pack(score.tasks)
    score.variances = _variances(score.tasks, suite)
    if board.private_tasks:
        part = public_part(suite, board.private_tasks)
        means = aggregate(_values(score.tasks), part)
        score.public_average, score.public_main, score.public_groups = means.average, means.main, means.groups
        score.public_variances = _variances(score.tasks, part)
    else:
        score.public_average, score.public_main, score.public_groups = score.average, score.main, score.groups
        score.public_variances = score.variances
    score.sampling_variance = score.variances["average"]
    score.public_sampling_variance = score.public_variances["average"]
    score.standing, score.public_standing = standing_of(score.average), standing_of(score.public_average)


def _variances(tasks: Mapping[str, Mapping[str, Any]], suite: Suite) -> dict[str, Any]:
    """Sampling variances of a suite's means, and between which bounds the average lies if its tasks are drawn anew."""
    known = {key: found["variance"] for key, found in tasks.items() if found.get("variance") is not None}
    values, bounds = _values(tasks), None
    if suite.counted and all(task.key in values for task in suite.counted):
        drawn = task_bootstrap([values[task.key] for task in suite.counted])
        bounds = [drawn.lo, drawn.hi]
    return {**suite_variances(known, suite).to_json(), "tasks": bounds}


def public_part(suite: Suite, private: list[str]) -> Suite:
    """The suite without its private tasks."""
    return suite.model_copy(update={"tasks": tuple(task for task in suite.tasks if task.key not in private)})


def _values(tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    return {key: found["value"] for key, found in tasks.items() if found.get("value") is not None}
