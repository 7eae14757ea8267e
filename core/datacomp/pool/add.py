"""Columns added to an ingested pool: somebody's scores of its samples, keyed by uid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datacomp.pool.byuid import copy_by_uid
from datacomp.pool.columns import OWN
from datacomp.pool.join import write_column, write_manifest
from datacomp.pool.manifest import PACK, Column
from datacomp.pool.pool import Pool
from datacomp.problems import BadInput, raise_if_any
from datacomp.uids import Uids, descents, from_hex, order, repeats, to_hex, unknown_problem

if TYPE_CHECKING:
    import pyarrow as pa

UID = "uid"
EXACT_IN_FLOAT32 = 1 << 24
"""Integers up to here are floats of four bytes without loss."""


def add_column(directory: Path, file: Path, name: str | None = None) -> tuple[Column, ...]:
    """Add the scores of a parquet file (`uid` and numeric columns) to a pool's pack; returns the columns it now has.

    Rows of the pool that the file lacks get NaN. Nothing else is rewritten; the manifest, and so the pool's digest,
    changes with the column's content. A column that was added before is replaced. `name` names the column of a file
    with a single one. `BadInput` for uids that are malformed, repeated or unknown, and for names that are taken.
    """
    pool = Pool.open(directory)
    table = _read(file)
    names = _names(pool, file, table, name)
    rows = _rows(pool, file, table)
    columns = []
    for source, target in names.items():
        values = _spread(table.column(source), rows, pool.rows, f"{file.name}: {source}")
        column = write_column(directory / PACK / "columns", target, values)
        columns.append(column.as_added())
    manifest = pool.manifest.with_columns(columns)
    if manifest != pool.manifest:
        write_manifest(directory, manifest)
    copy_by_uid(Pool(directory, manifest))
    return tuple(columns)


def _read(file: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not file.is_file():
        raise BadInput.of("scores-missing", "there is no such file", where=str(file))
    try:
        table = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise BadInput.of("scores-unreadable", f"not a readable parquet file: {error}", where=str(file)) from error
    if UID not in table.column_names:
        hint = "a column of 32 hex digits, as in the pool's metadata"
        raise BadInput.of("scores-without-uid", "the file has no column `uid`", where=str(file), hint=hint)
    return table


def _names(pool: Pool, file: Path, table: pa.Table, name: str | None) -> dict[str, str]:
    """Which columns of the file become which of the pool."""
    import pyarrow as pa

    types = {field.name: field.type for field in table.schema if field.name != UID}
    found = [n for n, kind in types.items() if pa.types.is_floating(kind) or pa.types.is_integer(kind)]
    if not found:
        raise BadInput.of("scores-without-column", "no column beside `uid` holds numbers", where=str(file))
    if name is not None and len(found) != 1:
        hint = "leave --name away: each column goes by its own name"
        raise BadInput.of("scores-ambiguous", f"the file has {len(found)} columns: {', '.join(found)}", name, hint)
    names = {source: name or source for source in found}
    for target in names.values():
        _check_name(pool, target)
    return names


def _check_name(pool: Pool, name: str) -> None:
    if not (name.isidentifier() and name.isascii()) or name in {"and", "or", "not", "score"}:
        hint = "letters, digits and underscores, so that an expression can name it"
        raise BadInput.of("column-name", f"{name!r} is not a name for a column", where=name, hint=hint)
    column = pool.manifest.column(name)
    if name in OWN or (name in pool.names and (column is None or not column.added)):
        hint = "choose another name: --name NAME"
        raise BadInput.of("column-taken", f"the pool itself has a column {name!r}", where=name, hint=hint)


def _rows(pool: Pool, file: Path, table: pa.Table) -> npt.NDArray[np.int64]:
    """The pool's row of each row of the file."""
    import pyarrow as pa

    column = table.column(UID)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        message = f"`uid` has type {column.type}, not text of 32 hex digits"
        raise BadInput.of("uid-malformed", message, where=str(file))
    uids = from_hex(column)
    _require_once(file, uids)
    rows = pool.rows_of(uids)
    unknown = np.flatnonzero(rows < 0)
    if unknown.size:
        problem = unknown_problem(unknown, uids)
        where, hint = f"{file.name}: {problem.where}", "the file belongs to another pool"
        raise_if_any([replace(problem, where=where, hint=hint)])
    return rows


def _require_once(file: Path, uids: Uids) -> None:
    if not descents(uids).size and not repeats(uids):
        return
    by_uid = order(uids)
    ordered = uids[by_uid]
    if repeats(ordered):
        twice = np.flatnonzero(ordered[1:] == ordered[:-1])
        first = to_hex(ordered[twice[:1]])[0]
        where = (
            f"{file.name}: rows {' and '.join(str(row) for row in sorted(by_uid[twice[0] : twice[0] + 2].tolist()))}"
        )
        message = f"{twice.size:,} rows repeat a uid, the first is {first}"
        raise BadInput.of("scores-uid-twice", message, where=where, hint="one row for each uid")


def _spread(column: pa.ChunkedArray, rows: npt.NDArray[np.int64], total: int, where: str) -> npt.NDArray[Any]:
    """The file's values in the pool's order, NaN elsewhere: float32, or float64 where that alone holds them."""
    import pyarrow as pa

    if pa.types.is_integer(column.type):
        numbers = column.fill_null(0).to_numpy()
        largest = max((abs(int(numbers.min())), abs(int(numbers.max()))), default=0) if numbers.size else 0
        if largest > 1 << 53:
            raise BadInput.of("scores-too-large", f"{largest:,} is no exact float", where=where, hint="give floats")
        values = numbers.astype(np.float32 if largest <= EXACT_IN_FLOAT32 else np.float64)
        values[np.asarray(column.is_null())] = np.nan
    else:
        values = column.to_numpy()
    spread = np.full(total, np.nan, np.float64 if values.dtype == np.float64 else np.float32)
    spread[rows] = values
    return spread
