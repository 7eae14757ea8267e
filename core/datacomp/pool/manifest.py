"""What a pack holds: the manifest, written last, so that a pack with a manifest is complete."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from datacomp.digests import digest_json
from datacomp.problems import BadInput, PlatformFault

PACK = "pack"
MANIFEST = "manifest.json"
FORMAT = 2


class Frozen(BaseModel):
    """Base of the manifest's parts."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Column(Frozen):
    """One column file of the pack: `columns/<name>.npy`, one value a row, rows in shard order."""

    name: str
    dtype: str
    """NumPy's name of the type, for instance `float32`."""
    digest: str
    vocabulary: tuple[str, ...] | None = None
    """For text of few values (languages): the file holds places in this list, -1 for none."""
    constant: int | None = None
    """For a column of one value in every row: there is no file."""
    added: bool = False
    """Whether it was added to the pool later, from a file of scores."""


class Feature(Frozen):
    """One array of the `.npz` beside a metadata shard, mapped where it lies."""

    name: str
    dtype: str
    width: int


class Shard(Frozen):
    """One metadata file, and what identifies its features without reading them all."""

    name: str
    """Stem of the parquet file."""
    rows: int
    size: int
    """Bytes of the parquet file."""
    features_crc: str | None
    """Checksums that the `.npz` itself carries for its members; None where there is no `.npz`."""


class Tar(Frozen):
    """One tar of images, in the order of its number in the column `tar`."""

    name: str
    size: int
    samples: int
    """Samples that belong to the pool."""


class PoolManifest(Frozen):
    """Everything about a pack but its columns' values."""

    format: int = FORMAT
    rows: int
    shards: tuple[Shard, ...]
    tars: tuple[Tar, ...]
    features: tuple[Feature, ...]
    columns: tuple[Column, ...]
    metadata: tuple[str, ...]
    """All columns of the metadata files themselves, so that nobody need open one to know."""
    made_with: dict[str, str]
    """What the groups of computed columns were computed with, by digest: `language` names the fastText model."""
    orphans: int = 0
    """Samples in tars whose uid no metadata row has."""

    @property
    def digest(self) -> str:
        """Names the pool: covers every column's digest and the identity of every source file."""
        return digest_json(self.model_dump(mode="json"))

    def column(self, name: str) -> Column | None:
        """The column of that name."""
        return next((column for column in self.columns if column.name == name), None)

    def with_columns(self, columns: Sequence[Column]) -> PoolManifest:
        """The manifest with these columns in it, in place of those of the same names."""
        every = {column.name: column for column in (*self.columns, *columns)}
        return self.model_copy(update={"columns": tuple(every[name] for name in sorted(every))})


def read_manifest(directory: Path) -> PoolManifest:
    """The manifest of a pool's pack. `BadInput` when the pool has not been ingested."""
    path = directory / PACK / MANIFEST
    if not directory.is_dir():
        raise BadInput.of("pool-missing", "there is no such directory", where=str(directory))
    if not path.is_file():
        hint = f"run: datacomp pool ingest {directory}"
        raise BadInput.of("pool-not-ingested", "the pool has no pack", where=str(directory), hint=hint)
    try:
        return PoolManifest.model_validate_json(path.read_text())
    except (ValidationError, ValueError) as error:
        hint = f"run: datacomp pool ingest {directory}"
        raise PlatformFault.of("pool-pack-damaged", f"unreadable manifest: {error}", str(path), hint) from error
