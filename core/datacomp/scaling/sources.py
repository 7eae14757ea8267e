"""Series of scores from a table, or from a paper's rows: methods by name, one score a scale."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from datacomp.messages import PublishedRow, ScalePoint, Series
from datacomp.problems import Problem, raise_if_any
from datacomp.scaling.metrics import Metric

TABLE = re.compile(r"[,;]?\s*\bTables? (\d+).*$")


def paper_and_table(source: str) -> tuple[str, int]:
    """A source without its table, and the table's number (0 without one)."""
    found = TABLE.search(source)
    return (source, 0) if found is None else (source[: found.start()].strip(), int(found[1]))


def published_series(rows: Iterable[PublishedRow], metric: Metric) -> list[Series]:
    """Series of the rows of each paper. Of several tables that have a method at one scale, the first counts."""
    chosen: dict[tuple[str, str], dict[str, ScalePoint]] = {}
    for row in sorted(rows, key=lambda row: paper_and_table(row.source)):
        score = metric.of(row)
        if row.train_macs is not None and score is not None:
            paper, _ = paper_and_table(row.source)
            chosen.setdefault((paper, row.method), {}).setdefault(row.scale, _point(row, score))
    return [
        Series(method=method, by=paper, published=True, points=sorted(found.values(), key=lambda point: point.macs))
        for (paper, method), found in chosen.items()
    ]


def table_series(rows: Sequence[PublishedRow], metric: Metric) -> list[Series]:
    """Series of a table of one's own; `BadInput` where it has a method twice at one scale."""
    seen: set[tuple[str, str]] = set()
    problems = []
    for row in rows:
        if (row.method, row.scale) in seen:
            message = f"{row.method!r} has several scores at {row.scale}"
            problems.append(Problem(code="row-twice", message=message, hint="give scores of one protocol in a table"))
        seen.add((row.method, row.scale))
    raise_if_any(problems)
    return published_series((row.model_copy(update={"source": ""}) for row in rows), metric)


def ordered(series: Iterable[Series]) -> list[Series]:
    """Those at most scales first, then those at the largest, the best first."""

    def standing(each: Series) -> tuple[int, float, float, str]:
        last = each.points[-1]
        return -len(each.points), -last.macs, -last.score, each.method

    return sorted((each for each in series if each.points), key=standing)


def _point(row: PublishedRow, score: float) -> ScalePoint:
    return ScalePoint(
        scale=row.scale,
        score=score,
        macs=row.train_macs or 0.0,
        samples_seen=row.samples_seen,
        dataset_size=row.dataset_size,
        source=row.source,
    )
