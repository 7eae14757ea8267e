"""Private tasks: what of a score is shown before its board reveals them.

A board with private tasks ranks by the others while it is open, so that nobody can tune an entry to tasks whose scores
it never saw; at the revealing time every task counts and the ranks may change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datacomp.scoring import aggregate
from datacomp.suite import Suite
from datacomp_server.boards.models import Board
from datacomp_server.boards.service import BoardService, is_revealed
from datacomp_server.leaderboard.models import Score, standing_of


@dataclass(frozen=True)
class ShownScore:
    """A score as somebody may see it. `tasks`: `{"value": float | None, "n": int}` by key, without `withheld`."""

    average: float | None
    main: float | None
    groups: dict[str, float]
    tasks: dict[str, dict[str, Any]]


def withheld(board: Board) -> list[str]:
    """Keys of the tasks that are not shown now."""
    return [] if is_revealed(board) else board.private_tasks


def shown(score: Score, hidden: list[str], *, tasks: bool = True) -> ShownScore:
    """A score without the hidden tasks, which the means then leave out as well; without any task where none is asked
    for, because they are much the largest part to load."""
    kept = {key: found for key, found in score.tasks.items() if key not in hidden} if tasks else {}
    if not hidden:
        return ShownScore(score.average, score.main, score.groups, kept)
    return ShownScore(score.public_average, score.public_main, score.public_groups, kept)


def note_public_means(score: Score, board: Board) -> None:
    """Set the means over the tasks that are not private, from the score's own tasks, and both standings."""
    if board.private_tasks:
        suite = public_part(BoardService.suite_of(board), board.private_tasks)
        means = aggregate(_values(score.tasks), suite)
        score.public_average, score.public_main, score.public_groups = means.average, means.main, means.groups
    else:
        score.public_average, score.public_main, score.public_groups = score.average, score.main, score.groups
    score.standing, score.public_standing = standing_of(score.average), standing_of(score.public_average)


def public_part(suite: Suite, private: list[str]) -> Suite:
    """The suite without its private tasks."""
    return suite.model_copy(update={"tasks": tuple(task for task in suite.tasks if task.key not in private)})


def _values(tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    return {key: found["value"] for key, found in tasks.items() if found.get("value") is not None}
