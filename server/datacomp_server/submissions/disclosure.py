"""What of an entry everybody may have, by its board's rule: its code, its uids, and so which samples it kept."""

from __future__ import annotations

from typing import Any

from datacomp.messages import Disclosure
from datacomp_server.boards.service import is_closed
from datacomp_server.submissions.models import Submission
from datacomp_server.submissions.states import SCORED


def is_disclosed(submission: Submission) -> bool:
    """Whether everybody may have its code and uids."""
    board = submission.board
    if submission.state != SCORED or submission.rehearsal:
        return False
    return board.disclosure is Disclosure.SCORED or (board.disclosure is Disclosure.CLOSING and is_closed(board))


def without_samples(result: dict[str, Any] | None) -> dict[str, Any] | None:
    """The result of a stage without the uids that it names as examples of what was kept and dropped."""
    if not result or not _tells_samples(result):
        return result
    return {**result, "kept": {**result["kept"], "kept_uids": [], "dropped_uids": []}}


def without_kept(result: dict[str, Any] | None) -> dict[str, Any] | None:
    """The result without what it tells of the samples that were kept: nothing else depends on that."""
    if not result or not _tells_samples(result):
        return result
    return {name: value for name, value in result.items() if name != "kept"}


def _tells_samples(result: dict[str, Any]) -> bool:
    """Whether it is a subset's, whose `kept` describes samples: decontamination counts by that name."""
    return isinstance(result.get("kept"), dict)
