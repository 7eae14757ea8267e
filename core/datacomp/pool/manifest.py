"""What a pack holds: the manifest, written last, so that a pack with a manifest is complete.

Plain dataclasses and a strict reader of their own: filtering a pool takes less time than importing pydantic.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from datacomp.digests import digest_json
from datacomp.problems import BadInput, PlatformFault

PACK = "pack"
MANIFEST = "manifest.json"
FORMAT = 2


@dataclass(frozen=True)
class Column:
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

    def as_added(self) -> Column:
        """The same, added later."""
        return replace(self, added=True)


@dataclass(frozen=True)
class Feature:
    """One array of the `.npz` beside a metadata shard, mapped where it lies."""

    name: str
    dtype: str
    width: int


@dataclass(frozen=True)
class Shard:
    """One metadata file, and what identifies its features without reading them all."""

    name: str
    """Stem of the parquet file."""
    rows: int
    size: int
    """Bytes of the parquet file."""
    features_crc: str | None
    """Checksums that the `.npz` itself carries for its members; None where there is no `.npz`."""


@dataclass(frozen=True)
class Tar:
    """One tar of images, in the order of its number in the column `tar`."""

    name: str
    size: int
    samples: int
    """Samples that belong to the pool."""


@dataclass(frozen=True)
class PoolManifest:
    """Everything about a pack but its columns' values."""

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
    format: int = FORMAT

    @property
    def digest(self) -> str:
        """Names the pool: covers every column's digest and the identity of every source file."""
        return digest_json(asdict(self))

    def text(self) -> str:
        """The manifest as it is kept: JSON."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)

    def column(self, name: str) -> Column | None:
        """The column of that name."""
        return next((column for column in self.columns if column.name == name), None)

    def with_columns(self, columns: Sequence[Column]) -> PoolManifest:
        """The manifest with these columns in it, in place of those of the same names."""
        every = {column.name: column for column in (*self.columns, *columns)}
        return replace(self, columns=tuple(every[name] for name in sorted(every)))


def read_manifest(directory: Path) -> PoolManifest:
    """The manifest of a pool's pack. `BadInput` when the pool has not been ingested."""
    path = directory / PACK / MANIFEST
    if not directory.is_dir():
        raise BadInput.of("pool-missing", "there is no such directory", where=str(directory))
    if not path.is_file():
        hint = f"run: datacomp pool ingest {directory}"
        raise BadInput.of("pool-not-ingested", "the pool has no pack", where=str(directory), hint=hint)
    try:
        manifest: PoolManifest = _read(json.loads(path.read_bytes()), PoolManifest, "manifest")
        return manifest
    except (ValueError, RecursionError) as error:
        hint = f"run: datacomp pool ingest {directory}"
        raise PlatformFault.of("pool-pack-damaged", f"unreadable manifest: {error}", str(path), hint) from error


def _read(value: Any, kind: Any, where: str) -> Any:
    """A JSON value as `kind`: a dataclass, `tuple[X, ...]`, `dict[str, str]`, `X | None` or a plain type. `ValueError`
    says where it is not."""
    if is_dataclass(kind):
        return _read_fields(value, kind, where)
    parts = get_args(kind)
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_read(each, parts[0], f"{where}[{i}]") for i, each in enumerate(value))
    if get_origin(kind) is dict and isinstance(value, dict):
        return {name: _read(each, parts[1], f"{where}.{name}") for name, each in value.items()}
    if type(None) in parts:
        return None if value is None else _read(value, parts[0], where)
    if type(value) is not kind:
        raise ValueError(f"{where} is {value!r:.80}")
    return value


def _read_fields(value: Any, kind: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where} is {value!r:.80}")
    types = _types(kind)
    unknown = value.keys() - types.keys()
    missing = {field.name for field in fields(kind) if field.default is MISSING} - value.keys()
    if unknown or missing:
        raise ValueError(f"{where} {'has no' if missing else 'has an unknown'} {sorted(missing or unknown)[0]!r}")
    return kind(**{name: _read(each, types[name], f"{where}.{name}") for name, each in value.items()})


@cache
def _types(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
