"""Retrieval and WinoGAViL: from the published tables to the folders that evaluation reads.

Columns, as the original's `retr_eval.py` and `wino_eval.py` read them: `image` and `caption`, a list;
`candidate_images`, `candidates`, `cue` and `associations`, which are names of candidates. Images are copied undecoded.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datacomp.problems import PlatformFault
from datacomp.suite import Kind, Task

PER_TAR = 1000
ROWS = 64
Files = dict[str, bytes]


def write_task(task: Task, tables: Sequence[Path], folder: Path) -> None:
    """Write `test/*.tar` and `test/nshards.txt`. `PlatformFault` names the table and column that do not fit."""
    make = _captioned if task.kind is Kind.RETRIEVAL else _riddle
    (folder / "test").mkdir(parents=True, exist_ok=True)
    tar: tarfile.TarFile | None = None
    shards = place = 0
    try:
        for place, files in enumerate(_samples(task, tables, make)):
            if place % PER_TAR == 0:
                if tar is not None:
                    tar.close()
                tar = tarfile.open(folder / "test" / f"{shards}.tar", "w")  # noqa: SIM115 - closed below
                shards += 1
            if tar is not None:
                _add(tar, f"s{place:07d}", files)
    finally:
        if tar is not None:
            tar.close()
    (folder / "test" / "nshards.txt").write_text(f"{shards}\n")


def _samples(task: Task, tables: Sequence[Path], make: Callable[[Mapping[str, Any]], Files]) -> Iterator[Files]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in sorted(tables):
        try:
            for batch in pq.ParquetFile(path).iter_batches(ROWS):
                yield from map(make, batch.to_pylist())
        except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
            message = f"the published table has another form than expected: {type(error).__name__}: {error}"
            raise PlatformFault.of("suite-table", message, f"{task.key}: {path.name}") from error


def _captioned(row: Mapping[str, Any]) -> Files:
    captions = row["caption"] if isinstance(row["caption"], list) else [row["caption"]]
    text = "\n".join(" ".join(str(caption).split()) for caption in captions)
    return {_type(row["image"]["bytes"]): row["image"]["bytes"], "txt": text.encode()}


def _riddle(row: Mapping[str, Any]) -> Files:
    right = [place for place, name in enumerate(row["candidates"]) if name in row["associations"]]
    told = json.dumps({"cue": row["cue"], "associations": right}).encode()
    images = {f"{place}.{_type(one['bytes'])}": one["bytes"] for place, one in enumerate(row["candidate_images"])}
    return {"json": told, **images}


def _type(data: bytes) -> str:
    """By the file's first bytes."""
    if data.startswith(b"\x89PNG"):
        return "png"
    return "webp" if data[8:12] == b"WEBP" else "jpg"


def _add(tar: tarfile.TarFile, key: str, files: Files) -> None:
    for kind, data in files.items():
        member = tarfile.TarInfo(f"{key}.{kind}")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
