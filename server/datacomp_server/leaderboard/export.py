"""Whole leaderboards as files, written page by page so that memory stays bounded."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from datacomp.messages import LeaderboardOut, LeaderboardRow

if TYPE_CHECKING:
    import pyarrow as pa

FIXED = (
    *("rank", "method", "participant", "team", "submission", "status", "baseline", "subset_size", "average", "main"),
    *("delta_to_baseline", "duplicate_of", "date", "source"),
    *("rank_lo", "rank_hi", "holm_lo", "holm_hi", "average_lo", "average_hi", "main_lo", "main_hi"),
    *("delta_lo", "delta_hi", "seeds", "tries"),
)
NUMBERS = frozenset(
    {"average", "main", "delta_to_baseline", "average_lo", "average_hi", "main_lo", "main_hi", "delta_lo", "delta_hi"}
)
COUNTS = frozenset({"rank", "subset_size", "rank_lo", "rank_hi", "holm_lo", "holm_hi", "seeds", "tries"})


def csv_blocks(pages: Iterable[LeaderboardOut], groups: list[str]) -> Iterator[bytes]:
    """A CSV file with one column a group and a task, a block of it a page."""
    for number, page in enumerate(pages):
        out = io.StringIO()
        writer = csv.writer(out)
        if number == 0:
            writer.writerow([*FIXED, *(f"group:{group}" for group in groups), *page.tasks])
        for row in page.rows:
            writer.writerow(
                [*map(_written, _fixed(row)), *map(row.groups.get, groups), *map(row.tasks.get, page.tasks)]
            )
        yield out.getvalue().encode()


def parquet_bytes(pages: Iterable[LeaderboardOut], groups: list[str], tasks: list[str]) -> bytes:
    """A Parquet file with the same columns, typed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(groups, tasks)
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for page in pages:
            lines = [[*_fixed(row), *map(row.groups.get, groups), *map(row.tasks.get, tasks)] for row in page.rows]
            columns = [list(column) for column in zip(*lines, strict=True)] if lines else [[] for _ in schema]
            writer.write_table(pa.table(columns, schema=schema))
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _schema(groups: list[str], tasks: list[str]) -> pa.Schema:
    import pyarrow as pa

    def kind(name: str) -> pa.DataType:
        if name in NUMBERS:
            return pa.float64()
        if name in COUNTS:
            return pa.int64()
        return {"baseline": pa.bool_(), "date": pa.timestamp("us", tz="UTC")}.get(name, pa.string())

    scores = [*(f"group:{group}" for group in groups), *tasks]
    return pa.schema([*(pa.field(name, kind(name)) for name in FIXED), *(pa.field(n, pa.float64()) for n in scores)])


def _fixed(row: LeaderboardRow) -> list[Any]:
    return [
        row.rank,
        row.method,
        row.participant,
        row.team,
        row.submission,
        row.status,
        row.baseline,
        row.subset_size,
        row.score,
        row.main,
        row.delta_to_baseline,
        row.duplicate_of,
        row.date,
        row.source,
        row.rank_lo,
        row.rank_hi,
        row.holm_lo,
        row.holm_hi,
        row.score_lo,
        row.score_hi,
        row.main_lo,
        row.main_hi,
        row.delta_lo,
        row.delta_hi,
        row.seeds,
        row.tries,
    ]


def _written(value: Any) -> Any:
    """A value as a spreadsheet reads it; text that it would take for a formula is quoted."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value
