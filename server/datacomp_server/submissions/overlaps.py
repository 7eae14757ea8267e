"""How much of its subset an entry has in common with others of its board, from sketches in the database."""

from __future__ import annotations

import threading
from collections import OrderedDict

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from datacomp.messages import EntryOverlap
from datacomp.sketches import Overlap, Sketch, overlap_of
from datacomp_server.boards.models import Board
from datacomp_server.database import is_postgresql
from datacomp_server.leaderboard.models import Score
from datacomp_server.leaderboard.order import Means
from datacomp_server.leaderboard.visibility import withheld
from datacomp_server.submissions.models import Submission, SubsetSketch
from datacomp_server.submissions.receipts import receipt_url

MOST = 500
"""Entries of a board, the best ones, that one is compared with."""
BEST = 3
"""Of them, how many receipts name in any case; the most similar one comes to it."""
KEPT = 20_000
"""Overlaps that a process remembers: a pair of digests and two numbers each."""


class SketchRepository:
    """Sketches by their subset's digest."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def keep(self, subset_digest: str, sketch: bytes) -> None:
        """Store a sketch; the same subset has the same one."""
        insert = postgresql.insert if is_postgresql(self.session) else sqlite.insert
        values = {"subset_digest": subset_digest, "sketch": sketch}
        self.session.execute(insert(SubsetSketch).values(values).on_conflict_do_nothing())

    def best_subsets(self, board: Board, means: Means, limit: int) -> list[tuple[str, str | None]]:
        """Ids and subsets of a board's entries, best first."""
        query = select(Score.submission_id, Submission.subset_digest)
        query = query.join(Submission, Submission.id == Score.submission_id)
        query = query.where(Score.board_name == board.name, Score.listed.is_(True))
        query = query.order_by(means.standing.asc(), Score.handed_in_at.asc(), Score.submission_id.asc())
        return [row._tuple() for row in self.session.execute(query.limit(limit))]

    def sketches(self, digests: set[str]) -> dict[str, bytes]:
        """Those that are there."""
        query = select(SubsetSketch.subset_digest, SubsetSketch.sketch)
        rows = self.session.execute(query.where(SubsetSketch.subset_digest.in_(digests)))
        return dict(rows.tuples().all())

    def submissions(self, ids: list[str]) -> dict[str, Submission]:
        """By id."""
        return {row.id: row for row in self.session.scalars(select(Submission).where(Submission.id.in_(ids)))}


class _Remembered:
    """Overlaps by the digests of both subsets, the oldest of which leave."""

    def __init__(self) -> None:
        self._pairs: OrderedDict[tuple[str, str], Overlap] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, mine: str, others: set[str]) -> dict[str, Overlap]:
        """What is known, by the other's digest."""
        with self._lock:
            return {other: self._pairs[mine, other] for other in others if (mine, other) in self._pairs}

    def note(self, mine: str, found: dict[str, Overlap]) -> None:
        """Remember."""
        with self._lock:
            self._pairs.update({(mine, other): overlap for other, overlap in found.items()})
            while len(self._pairs) > KEPT:
                self._pairs.popitem(last=False)


_remembered = _Remembered()


def overlaps(repository: SketchRepository, submission: Submission, public_url: str) -> list[EntryOverlap]:
    """With the best entries of its board and the most similar one, most similar first; empty before the subset is
    settled, and for rehearsals."""
    mine = submission.subset_digest
    if mine is None or submission.rehearsal:
        return []
    means = Means(public=bool(withheld(submission.board)))
    ranked = repository.best_subsets(submission.board, means, MOST)
    others = [(place, one, theirs) for place, (one, theirs) in enumerate(ranked, 1) if one != submission.id and theirs]
    known = _compared(repository, mine, {theirs for _, _, theirs in others})
    told = [(place, one, known[theirs]) for place, one, theirs in others if theirs in known]
    if not told:
        return []
    nearest = max(told, key=lambda entry: (entry[2].jaccard, -entry[0]))
    shown = sorted({*told[:BEST], nearest}, key=lambda entry: (-entry[2].jaccard, entry[0]))
    rows = repository.submissions([one for _, one, _ in shown])
    return [
        EntryOverlap(
            submission=one,
            url=receipt_url(public_url, one),
            method=rows[one].method,
            participant=rows[one].user.name,
            jaccard=overlap.jaccard,
            error=overlap.error,
            place=place,
            nearest=one == nearest[1],
        )
        for place, one, overlap in shown
    ]


def _compared(repository: SketchRepository, mine: str, others: set[str]) -> dict[str, Overlap]:
    """By the other subset's digest; what was compared before is remembered."""
    known = _remembered.of(mine, others)
    wanted = others - known.keys()
    sketches = repository.sketches({mine, *wanted}) if wanted else {}
    if mine not in sketches:
        return known
    own = Sketch.of_bytes(sketches[mine])
    found = {other: overlap_of(own, Sketch.of_bytes(sketches[other])) for other in wanted & sketches.keys()}
    _remembered.note(mine, found)
    return known | found
