"""Rules of published rows: how tables are imported, and which rows belong beside which board."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from datacomp.digests import digest_json
from datacomp.messages import LeaderboardRow, PublishedOut, PublishedRow, Track
from datacomp.problems import BadInput, Problem, raise_if_any
from datacomp.published.tables import DEFAULT_SUITE, TABLE_3, read_published
from datacomp_server.audit.service import Act, Actor, Audit
from datacomp_server.boards.models import Board
from datacomp_server.boards.service import BoardService
from datacomp_server.published.models import PublishedScore
from datacomp_server.published.repository import PublishedRepository
from datacomp_server.settings import Settings

PUBLISHED = "published"
"""The status of such rows on a leaderboard."""


@dataclass(frozen=True)
class Imported:
    """What an import did."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0


class PublishedService:
    """Rows of papers."""

    def __init__(self, session: Session) -> None:
        self.published = PublishedRepository(session)
        self.boards = BoardService(session)

    def import_rows(self, rows: Sequence[PublishedRow]) -> Imported:
        """Store a table's rows; those that are there already are brought up to date. `BadInput` for rows that do not
        say where they are from."""
        raise_if_any(
            [
                Problem(
                    code="source-missing",
                    message="the row does not say where it is from",
                    where=f"{row.method} at {row.scale}",
                    hint="give a column `source`, or --source 'PAPER Table N'",
                )
                for row in rows
                if not row.source
            ]
        )
        self.published.lock()
        counts = [self._store(row) for row in rows]
        return Imported(counts.count("new"), counts.count("changed"), counts.count("unchanged"))

    def load_default(self) -> Imported | None:
        """Import the table that comes with this package where there is a board that it belongs beside."""
        rows = read_published(TABLE_3)
        scales = {row.scale for row in rows}
        boards = self.boards.boards.all()
        if any(board.scale in scales and suite_name(board) == DEFAULT_SUITE for board in boards):
            return self.import_rows(rows)
        return None

    def remove(self, source: str) -> int:
        """Remove the rows of a source, or of the table that comes with this package by its name; how many there were.

        `BadInput` names the sources there are.
        """
        self.published.lock()
        wanted = {row.source for row in read_published(TABLE_3)} if source == TABLE_3 else {source}
        known = self.published.sources()
        if not wanted & known.keys():
            hint = f"sources: {'; '.join(known) or 'none'}"
            raise BadInput.of("source-unknown", f"no row is from {source!r}", where="source", hint=hint)
        self.published.remove(wanted)
        return sum(known.get(one, 0) for one in wanted)

    def beside(self, name: str) -> PublishedOut:
        """Everything that papers have of a board's scale, those of another recipe too."""
        board = self.boards.row(name)
        return PublishedOut(board=board.name, rows=[message(row) for row in self._rows(board)])

    def leaderboard_rows(self, name: str) -> list[LeaderboardRow]:
        """What papers have of a board's own recipe, as rows without a rank."""
        rows = self._rows(self.boards.row(name))
        return [_line(row) for row in rows if row.same_recipe]

    def of_suite(self, track: Track, suite: str, scales: Iterable[str]) -> list[PublishedRow]:
        """What papers have of the recipes of some scales, under a suite (a name without version)."""
        return [message(row) for row in self.published.of_suite(track, suite, scales) if row.same_recipe]

    def _rows(self, board: Board) -> list[PublishedScore]:
        return self.published.of_scale(board.track, board.scale, suite_name(board))

    def _store(self, row: PublishedRow) -> str:
        key = digest_json([row.source, row.track.value, row.suite, row.scale, row.method, row.samples_seen])
        found = self.published.get(key)
        if found is None:
            self.published.add(PublishedScore(key=key, **row.model_dump()))
            return "new"
        if message(found) == row:
            return "unchanged"
        for field, value in row.model_dump().items():
            setattr(found, field, value)
        return "changed"


def import_noted(
    session: Session, settings: Settings, rows: Sequence[PublishedRow], *, about: str, actor: Actor
) -> Imported:
    """Import a table as an organiser does: noted in the audit log, `about` names the table."""
    done = PublishedService(session).import_rows(rows)
    Audit(session, settings).note(Act.PUBLISHED_IMPORTED, actor=actor.user_id, about=about, count=len(rows))
    return done


def remove_noted(session: Session, settings: Settings, source: str, actor: Actor) -> int:
    """Remove a source's rows as an organiser does: noted in the audit log."""
    count = PublishedService(session).remove(source)
    Audit(session, settings).note(Act.PUBLISHED_REMOVED, actor=actor.user_id, about=source, count=count)
    return count


def load_table(session: Session, settings: Settings) -> None:
    """Load the table that comes with this package, unless the settings say otherwise."""
    if settings.published_table:
        PublishedService(session).load_default()


def suite_name(board: Board) -> str:
    """Name of a board's suite, without the version."""
    return board.suite.name.partition("@")[0]


def message(row: PublishedScore) -> PublishedRow:
    """A row as the API shows it."""
    return PublishedRow(**{field: getattr(row, field) for field in PublishedRow.model_fields})


def _line(row: PublishedScore) -> LeaderboardRow:
    """A row as leaderboards show it: never with a rank, a participant or a manifest."""
    source = f"{row.source}. {row.note}" if row.note else row.source
    return LeaderboardRow(
        rank=None,
        method=row.method,
        participant="",
        submission=None,
        url=None,
        subset_size=row.dataset_size,
        score=row.average,
        main=row.main,
        groups=row.groups,
        tasks=row.tasks,
        status=PUBLISHED,
        kind=None,
        source=source,
    )
