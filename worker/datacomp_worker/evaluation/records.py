"""Records on their way into a Parquet file, row group by row group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from datacomp.scoring import record_schema

ROW_GROUP = 1 << 16


@dataclass(frozen=True)
class Block:
    """Some records of one task: columns of `item`'s length, or one value for all. See `datacomp.scoring`."""

    item: npt.NDArray[np.int64]
    part: str = ""
    label: npt.NDArray[np.int64] | int = -1
    prediction: npt.NDArray[np.int64] | int = -1
    rank: npt.NDArray[np.int64] | int = -1
    value: npt.NDArray[np.float64] | float = float("nan")
    group: Sequence[str] | str = ""
    variation: str = ""
    shots: int = -1
    draw: int = -1

    def columns(self, task: str) -> dict[str, Any]:
        """All columns at full length."""
        n = self.item.size
        names = ("label", "prediction", "rank", "value", "shots", "draw")
        numbers = {name: np.broadcast_to(getattr(self, name), n) for name in names}
        texts = {"task": [task] * n, "part": [self.part] * n, "variation": [self.variation] * n}
        group = [self.group] * n if isinstance(self.group, str) else list(self.group)
        return {"item": self.item, **texts, **numbers, "group": group}


@dataclass
class RecordWriter:
    """Writes a records file; holds at most a row group in memory. Use as a context manager."""

    path: Path
    count: int = 0
    _tables: list[Any] = field(default_factory=list)
    _waiting: int = 0

    def __enter__(self) -> Self:
        import pyarrow.parquet as pq

        self._schema = record_schema()
        self._file = pq.ParquetWriter(self.path, self._schema, compression="zstd")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._file.close()
        if kind is not None:
            self.path.unlink(missing_ok=True)

    def write(self, task: str, block: Block) -> None:
        """Append records."""
        import pyarrow as pa

        columns = block.columns(task)
        arrays = [pa.array(columns[field.name]).cast(field.type) for field in self._schema]
        self._tables.append(pa.Table.from_arrays(arrays, schema=self._schema))
        self._waiting += block.item.size
        self.count += block.item.size
        if self._waiting >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._tables:
            self._file.write_table(pa.concat_tables(self._tables).combine_chunks(), row_group_size=2 * ROW_GROUP)
        self._tables, self._waiting = [], 0
