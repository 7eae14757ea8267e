"""Records: the atomic outcomes of an evaluation, as columns.

In a records file (Parquet) a row has

- `task` (string): the task's key; `item` (int64): the item's place in the task's data; `part` (string): which question
  was asked of it (`image_to_text`, `text_to_image` for retrieval, where the latter's items are captions; the
  attribute's name for tasks of several attributes; else empty)
- `label`, `prediction` (int32): class numbers, -1 where there are none
- `rank` (int32): how many candidates scored above the right one (0 = top-1 correct), -1 where there is none
- `value` (float64): the item's own score, where it has one (WinoGAViL: Jaccard index), else NaN
- `group` (string): the item's group, for worst-group metrics; its number of candidates (WinoGAViL); else empty
- `variation` (string): the named variation under which it was shown; empty for tasks that are not varied
- `shots`, `draw` (int32): what a probe had learnt from, 0 shots being all; -1 for other kinds

Files of before the last three were added lack them, and are read as if no task had been varied or probed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datacomp.problems import BadInput

if TYPE_CHECKING:
    import pyarrow as pa

FIRST_FIELDS = ("task", "item", "part", "label", "prediction", "rank", "value", "group")
LATER_FIELDS: dict[str, str | int] = {"variation": "", "shots": -1, "draw": -1}
"""With what stands in for them in files that lack them."""
FIELDS = (*FIRST_FIELDS, *LATER_FIELDS)
IMAGE_TO_TEXT, TEXT_TO_IMAGE = "image_to_text", "text_to_image"


def record_schema() -> pa.Schema:
    """The Arrow schema of a records file."""
    import pyarrow as pa

    types = (pa.string(), pa.int64(), pa.string(), pa.int32(), pa.int32(), pa.int32(), pa.float64(), pa.string())
    later = (pa.string(), pa.int32(), pa.int32())
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in zip(FIELDS, types + later, strict=True)])


@dataclass(frozen=True)
class Records:
    """The records of one task, as columns of equal length."""

    item: npt.NDArray[np.int64]
    part: npt.NDArray[np.str_]
    label: npt.NDArray[np.int32]
    prediction: npt.NDArray[np.int32]
    rank: npt.NDArray[np.int32]
    value: npt.NDArray[np.float64]
    group: npt.NDArray[np.str_]
    variation: npt.NDArray[np.str_]
    shots: npt.NDArray[np.int32]
    draw: npt.NDArray[np.int32]

    def within(self, k: int) -> npt.NDArray[np.bool_]:
        """Whether the right answer is among the k best."""
        found: npt.NDArray[np.bool_] = (self.rank >= 0) & (self.rank < k)
        return found

    def where(self, rows: npt.NDArray[np.bool_]) -> Records:
        """The records of some rows."""
        return Records(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def items(self) -> int:
        """How many items the records tell of; captions to find images by are none."""
        return int(np.unique(self.item[self.part != TEXT_TO_IMAGE]).size)


def read_records(path: Path) -> dict[str, Records]:
    """The records of every task of a file; `BadInput`: `records-unreadable`, `records-schema`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadInput.of("records-unreadable", f"not a Parquet file of records: {error}", where=path.name) from error
    schema = record_schema()
    known = (schema, pa.schema([schema.field(name) for name in FIRST_FIELDS]))
    if not any(table.schema.equals(one) for one in known):
        message = f"the columns are {', '.join(f'{f.name} {f.type}' for f in table.schema)}"
        raise BadInput.of("records-schema", message, where=path.name, hint=f"expected {', '.join(FIELDS)}")
    columns: dict[str, Any] = {name: table.column(name).to_numpy() for name in table.column_names}
    for name, default in LATER_FIELDS.items():
        filler = np.full(table.num_rows, default, object if isinstance(default, str) else np.int32)
        columns.setdefault(name, filler)
    return _by_task(columns)


def _by_task(columns: dict[str, Any]) -> dict[str, Records]:
    tasks = columns.pop("task").astype(str)
    order = np.argsort(tasks, kind="stable")
    names, starts = np.unique(tasks[order], return_index=True)
    found = {}
    for name, rows in zip(names, np.split(order, starts[1:]), strict=True):
        picked = {field: column[rows] for field, column in columns.items()}
        texts = {field: picked[field].astype(str) for field in ("part", "group", "variation")}
        found[str(name)] = Records(**{**picked, **texts})
    return found
