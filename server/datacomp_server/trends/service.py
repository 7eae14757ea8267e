"""Rules of trends: which boards belong together, which entries are one method, and what is shown of them.

Boards belong together when they have the same track, suite and private tasks; each scale counts once, by its first
board. A method is a name under which one participant or team entered several scales; of several entries of that name
on a board the newest counts, because the best would flatter whoever tries most.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from datacomp.messages import ScalePoint, Series, Track, TrendsOut
from datacomp.problems import BadInput
from datacomp.scales import SCALES
from datacomp.scaling.metrics import Metric
from datacomp.scaling.overview import overview
from datacomp.scaling.sources import published_series
from datacomp.scaling.trends import UNITS, Question
from datacomp.suite import Suite
from datacomp_server.boards.deviation import SeedDeviation
from datacomp_server.boards.models import Board
from datacomp_server.boards.service import BoardService
from datacomp_server.leaderboard.order import Means
from datacomp_server.leaderboard.visibility import public_part, withheld
from datacomp_server.published.service import PublishedService
from datacomp_server.trends.repository import Entry, TrendRepository

MOST_POINTS_OF_ONE = 100
DEFAULT_METRIC = "average"


@dataclass(frozen=True)
class Asked:
    """What somebody wants to see."""

    track: Track = Track.FILTERING
    suite: str | None = None
    """`name@version`; default: the suite of the track's boards at most scales."""
    metric: str = DEFAULT_METRIC
    x: str = "macs"
    method: str | None = None


@dataclass(frozen=True)
class Family:
    """Boards whose scores may be set side by side, smallest scale first."""

    suite: Suite
    boards: tuple[Board, ...]
    hidden: tuple[str, ...]


class TrendService:
    """Reads boards together."""

    def __init__(self, session: Session) -> None:
        self.boards = BoardService(session)
        self.published = PublishedService(session)
        self.trends = TrendRepository(session)

    def overview(self, asked: Asked) -> TrendsOut:
        """Ranking evidence, trends and what they expect. `BadInput` for a metric, axis or suite that is not there."""
        if asked.x not in UNITS:
            hint = f"choose one of {', '.join(UNITS)}"
            raise BadInput.of("axis-unknown", f"there is no axis {asked.x!r}", where="x", hint=hint)
        families = self.families(asked.track)
        suites = list(dict.fromkeys(family.suite.id for family in families))
        if not families and asked.suite is None:
            return overview([], track=asked.track)
        family = _chosen(families, asked.suite)
        metric = Metric.parse(asked.metric, family.suite)
        question = Question(metric, asked.x, metric.chance(public_part(family.suite, list(family.hidden))))
        series = [*self._own(family, metric, asked.method), *self._papers(asked.track, family, metric)]
        found = overview(series, question, track=asked.track, suite=family.suite.id, method=asked.method)
        return found.model_copy(update={"suites": suites})

    def suite(self, asked: Asked) -> Suite | None:
        """The suite that is meant; None without any board."""
        families = self.families(asked.track)
        return _chosen(families, asked.suite).suite if families else None

    def families(self, track: Track) -> list[Family]:
        """The boards of a track that belong together, those with most scales first."""
        found: dict[tuple[str, tuple[str, ...]], dict[str, Board]] = {}
        for board in self.boards.boards.all():
            if board.track == track:
                key = (board.suite_digest, tuple(withheld(board)))
                found.setdefault(key, {}).setdefault(board.scale, board)
        order = list(SCALES)
        families = [
            Family(
                BoardService.suite_of(next(iter(boards.values()))),
                tuple(sorted(boards.values(), key=lambda board: order.index(board.scale))),
                hidden,
            )
            for (_, hidden), boards in found.items()
        ]
        return sorted(families, key=lambda family: -len(family.boards))

    def _own(self, family: Family, metric: Metric, method: str | None) -> list[Series]:
        boards = {board.name: board for board in family.boards}
        means = Means(public=bool(family.hidden))
        if metric.kind == "task" and metric.name in family.hidden:
            return []
        entries = self.trends.entries(list(boards), means, method=method, tasks=metric.kind == "task")
        newest: dict[tuple[str, str], dict[str, Entry]] = {}
        for entry in entries:  # oldest first
            if metric.of(entry) is not None:
                newest.setdefault((entry.party, entry.method.casefold()), {})[entry.board] = entry
        return [_series(found.values(), boards, metric) for found in newest.values()]

    def _papers(self, track: Track, family: Family, metric: Metric) -> list[Series]:
        rows = self.published.of_suite(track, family.suite.name, [board.scale for board in family.boards])
        return published_series(rows, metric)


def _chosen(families: list[Family], suite: str | None) -> Family:
    known = [family for family in families if suite in (None, family.suite.id)]
    if not known:
        hint = f"suites: {', '.join(dict.fromkeys(family.suite.id for family in families)) or 'none'}"
        raise BadInput.of("suite-unknown", f"no board has the suite {suite!r}", where="suite", hint=hint)
    return known[0]


def _series(entries: Iterable[Entry], boards: dict[str, Board], metric: Metric) -> Series:
    found = sorted(entries, key=lambda entry: SCALES[boards[entry.board].scale].train_macs)
    points = [_point(entry, boards[entry.board], metric) for entry in found]
    return Series(method=found[-1].method, by=found[-1].by, points=points)


def _point(entry: Entry, board: Board, metric: Metric) -> ScalePoint:
    scale = SCALES[board.scale]
    score = metric.of(entry)
    return ScalePoint(
        scale=board.scale,
        score=float("nan") if score is None else score,
        macs=scale.train_macs,
        samples_seen=scale.samples_seen,
        model=scale.model,
        seeds=entry.seeds,
        deviation=_deviation(board, metric),
        dataset_size=entry.subset_size,
        at=entry.scored_at,
        submission=entry.submission,
    )


def _deviation(board: Board, metric: Metric) -> float | None:
    """Between seeds of the board; None for single tasks, of which boards keep none."""
    known = SeedDeviation.of(board)
    match metric.kind:
        case "average":
            return known.average
        case "main":
            return known.main
        case "group":
            return known.of_group(metric.name, BoardService.suite_of(board))
    return None
