"""Joining an ingestion's parts, column by column, into the pack's column files.

Parts are opened one at a time: neither memory nor open files grow with the number of shards.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.digests import digest_json
from datacomp.pool import npz
from datacomp.pool.columns import VOCABULARY, schema_names
from datacomp.pool.manifest import MANIFEST, PACK, Column, Feature, PoolManifest, Shard, Tar
from datacomp.pool.recipe import BASE, Recipe
from datacomp.problems import BadInput, Problem, raise_if_any
from datacomp.uids import UID_DTYPE, find, halves, order, repeats, to_hex

PLACES = ("image_offset", "image_size", "text_offset", "text_size", "json_size")
SMALL = 1 << 31
"""Below it places and row numbers are stored in four bytes."""
Part = tuple[Path, Path]
"""A source file and its part."""
Groups = Mapping[str, Sequence[Part]]


def join(
    directory: Path, groups: Groups, tars: Sequence[Part], shards: Sequence[Shard], recipe: Recipe
) -> PoolManifest:
    """Write all column files and describe them. `BadInput` when the parts do not fit together."""
    writer = _Writer(directory, sum(shard.rows for shard in shards))
    for parts in groups.values():
        _write_group(writer, parts)
    _write_uid_order(writer, shards)
    places = _write_places(writer, tars)
    return PoolManifest(
        rows=writer.rows,
        shards=tuple(shards),
        tars=places.tars,
        features=_features([source for source, _ in groups[BASE]]),
        columns=tuple(sorted(writer.columns, key=lambda column: column.name)),
        metadata=schema_names(groups[BASE][0][0]),
        made_with=recipe.groups,
        orphans=places.orphans,
    )


def join_groups(directory: Path, groups: Groups, standing: PoolManifest, recipe: Recipe) -> PoolManifest:
    """Write the column files of further groups; the standing manifest with them in it."""
    writer = _Writer(directory, standing.rows)
    for parts in groups.values():
        _write_group(writer, parts)
    made_with = standing.made_with | {group: recipe.groups[group] for group in groups}
    return replace(standing.with_columns(writer.columns), made_with=made_with)


def write_manifest(directory: Path, manifest: PoolManifest) -> None:
    """Put a pool's manifest in place, whole or not at all."""
    path = directory / PACK / MANIFEST
    temporary = path.with_suffix(".tmp")
    temporary.write_text(manifest.text())
    temporary.replace(path)


def write_column(directory: Path, name: str, values: npt.NDArray[Any]) -> Column:
    """Write one column of a whole pool."""
    writer = _Writer(directory, len(values))
    writer.write(name, iter([values]), values.dtype)
    return writer.columns[0]


@dataclass(frozen=True)
class _Opened:
    """A part whose table of contents has been read."""

    source: Path
    part: Path
    members: dict[str, npz.Member]

    @classmethod
    def of(cls, item: Part) -> _Opened:
        return cls(*item, npz.members(item[1]))

    @property
    def dtypes(self) -> dict[str, np.dtype[Any]]:
        return {name: member.dtype for name, member in self.members.items()}

    def load(self, name: str) -> npt.NDArray[Any]:
        return npz.map_member(self.part, self.members[name])

    def words(self, name: str) -> list[str]:
        """The texts behind a column's codes."""
        return [str(word) for word in self.load(name + VOCABULARY)]

    def recoded(self, name: str, words: list[str]) -> npt.NDArray[Any]:
        """A column's codes as places in the whole pool's vocabulary."""
        place = {word: number for number, word in enumerate(words)}
        codes = np.array([place[own] for own in self.words(name)] + [-1], np.int16)
        recoded: npt.NDArray[Any] = codes[self.load(name)]
        return recoded


def _write_group(writer: _Writer, parts: Sequence[Part]) -> None:
    opened = [_Opened.of(part) for part in parts]
    _require_same(opened)
    for name, dtype in opened[0].dtypes.items():
        if name.endswith(VOCABULARY):
            continue
        if name + VOCABULARY in opened[0].members:
            words = sorted({word for part in opened for word in part.words(name)})
            writer.write(name, (part.recoded(name, words) for part in opened), np.dtype(np.int16), tuple(words))
        else:
            writer.write(name, (part.load(name) for part in opened), dtype)


def _require_same(parts: Sequence[_Opened]) -> None:
    """`BadInput` names each shard whose columns differ from the first's, and by what."""
    first = parts[0]
    problems = [
        Problem(
            code="pool-mixed-schemas",
            message=f"columns differ from those of {first.source.name}: {_difference(first.dtypes, own.dtypes)}",
            where=own.source.name,
            hint="make all metadata files of one kind",
        )
        for own in parts
        if _plain(own.dtypes) != _plain(first.dtypes)
    ]
    raise_if_any(problems)


def _plain(dtypes: dict[str, Any]) -> dict[str, Any]:
    return {name: dtype for name, dtype in dtypes.items() if not name.endswith(VOCABULARY)}


def _difference(first: dict[str, Any], own: dict[str, Any]) -> str:
    names = sorted(name for name in _plain(first | own) if first.get(name) != own.get(name))
    return ", ".join(f"{name} {own.get(name, 'missing')} instead of {first.get(name, 'none')}" for name in names)


class _Writer:
    """Writes column files of `rows` values, each whole or not at all."""

    def __init__(self, directory: Path, rows: int) -> None:
        directory.mkdir(exist_ok=True)
        self.directory, self.rows = directory, rows
        self.columns: list[Column] = []

    def write(
        self,
        name: str,
        pieces: Iterator[npt.NDArray[Any]],
        dtype: np.dtype[Any],
        vocabulary: tuple[str, ...] | None = None,
    ) -> None:
        """Write a column piece by piece."""
        path = self.directory / f"{name}.npy"
        temporary = path.with_suffix(".tmp")
        start = io.BytesIO()
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (self.rows,)}
        np.lib.format.write_array_header_1_0(start, header)
        sha = hashlib.sha256(start.getvalue())
        with temporary.open("wb") as file:
            file.write(start.getvalue())
            for piece in pieces:
                data = np.ascontiguousarray(piece, dtype).view(np.uint8).data
                sha.update(data)
                file.write(data)
        temporary.replace(path)
        self.columns.append(Column(name=name, dtype=str(dtype), digest=sha.hexdigest(), vocabulary=vocabulary))

    def constant(self, name: str, value: int) -> None:
        """A column that has one value in every row needs no file."""
        digest = digest_json([name, value, self.rows])
        self.columns.append(Column(name=name, dtype="int32", digest=digest, constant=value))

    def read(self, name: str) -> npt.NDArray[Any]:
        """A column that was written."""
        array: npt.NDArray[Any] = np.load(self.directory / f"{name}.npy", mmap_mode="r" if self.rows else None)
        return array


def _write_uid_order(writer: _Writer, shards: Sequence[Shard]) -> None:
    uids = np.asarray(writer.read("uid"))
    by_uid = order(uids)
    ordered = halves(uids).take(by_uid, axis=0).view(UID_DTYPE).reshape(-1)
    if repeats(ordered):
        twice = np.flatnonzero(ordered[1:] == ordered[:-1])
        first = to_hex(ordered[twice[:1]])[0]
        message = f"{twice.size:,} uids stand in two rows, the first is {first}"
        rows = " and ".join(_place(shards, int(row)) for row in by_uid[twice[0] : twice[0] + 2])
        raise BadInput.of("pool-uid-twice", message, where=rows, hint="remove the metadata file that came twice")
    dtype = np.dtype(np.int32 if writer.rows < SMALL else np.int64)
    writer.write("uid_order", iter([by_uid]), dtype)
    writer.write("uid_sorted", iter([ordered]), UID_DTYPE)  # looked up without gathering: see Pool.rows_of


def _place(shards: Sequence[Shard], row: int) -> str:
    for shard in shards:
        if row < shard.rows:
            return f"{shard.name}.parquet row {row}"
        row -= shard.rows
    raise IndexError(row)


@dataclass(frozen=True)
class _Places:
    tars: tuple[Tar, ...]
    orphans: int


def _write_places(writer: _Writer, tars: Sequence[Part]) -> _Places:
    """Write where each row's image and caption lie. A sample that is in two tars counts where it comes first."""
    if not tars:
        writer.constant("tar", -1)
        for name in PLACES:
            writer.constant(name, 0)
        return _Places((), 0)
    uids, by_uid = np.asarray(writer.read("uid")), np.asarray(writer.read("uid_order"))
    ordered = uids[by_uid] if uids.size else np.empty(0, UID_DTYPE)
    tar = np.full(writer.rows, -1, np.int32)
    small = all(source.stat().st_size < SMALL for source, _ in tars)
    places = {name: np.zeros(writer.rows, np.int32 if small else np.int64) for name in PLACES}
    found, orphans = [], 0
    for number, (source, path) in enumerate(tars):
        with np.load(path) as part:
            place = find(part["uid"], ordered)
            orphans += int((place < 0).sum())
            row = by_uid[place]
            fresh = np.flatnonzero((place >= 0) & (tar[row] < 0))
            tar[row[fresh]] = number
            for name, column in places.items():
                column[row[fresh]] = part[name][fresh]
        found.append(Tar(name=source.stem, size=source.stat().st_size, samples=int((tar == number).sum())))
    writer.write("tar", iter([tar]), tar.dtype)
    for name, column in places.items():
        writer.write(name, iter([column]), column.dtype)
    return _Places(tuple(found), orphans)


def _features(metadata: Sequence[Path]) -> tuple[Feature, ...]:
    """The feature arrays that every shard has; `BadInput` when some shards have an `.npz` and others none."""
    described = []
    for path in metadata:
        beside = path.with_suffix(".npz")
        own = npz.members(beside).values() if beside.is_file() else ()
        described.append(tuple(Feature(name=m.name, dtype=str(m.dtype), width=m.shape[1]) for m in own))
    different = [path.stem for path, own in zip(metadata, described, strict=True) if own != described[0]]
    if different:
        message = f"{len(different)} shards have other features than {metadata[0].stem}"
        raise BadInput.of("npz-mixed", message, where=f"{different[0]}.npz", hint="download the missing .npz files")
    return described[0]
