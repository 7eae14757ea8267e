"""Joining an ingestion's parts, column by column, into the pack's column files.

Parts are opened one at a time: neither memory nor open files grow with the pool.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.digests import digest_file
from datacomp.pool import npz
from datacomp.pool.manifest import Column, Feature, PoolManifest, Shard, Tar
from datacomp.problems import BadInput, Problem, raise_if_any
from datacomp.uids import UID_DTYPE, find, order, repeats, to_hex

LANGUAGES = "languages"
"""Array of a part: the texts behind the codes of its column `lang`."""
PLACES = ("image_offset", "image_size", "text_offset", "text_size")
Part = tuple[Path, Path]
"""A source file and its part."""


def join(
    columns_dir: Path, metadata: Sequence[Part], tars: Sequence[Part], shards: Sequence[Shard], model_digest: str
) -> PoolManifest:
    """Write all column files and describe them. `BadInput` when the parts do not fit together."""
    names = _same_columns(metadata)
    languages = sorted({str(name) for _, part in metadata for name in _load(part, LANGUAGES)})
    writer = _Writer(columns_dir, sum(shard.rows for shard in shards))
    for name in names:
        writer.write(name, (_piece(part, name, languages) for _, part in metadata))
    _write_uid_order(writer)
    places = _write_places(writer, tars)
    return PoolManifest(
        rows=writer.rows,
        shards=tuple(shards),
        tars=places.tars,
        features=_features([source for source, _ in metadata]),
        columns=tuple(writer.described({"lang": tuple(languages)})),
        language_model=model_digest,
        orphans=places.orphans,
    )


def _load(part: Path, name: str) -> npt.NDArray[Any]:
    with np.load(part) as arrays:
        array: npt.NDArray[Any] = arrays[name]
    return array


def _piece(part: Path, name: str, languages: list[str]) -> npt.NDArray[Any]:
    """A part's column; language codes as places in the whole pool's list."""
    column = _load(part, name)
    if name != "lang":
        return column
    place = np.array([languages.index(str(own)) for own in _load(part, LANGUAGES)] + [-1], np.int16)
    recoded: npt.NDArray[Any] = place[column]
    return recoded


def _same_columns(metadata: Sequence[Part]) -> list[str]:
    """The columns of all shards; `BadInput` names each shard that differs from the first."""
    described = [_dtypes(part) for _, part in metadata]
    first = metadata[0][0].name
    problems = [
        Problem(
            code="pool-mixed-schemas",
            message=f"columns {sorted(set(own.items()) ^ set(described[0].items()))} differ from {first}",
            where=source.name,
        )
        for own, (source, _) in zip(described, metadata, strict=True)
        if own != described[0]
    ]
    raise_if_any(problems)
    return list(described[0])


def _dtypes(part: Path) -> dict[str, str]:
    return {name: str(member.dtype) for name, member in npz.members(part).items() if name != LANGUAGES}


class _Writer:
    """Writes column files of `rows` values."""

    def __init__(self, directory: Path, rows: int) -> None:
        directory.mkdir(exist_ok=True)
        self.directory, self.rows = directory, rows
        self.dtypes: dict[str, str] = {}

    def write(self, name: str, pieces: Iterator[npt.NDArray[Any]]) -> None:
        """Write a column piece by piece."""
        at = 0
        column: npt.NDArray[Any] | None = None
        for piece in pieces:
            if column is None:
                path = self.directory / f"{name}.npy"
                column = np.lib.format.open_memmap(path, "w+", piece.dtype, (self.rows,)) if self.rows else piece
                self.dtypes[name] = str(piece.dtype)
            column[at : at + len(piece)] = piece
            at += len(piece)
        if not self.rows and column is not None:
            np.save(self.directory / f"{name}.npy", column)

    def read(self, name: str) -> npt.NDArray[Any]:
        """A column that was written."""
        array: npt.NDArray[Any] = np.load(self.directory / f"{name}.npy", mmap_mode="r" if self.rows else None)
        return array

    def described(self, vocabularies: dict[str, tuple[str, ...]]) -> Iterator[Column]:
        """The columns for the manifest."""
        for name, dtype in sorted(self.dtypes.items()):
            digest = digest_file(self.directory / f"{name}.npy")
            yield Column(name=name, dtype=dtype, digest=digest, vocabulary=vocabularies.get(name))


def _write_uid_order(writer: _Writer) -> None:
    uids = np.asarray(writer.read("uid"))
    by_uid = order(uids)
    if repeats(uids[by_uid]):
        ordered = uids[by_uid]
        twice = np.flatnonzero(ordered[1:] == ordered[:-1])
        first = to_hex(ordered[twice[:1]])[0]
        message = f"{twice.size:,} uids stand in two rows, the first is {first}"
        rows = f"rows {by_uid[twice[0]]} and {by_uid[twice[0] + 1]}"
        raise BadInput.of("pool-uid-twice", message, where=rows, hint="remove the metadata file that came twice")
    writer.write("uid_order", iter([by_uid]))


@dataclass(frozen=True)
class _Places:
    tars: tuple[Tar, ...]
    orphans: int


def _write_places(writer: _Writer, tars: Sequence[Part]) -> _Places:
    """Write where each row's image and caption lie. A sample that is in two tars counts where it comes first."""
    uids, by_uid = np.asarray(writer.read("uid")), np.asarray(writer.read("uid_order"))
    ordered = uids[by_uid] if uids.size else np.empty(0, UID_DTYPE)
    tar = np.full(writer.rows, -1, np.int32)
    places = {name: np.zeros(writer.rows, np.int64) for name in PLACES}
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
    writer.write("tar", iter([tar]))
    for name, column in places.items():
        writer.write(name, iter([column]))
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
