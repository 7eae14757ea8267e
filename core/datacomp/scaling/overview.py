"""Everything about a set of series at once: what the page and the command line show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from datacomp.messages import CoverageOut, Series, Track, TrendsOut
from datacomp.scaling.agreement import agreements
from datacomp.scaling.backtest import back_tests, coverage
from datacomp.scaling.crossings import crossings
from datacomp.scaling.sources import ordered
from datacomp.scaling.trends import Question, trend

MOST_TRENDS = 50
"""Methods whose trends are fitted and shown; ranking evidence takes all."""
MOST_HELD = 100
"""Methods whose earlier forecasts are looked at: those at most scales."""


def overview(
    series: Iterable[Series],
    question: Question | None = None,
    *,
    track: Track = Track.FILTERING,
    suite: str = "",
    method: str | None = None,
    most: int = MOST_TRENDS,
) -> TrendsOut:
    """Ranking evidence over all series, own and published apart, and the trends of the first `most` of those at several
    scales, or of the methods whose name holds `method`, then also at a single scale."""
    question = question or Question()
    every = ordered(series)
    wanted = [each for each in every if _chosen(each, method)]
    shown = wanted[:most]
    own, published = ([each for each in every if each.published is said] for said in (False, True))
    return TrendsOut(
        track=track,
        suite=suite,
        metric=str(question.metric),
        x=question.x,
        agreements=agreements(own, question),
        published_agreements=agreements(published, question),
        trends=[trend(each, question) for each in shown],
        left_out=len(wanted) - len(shown),
        crossings=[*crossings(_of(shown, False), question), *crossings(_of(shown, True), question)],
        coverage=_held(own, question, dated=True),
        published_coverage=_held(published, question, dated=False),
    )


def _chosen(series: Series, method: str | None) -> bool:
    if method is None:
        return len(series.points) > 1
    return method.casefold() in series.method.casefold()


def _of(series: Sequence[Series], published: bool) -> list[Series]:
    return [each for each in series if each.published is published]


def _held(series: Sequence[Series], question: Question, *, dated: bool) -> CoverageOut:
    return coverage(back_tests(series[:MOST_HELD], question, dated=dated))
