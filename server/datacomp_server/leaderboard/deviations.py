"""How far seeds of one submission lie apart on a board: measured from what was replicated, and set by organisers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from datacomp.problems import BadInput
from datacomp.statistics.errors import pooled_deviation
from datacomp_server.audit.service import Act, Actor, Audit
from datacomp_server.boards.deviation import MEASURED, SeedDeviation
from datacomp_server.boards.models import Board
from datacomp_server.leaderboard.models import SeedScore
from datacomp_server.leaderboard.repository import ScoreRepository
from datacomp_server.settings import Settings
from datacomp_server.submissions.models import Submission

FEW = 10
"""With fewer degrees of freedom a deviation is known to within a quarter at best, which is said."""


def set_deviation(session: Session, settings: Settings, board: Board, found: SeedDeviation, actor: Actor) -> None:
    """Let a board's rank ranges reckon with it from now on."""
    board.seed_deviation = found.to_json()
    ScoreRepository(session).note_change(board.name)
    Audit(session, settings).note(Act.SEED_DEVIATION, actor=actor.user_id, about=board.name, **found.to_json())


def measured(seeds: Sequence[Sequence[SeedScore]], before: SeedDeviation) -> SeedDeviation:
    """Pooled within subsets, each given by its seeds; `BadInput` where nothing was replicated.

    The headline task keeps its deviation where its scores are missing.
    """
    average = pooled_deviation([_figures(one.average for one in group) for group in seeds])
    if average is None or average.value == 0.0:
        raise BadInput.of(
            "seeds-not-replicated",
            "no subset of this board's scale and suite was trained with several seeds",
            where="seeds",
            hint='let a board of the scale have several seeds ("seeds = 3") and hand in the baselines there',
        )
    main = pooled_deviation([_figures(one.main for one in group) for group in seeds])
    names = {name for group in seeds for one in group for name in one.groups}
    groups = {
        name: pooled_deviation([_figures(one.groups.get(name) for one in group) for group in seeds])
        for name in sorted(names)
    }
    return SeedDeviation(
        average=average.value,
        main=main.value if main is not None and main.value > 0 else before.main,
        groups={name: found.value for name, found in groups.items() if found is not None and found.value > 0},
        source=MEASURED,
        freedom=average.freedom,
    )


def replicates(session: Session, board: Board) -> list[list[SeedScore]]:
    """Scores by seed of every subset that was evaluated on this board's scale under its suite, on whatever board.

    Of equal subsets with equal seeds one counts: its result is the other's.
    """
    query = select(Submission.subset_digest, SeedScore).join(Submission, Submission.id == SeedScore.submission_id)
    query = query.join(Board, Board.name == Submission.board_name).where(
        Board.scale == board.scale,
        Board.track == board.track,
        SeedScore.suite_digest == board.suite_digest,
        Submission.subset_digest.is_not(None),
    )
    found: dict[str, dict[int, SeedScore]] = {}
    for digest, score in session.execute(query.order_by(Submission.created_at, SeedScore.run_id)):
        found.setdefault(digest or "", {}).setdefault(score.seed, score)
    return [list(seeds.values()) for seeds in found.values() if len(seeds) > 1]


def _figures(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
