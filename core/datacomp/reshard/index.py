"""Which samples a directory of tars holds: one small index per tar, made once and kept."""

from __future__ import annotations

import json
import mmap
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.digests import digest_json
from datacomp.problems import BadInput
from datacomp.reshard.tarbytes import Entry, entries
from datacomp.uids import Uids, from_hex

INDEX_FORMAT = 1
_UID, _BEFORE = b'"uid": "', b"{ ,"
_HEX = re.compile(rb'[0-9a-fA-F]{32}"').match


@dataclass(frozen=True)
class TarIndex:
    """The samples of a tar that have a uid, in its order; all arrays have shape (n,)."""

    uids: Uids
    start: npt.NDArray[np.int64]
    """Byte at which a sample's first header begins."""
    stop: npt.NDArray[np.int64]
    """Byte after its last file."""
    size: npt.NDArray[np.int64]
    """Bytes of its files together."""
    skipped: int
    """Samples whose `.json` is missing or names no uid: the original's resharder passes over them too."""


def tar_files(directory: Path) -> list[Path]:
    """The tars of a directory by name. `BadInput` when there are none."""
    if not directory.is_dir():
        raise BadInput.of("shards-missing", "there is no such directory", where=str(directory))
    tars = sorted(directory.glob("*.tar"))
    if not tars:
        hint = "give the directory of the .tar files, often called shards/"
        raise BadInput.of("shards-missing", "the directory holds no .tar", where=str(directory), hint=hint)
    return tars


def identity(tar: Path) -> list[Any]:
    """What tells one version of a tar from another."""
    status = tar.stat()
    return [str(tar.resolve()), status.st_size, status.st_mtime_ns]


def index_file(tar: Path, cache: Path) -> Path:
    """Where a tar's index is kept."""
    return cache / f"{digest_json([INDEX_FORMAT, *identity(tar)])[:40]}.npz"


def index_tar(tar: Path, cache: Path) -> TarIndex:
    """The index of a tar, from the cache if it is there. `BadInput` names what is wrong with the tar."""
    path = index_file(tar, cache)
    found = _read(path)
    if found is None:
        found = _make(tar)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **vars(found))
        temporary.replace(path)
    return found


def _read(path: Path) -> TarIndex | None:
    try:
        with np.load(path, allow_pickle=False) as found:
            names = ("uids", "start", "stop", "size")
            return TarIndex(**{name: found[name] for name in names}, skipped=int(found["skipped"]))
    except (OSError, ValueError, KeyError, EOFError):
        return None  # absent, or cut short by a full disk: made again


def _make(path: Path) -> TarIndex:
    uids, places, skipped = [], [], 0
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as tar:
            for sample in _samples(entries(tar)):
                uid = _uid(tar, sample)
                if uid is None:
                    skipped += 1
                    continue
                uids.append(uid)
                places.append((sample[0].start, sample[-1].stop, sum(entry.size for entry in sample)))
    except ValueError as error:
        raise BadInput.of("tar-damaged", f"not a readable tar: {error}", str(path), "download it again") from error
    table = np.array(places, np.int64).reshape(-1, 3)
    start, stop, size = (np.ascontiguousarray(column) for column in table.T)
    return TarIndex(from_hex(uids), start, stop, size, skipped)


def _samples(files: Iterator[Entry]) -> Iterator[list[Entry]]:
    """Files in a row that share a stem; another file of an extension that is there begins another sample."""
    sample: list[Entry] = []
    extensions: set[str] = set()
    for entry in files:
        if sample and (entry.stem != sample[0].stem or entry.extension in extensions):
            yield sample
            sample, extensions = [], set()
        sample.append(entry)
        extensions.add(entry.extension)
    if sample:
        yield sample


def _uid(tar: mmap.mmap, sample: list[Entry]) -> str | None:
    """The uid that a sample's json names; None without one that can be a uid."""
    entry = next((entry for entry in sample if entry.extension == "json"), None)
    if entry is None:
        return None
    data = tar[entry.data : entry.data + entry.size]
    at = data.find(_UID)
    if at > 0 and data[at - 1] in _BEFORE and data.find(_UID, at + 1) < 0 and _HEX(data, at + len(_UID)):
        return data[at + len(_UID) : at + len(_UID) + 32].decode()  # quicker than reading all fields
    try:
        uid = json.loads(data)["uid"]
        return uid if _HEX(f'{uid}"'.encode()) else None
    except (ValueError, KeyError, TypeError):
        return None
