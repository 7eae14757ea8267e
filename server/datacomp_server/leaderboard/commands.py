"""`datacomp admin seed-deviation`: how far seeds of one submission lie apart on a board."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Annotated

import typer
from sqlalchemy import select
from sqlalchemy.orm import Session

from datacomp.console import console
from datacomp.problems import BadInput
from datacomp.statistics.errors import pooled_deviation
from datacomp_server.audit.service import Act, Audit
from datacomp_server.boards.deviation import GIVEN, MEASURED, SeedDeviation
from datacomp_server.boards.models import Board
from datacomp_server.boards.service import BoardService
from datacomp_server.database import Database
from datacomp_server.leaderboard.models import SeedScore
from datacomp_server.leaderboard.repository import ScoreRepository
from datacomp_server.settings import Settings, load_settings
from datacomp_server.submissions.models import Submission

OpenDatabase = Callable[[Settings], AbstractContextManager[Database]]
FEW = 10
"""With fewer degrees of freedom a deviation is known to within a quarter at best, which is said."""


def add_rank_commands(admin: typer.Typer, open_database: OpenDatabase) -> None:
    """Add what organisers do about ranks to their commands."""

    @admin.command("seed-deviation")
    def seed_deviation(
        board: Annotated[str, typer.Argument(help="Name of the board.")],
        measure: Annotated[
            bool, typer.Option("--measure", help="Measure it from subsets that were trained with several seeds.")
        ] = False,
        given: Annotated[
            str | None, typer.Option("--set", help="Set it, for instance average=0.004,main=0.003.")
        ] = None,
        default: Annotated[bool, typer.Option("--default", help="Go back to the defaults.")] = False,
    ) -> None:
        """Show, measure or set the deviation between seeds that a board's rank ranges reckon with."""
        if sum((measure, given is not None, default)) > 1:
            raise typer.BadParameter("give one of --measure, --set and --default")
        settings = load_settings()
        changes = measure or default or given is not None
        with open_database(settings) as database, database.write() as session:
            row = BoardService(session).row(board)
            found = SeedDeviation.of(row)
            if measure:
                found = measured(replicates(session, row), found)
            elif given is not None or default:
                found = _given(given, found) if given is not None else SeedDeviation()
            if changes:
                row.seed_deviation = found.to_json()
                ScoreRepository(session).note_change(board)
                Audit(session, settings).note(Act.SEED_DEVIATION, actor=None, about=board, **found.to_json())
        _tell(board, found)


def measured(seeds: Sequence[Sequence[SeedScore]], before: SeedDeviation) -> SeedDeviation:
    """Pooled within subsets, each given by its seeds; `BadInput` where nothing was replicated.

    The headline task keeps its deviation where its scores are missing.
    """
    average = pooled_deviation([_figures(one.average for one in group) for group in seeds])
    if average is None or average.value == 0.0:
        raise BadInput.of(
            "seeds-not-replicated",
            "no subset of this board's scale and suite was trained with several seeds",
            where="--measure",
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


def _given(text: str, before: SeedDeviation) -> SeedDeviation:
    """`average=0.004,main=0.003`, either of which may be left out."""
    named = {"average": before.average, "main": before.main}
    for part in text.split(","):
        name, _, value = part.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if name.strip() not in named or not 0 < number < 1:
            raise typer.BadParameter(f"{part!r}: write average=0.004,main=0.003, each between 0 and 1")
        named[name.strip()] = number
    return SeedDeviation(named["average"], named["main"], source=GIVEN)


def _tell(board: str, found: SeedDeviation) -> None:
    freedom = f", {found.freedom} degrees of freedom" if found.freedom is not None else ""
    console.print(f"{board}: average {found.average:.4f}, main {found.main:.4f} ({found.source}{freedom})")
    for group, value in found.groups.items():
        console.print(f"  {group}: {value:.4f}")
    if found.freedom is not None and found.freedom < FEW:
        console.print("few degrees of freedom: more replicated baselines would tell it better")
