"""Reading datasets: Parquet, CSV or JSONL with a row for each image.

url       where the image is         } or `uid`: a sample of the board's pool;
caption   its text (`text` does too) } or `tar`: where a webdataset tar of images and captions is
weight    optional: how often the row is seen, relative to 1 (0 < weight <= 100)
source    optional: a name; then `weight` is the source's, the same in all of its rows, and samples are drawn by it
license   optional (`licence` does too): counted in the manifest
unsafe    optional (`nsfw`, `punsafe` do too): rows where it is true, or a score of at least what the board says, are
          left out

Rows that are no good fail nothing by themselves: each has a cause, and the report counts by cause. The file as a whole
is refused when it cannot be read, has none of these columns, no rows, or more than the board takes.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datacomp.problems import BadInput

SUFFIXES = (".parquet", ".csv", ".jsonl")
OTHER_NAMES = {"text": "caption", "licence": "license", "nsfw": "unsafe", "punsafe": "unsafe"}
COLUMNS = ("url", "caption", "uid", "tar", "weight", "source", "license", "unsafe")
MOST_ROWS = 12_800_000
LONGEST_CAPTION = 10_000
"""Characters. Models read the first few hundred."""
LONGEST_URL = 4096
LONGEST_LINE = 1 << 23
MOST_WEIGHT = 100.0
MOST_SOURCES = 100
LONGEST_SOURCE = 100
BATCH = 1 << 13
_UID = re.compile(r"[0-9a-fA-F]{32}").fullmatch
_URL = re.compile(r"https?://[^\s/]", re.IGNORECASE).match
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_TRUE = frozenset({"true", "yes", "unsafe", "nsfw"})
UNSAFE = 0.5
"""Score from which a row counts as unsafe where nobody says otherwise."""


@dataclass(frozen=True)
class Row:
    """One row that can be used, or the cause why it cannot."""

    number: int
    """From 0."""
    cause: str | None = None
    url: str = ""
    caption: str = ""
    uid: str = ""
    weight: float = 1.0
    license: str = ""
    tar: str = ""
    source: str | None = None
    """None where the file names no sources."""


@dataclass(frozen=True)
class Shape:
    """What a whole file comes to."""

    rows: int
    good: int
    distinct: int
    """Different addresses and uids among the good rows."""
    causes: dict[str, int]


def check_dataset(path: Path, most_rows: int = MOST_ROWS) -> Shape:
    """Read a whole file. `BadInput` when it cannot be used at all: none of its rows can, or there are too many."""
    shape = shape_of(path, most_rows)
    if not shape.good:
        causes = ", ".join(f"{cause} {count:,}" for cause, count in shape.causes.items())
        hint = "every row needs url and caption, or uid, or tar"
        raise BadInput.of(
            "dataset-no-rows", f"no row of {shape.rows:,} can be used: {causes or 'none'}", path.name, hint
        )
    return shape


def shape_of(path: Path, most_rows: int = MOST_ROWS, unsafe: float = UNSAFE) -> Shape:
    """Count a file's rows. `BadInput` when it cannot be read, or has more than `most_rows`."""
    causes: Counter[str] = Counter()
    seen: set[int] = set()
    rows = 0
    for row in rows_of(path, unsafe):
        rows += 1
        if rows > most_rows:
            hint = "hand in fewer rows, or ask the organiser for a larger board"
            raise BadInput.of("dataset-too-many-rows", f"more than {most_rows:,} rows", path.name, hint)
        if row.cause:
            causes[row.cause] += 1
        else:
            seen.add(hash((row.url, row.uid, row.tar)))
    return Shape(rows, rows - causes.total(), len(seen), dict(causes.most_common()))


def rows_of(path: Path, unsafe: float = UNSAFE) -> Iterator[Row]:
    """The rows, one by one; a score of `unsafe` or more makes one unsafe. `BadInput` when the file is none, is of no
    known kind, or lacks the columns."""
    if not path.is_file():
        raise BadInput.of("dataset-missing", "there is no such file", str(path))
    readers = {".parquet": _parquet, ".csv": _csv, ".jsonl": _jsonl}
    if path.suffix.lower() not in readers:
        hint = f"name the file {', '.join(SUFFIXES)}"
        raise BadInput.of("dataset-format", f"{path.suffix or 'no ending'} is no kind of dataset", path.name, hint)
    weights: dict[str, float] = {}
    for number, found in enumerate(readers[path.suffix.lower()](path)):
        yield _of_its_source(_row(number, found, unsafe), weights)


def _of_its_source(row: Row, weights: dict[str, float]) -> Row:
    """The row, unless its source is one too many, or had another weight before."""
    if row.cause or row.source is None:
        return row
    if row.source not in weights and len(weights) == MOST_SOURCES:
        return Row(row.number, "source-too-many")
    return row if weights.setdefault(row.source, row.weight) == row.weight else Row(row.number, "source-weight")


def _row(number: int, found: dict[str, Any] | None, unsafe: float) -> Row:
    if found is None:
        return Row(number, "row-unreadable")
    uid, tar, url = (_text(found.get(name)) for name in ("uid", "tar", "url"))
    address = "" if uid else tar or url
    weight = _weight(found.get("weight"))
    caption = plain_caption(_text(found.get("caption")))
    source = _CONTROL.sub(" ", _text(found["source"])).strip() if "source" in found else None
    problems = (
        ("unsafe", _is_unsafe(_text(found.get("unsafe")), unsafe)),
        ("weight-invalid", weight is None),
        ("uid-invalid", bool(uid) and _UID(uid) is None),
        ("url-missing", not uid and not address),
        ("url-invalid", bool(address) and (_URL(address) is None or len(address) > LONGEST_URL)),
        ("caption-missing", not uid and not tar and not caption),
        ("source-invalid", source is not None and len(source) > LONGEST_SOURCE),
        ("caption-too-long", len(caption) > LONGEST_CAPTION),
    )
    cause = next((cause for cause, there in problems if there), None)
    if cause:
        return Row(number, cause)
    license_ = _CONTROL.sub(" ", _text(found.get("license")))[:100].strip()
    tar, url = "" if uid else tar, "" if uid or tar else url
    return Row(number, None, url, caption, uid.lower(), weight or 1.0, license_, tar, source)


def _is_unsafe(text: str, threshold: float) -> bool:
    """Whether a flag is set, or a score reaches the threshold; a flag may be written as a number."""
    try:
        return float(text) >= threshold
    except ValueError:
        return text.strip().lower() in _TRUE


def plain_caption(text: str) -> str:
    """A caption without control characters."""
    return _CONTROL.sub(" ", text).strip()


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value)


def _weight(value: Any) -> float | None:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return 1.0
    try:
        weight = float(value)
    except (TypeError, ValueError):
        return None
    return weight if 0 < weight <= MOST_WEIGHT else None


def _known(names: list[str], path: Path) -> dict[str, str]:
    """The file's own names by ours. `BadInput` when they do not do."""
    found: dict[str, str] = {}
    for name in names:
        plain = name.strip().lower()
        found.setdefault(OTHER_NAMES.get(plain, plain), name)
    known = {ours: name for ours, name in found.items() if ours in COLUMNS}
    if not known.keys() & {"uid", "tar"} and not {"url", "caption"} <= known.keys():
        hint = "name the columns url and caption (or uid, or tar); weight, source, license and unsafe are optional"
        message = f"the file has the columns {', '.join(map(str, names))[:300] or 'none'}"
        raise BadInput.of("dataset-columns", message, path.name, hint)
    return known


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            known = _known(file.schema_arrow.names, path)
            for batch in file.iter_batches(BATCH, columns=list(known.values())):
                columns = {ours: batch.column(name).to_pylist() for ours, name in known.items()}
                yield from (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise BadInput.of("dataset-unreadable", f"not a readable Parquet file: {error}"[:500], path.name) from error


def _csv(path: Path) -> Iterator[dict[str, Any] | None]:
    import csv

    csv.field_size_limit(LONGEST_LINE)
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        lines = csv.reader(line.replace("\0", " ") for line in file)
        try:
            names = next(lines, [])
        except csv.Error as error:
            raise BadInput.of("dataset-unreadable", f"not a readable CSV file: {error}", path.name) from error
        known = {ours: names.index(name) for ours, name in _known(names, path).items()}
        while True:
            try:
                cells = next(lines)
            except StopIteration:
                return
            except csv.Error:
                yield None
                continue
            if cells:
                yield {o: cells[i] for o, i in known.items()} if len(cells) == len(names) else None


def _jsonl(path: Path) -> Iterator[dict[str, Any] | None]:
    known: dict[str, str] = {}
    with path.open("rb") as file:
        while line := file.readline(LONGEST_LINE):
            if not line.endswith(b"\n") and len(line) == LONGEST_LINE:
                while (rest := file.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                    pass
                yield None
                continue
            if not line.strip():
                continue
            try:
                found = json.loads(line)
            except (ValueError, RecursionError):
                found = None
            if not isinstance(found, dict):
                yield None
                continue
            known = known or _known(list(found), path)
            plain = {key.strip().lower(): value for key, value in found.items()}
            named = {OTHER_NAMES.get(key, key): value for key, value in plain.items()}
            # The first line says whether the file names sources, so that weights mean one thing in all of it.
            source = {"source": named.pop("source", None)}
            yield named | source if "source" in known else named
