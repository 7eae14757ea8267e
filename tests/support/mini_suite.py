"""A suite of three tasks and records for it. Light: a worker of the fault tests makes its records here."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from datacomp.scoring import record_schema

_TASK = {"kind": "zeroshot", "metric": "acc1", "chance": 0.25, "size": 8}
SUITE = {
    "name": "mini",
    "version": "1",
    "tasks": [
        {"key": "mini/colours", "name": "Colours", "group": "main", **_TASK},
        {"key": "mini/shift", "name": "Shift", "group": "shift", **_TASK},
        {"key": "mini/uncounted", "name": "Uncounted", "group": "other", **_TASK, "counted": False},
    ],
}


def records(colours: int, shift: int | None = None, *, items: int = 8) -> bytes:
    """A records file in which so many of 8 items are right; `items` cuts it as a rehearsal does."""
    rows = []
    for task, right in (
        ("mini/colours", colours),
        ("mini/shift", colours if shift is None else shift),
        ("mini/uncounted", 4),
    ):
        for item in range(items):
            hit = item < right
            rows.append((task, item, "", 1, 1 if hit else 0, 0 if hit else 2, float("nan"), "", "", -1, -1))
    names = record_schema().names
    table = pa.table({name: [row[place] for row in rows] for place, name in enumerate(names)}, schema=record_schema())
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content
