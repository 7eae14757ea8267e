"""The pack's columns of one metadata shard."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datacomp.pool import language
from datacomp.problems import BadInput
from datacomp.uids import from_hex

if TYPE_CHECKING:
    import pyarrow as pa

NEEDED = ("uid", "text", "original_width", "original_height")
Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class ShardColumns:
    """One shard's columns, each of shape (rows,); `languages` are the texts behind the codes in `lang`."""

    columns: Columns
    languages: list[str]


def compute(path: Path, model: Any) -> ShardColumns:
    """Read a metadata file. `BadInput` names the file and the column or row that is wrong."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
        _require(path, schema.names)
        numbers = [f.name for f in schema if pa.types.is_floating(f.type) or pa.types.is_integer(f.type)]
        table = file.read(columns=["uid", "text", *numbers])
    except (pa.ArrowException, OSError) as error:
        raise BadInput.of(
            "parquet-unreadable", f"not a readable parquet file: {error}", str(path), "download it again"
        ) from error
    try:
        columns: Columns = {"uid": from_hex(table.column("uid"))}
    except BadInput as error:
        raise BadInput(*(p.model_copy(update={"where": f"{path.name}: {p.where}"}) for p in error.problems)) from error
    for name in numbers:
        columns[name] = _numbers(table.column(name))
    captions = [caption or "" for caption in table.column("text").to_pylist()]
    languages = _add_text_columns(columns, captions, model)
    return ShardColumns(columns, languages)


def _require(path: Path, names: list[str]) -> None:
    missing = [name for name in NEEDED if name not in names]
    if missing:
        message = f"the file lacks {', '.join(missing)}"
        raise BadInput.of("parquet-columns", message, str(path), "DataComp's metadata has them")


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """A column as NumPy has it: null becomes NaN, or 0 in integers."""
    import pyarrow as pa

    if pa.types.is_integer(column.type):
        return np.asarray(column.fill_null(0).to_numpy())
    array: npt.NDArray[Any] = column.to_numpy()
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _add_text_columns(columns: Columns, captions: list[str], model: Any) -> list[str]:
    # Python's own split() and len(): the original's rules are defined by them, exotic white space and all.
    columns["words"] = np.array([len(caption.split()) for caption in captions], np.int32)
    columns["characters"] = np.array([len(caption) for caption in captions], np.int32)
    codes, columns["lang_probability"] = language.identify(model, captions)
    names = sorted(set(codes) - {""})
    place = {name: number for number, name in enumerate(names)} | {"": -1}
    columns["lang"] = np.array([place[code] for code in codes], np.int16)
    return names
