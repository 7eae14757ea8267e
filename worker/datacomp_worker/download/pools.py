"""`datacomp pool download`: metadata, images, pack, and what of the pool this site really has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from datacomp.pool import Pool, add_column, ingest
from datacomp.pool.pool import METADATA, SHARDS
from datacomp.problems import BadInput, PlatformFault
from datacomp_worker.download.driver import Options, Space, rows_done, run_download
from datacomp_worker.download.limits import Limits
from datacomp_worker.download.metadata import fetch_metadata
from datacomp_worker.download.outcomes import REPLACED, SUCCESS, Outcomes, cause, outcomes, tables

BOXES, DIGEST = "face_bboxes", "sha256"
STATES = "downloads.parquet"
"""Beside metadata/ and shards/: uid, whether its image is here, whether the image behind its URL is another one now."""
WORK = "download"
Report = Callable[[str, float, float], None]
"""Told what is done, how much, of how much."""


@dataclass(frozen=True)
class Wishes:
    """What is downloaded, and how."""

    options: Options = field(default_factory=Options)
    limits: Limits = field(default_factory=Limits)
    space: Space = field(default_factory=Space)
    metadata: str | None = None
    """Folder or URL of the metadata; default: the scale's on the Hugging Face hub."""
    features: bool = False
    """The `.npz` files too."""
    blur: bool = True
    keep_replaced: bool = False
    """Whether images that are no longer those of the metadata's digests are kept, as the original does."""
    metadata_only: bool = False
    pack: bool = True
    """Whether the pool is ingested at the end."""


@dataclass(frozen=True)
class Downloaded:
    """What there is now."""

    files: int
    found: Outcomes | None
    replaced: int
    pool: Pool | None


def download_pool(scale: str, directory: Path, wishes: Wishes, report: Report) -> Downloaded:
    """Download a pool into `directory` (metadata/, shards/, pack/); call it again to go on where it stopped.

    `BadInput` for metadata that is none, `PlatformFault` when metadata, disk or img2dataset fail. Rows without an image
    fail nothing: they are counted by cause.
    """
    folder = directory / METADATA
    files = fetch_metadata(wishes.metadata, scale, folder, features=wishes.features, report=report)
    if wishes.metadata_only:
        return Downloaded(files, None, 0, None)
    columns, rows = _shape(folder)
    if missing := {"uid", "url", "text"} - columns:
        raise BadInput.of("metadata-columns", f"the metadata lacks {', '.join(sorted(missing))}", str(folder))
    hashed = DIGEST in columns
    options = replace(
        wishes.options,
        boxes=BOXES if wishes.blur and BOXES in columns else None,
        check_hash=DIGEST if hashed and not wishes.keep_replaced else None,
    )
    shards = directory / SHARDS
    run_download(
        folder, shards, options, wishes.limits, space=wishes.space, workdir=directory / WORK,
        report=lambda done: report("images", done, rows),
    )  # fmt: skip
    if (done := rows_done(shards)) < rows:
        hint = "run the same command again: complete shards are kept"
        raise PlatformFault.of("download-incomplete", f"{rows - done:,} of {rows:,} rows were not tried", hint=hint)
    replaced = _write_states(directory, _digests(folder) if hashed and wishes.keep_replaced else {})
    pool = _pack(directory, report) if wishes.pack else None
    return Downloaded(files, outcomes(shards), replaced, pool)


def _shape(folder: Path) -> tuple[set[str], int]:
    """The columns that all metadata files have, and their rows together."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: set[str] | None = None
    rows = 0
    for path in sorted(folder.glob("*.parquet")):
        try:
            found = pq.read_metadata(path)
        except (OSError, pa.ArrowException) as error:
            hint = "remove the file and run the command again"
            raise BadInput.of("metadata-unreadable", f"no parquet file: {error}", str(path), hint) from error
        names = set(found.schema.to_arrow_schema().names)
        columns = names if columns is None else columns & names
        rows += found.num_rows
    return columns or set(), rows


def _digests(folder: Path) -> dict[str, str]:
    """The metadata's digest of every uid."""
    import pyarrow.parquet as pq

    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.parquet")):
        table = pq.read_table(path, columns=["uid", DIGEST])
        found.update(zip(table["uid"].to_pylist(), table[DIGEST].to_pylist(), strict=True))
    return found


def _write_states(directory: Path, digests: dict[str, str]) -> int:
    """Write what became of every uid; returns how many images are other ones now."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("uid", pa.string()), ("available", pa.int8()), (REPLACED, pa.int8())])
    replaced = 0
    temporary = directory / f".{STATES}.part"
    with pq.ParquetWriter(temporary, schema) as writer:
        for table in tables(directory / SHARDS, ["uid", "status", "error_message", DIGEST]):
            states = list(_states(table, digests))
            columns = [table["uid"], [there for there, _ in states], [other for _, other in states]]
            writer.write_table(pa.table(columns, schema=schema))
            replaced += sum(other for _, other in states)
    temporary.replace(directory / STATES)
    return replaced


def _states(table: dict[str, list[Any]], digests: dict[str, str]) -> Iterator[tuple[int, int]]:
    columns = (table["uid"], table["status"], table["error_message"], table[DIGEST])
    for uid, status, message, digest in zip(*columns, strict=True):
        what = cause(status, message)
        other = what == SUCCESS and digests.get(uid) not in {None, "", digest}
        yield int(what == SUCCESS), int(other or what == REPLACED)


def _pack(directory: Path, report: Report) -> Pool:
    """Ingest, and add the two columns: rules may say `available > 0` and `replaced == 0`."""
    ingest(directory, report=report)
    add_column(directory, directory / STATES)
    return Pool.open(directory)
