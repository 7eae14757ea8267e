"""Writing a pool in the original's format: metadata parquet with features beside it, and webdataset tars."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from datacomp.pool.pool import METADATA, SHARDS
from datacomp_worker.world.corpus import Origin, Pair
from datacomp_worker.world.reference import Embeddings

SHARD_ROWS = 2048
FEWEST_SHARDS = 2

METADATA_SCHEMA = pa.schema(
    [
        ("uid", pa.string()),
        ("url", pa.string()),
        ("text", pa.string()),
        ("original_width", pa.int32()),
        ("original_height", pa.int32()),
        ("clip_b32_similarity_score", pa.float32()),
        ("clip_l14_similarity_score", pa.float32()),
        ("face_bboxes", pa.list_(pa.list_(pa.float64()))),
        ("sha256", pa.string()),
    ]
)


@dataclass(frozen=True)
class PoolRows:
    """A pool's rows, in order, ready to be written. Embeddings by model name, `b32` and `l14`."""

    pairs: Sequence[Pair]
    images: Sequence[bytes]
    embeddings: Mapping[str, Embeddings]
    uids: Sequence[str]


def new_uids(n: int, rng: np.random.Generator) -> list[str]:
    """Random uids, 32 hex digits each."""
    octets = rng.bytes(16 * n).hex()
    return [octets[i : i + 32] for i in range(0, 32 * n, 32)]


def write_pool(directory: Path, rows: PoolRows, rng: np.random.Generator) -> int:
    """Write `metadata/` and `shards/`; returns the number of shards."""
    table = _metadata(rows)
    for folder in (METADATA, SHARDS):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    shards = max(-(-len(rows.pairs) // SHARD_ROWS), FEWEST_SHARDS)
    for number, part in enumerate(np.array_split(np.arange(len(rows.pairs)), shards)):
        stem = directory / METADATA / f"{number:08d}"
        pq.write_table(table.take(pa.array(part)), stem.with_suffix(".parquet"))
        np.savez(stem.with_suffix(".npz"), allow_pickle=False, **_features(rows.embeddings, part))
        _write_tar(directory / SHARDS, number, rows, rng.permutation(part))
    return shards


def _metadata(rows: PoolRows) -> pa.Table:
    columns = {
        "uid": rows.uids,
        "url": [f"https://crawl.example/{uid[:2]}/{uid[2:12]}.jpg" for uid in rows.uids],
        "text": [pair.caption for pair in rows.pairs],
        "original_width": [pair.width for pair in rows.pairs],
        "original_height": [pair.height for pair in rows.pairs],
        "clip_b32_similarity_score": rows.embeddings["b32"].similarity,
        "clip_l14_similarity_score": rows.embeddings["l14"].similarity,
        "face_bboxes": [[] for _ in rows.pairs],
        "sha256": [hashlib.sha256(image).hexdigest() for image in rows.images],
    }
    return pa.table(columns, METADATA_SCHEMA)


def _features(embeddings: Mapping[str, Embeddings], part: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.float16]]:
    arrays = {}
    for name, found in embeddings.items():
        arrays[f"{name}_img"] = found.image[part].astype(np.float16)
        arrays[f"{name}_txt"] = found.text[part].astype(np.float16)
    return arrays


def _write_tar(folder: Path, number: int, rows: PoolRows, order: npt.NDArray[np.int64]) -> None:
    """One tar, in the order in which downloads happened to finish, and its count beside it."""
    successes = 0
    with tarfile.open(folder / f"{number:08d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for place, row in enumerate(order):
            pair = rows.pairs[row]
            if not pair.available:
                continue
            key = f"{number:05d}{place:04d}"
            about = {
                "uid": rows.uids[row],
                "caption": pair.caption,
                "key": key,
                "status": "success",
                "original_width": pair.width,
                "original_height": pair.height,
            }
            add(tar, f"{key}.jpg", rows.images[row])
            add(tar, f"{key}.txt", pair.caption.encode())
            add(tar, f"{key}.json", json.dumps(about).encode())
            successes += 1
    stats = {"count": len(order), "successes": successes, "failed_to_download": len(order) - successes}
    (folder / f"{number:08d}_stats.json").write_text(json.dumps(stats, indent=1))


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Append a file; no time and no owner, so that equal worlds are equal bytes."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def write_truth(path: Path, rows: PoolRows, leaked_from: Sequence[str]) -> None:
    """What is true of every row. No filter reads this file; it serves tests of the platform.

    `leaked_from` names each suite picture's task and item, as `task/item`.
    """
    pairs = rows.pairs
    columns = {
        "uid": rows.uids,
        "good": [pair.good for pair in pairs],
        "text": [pair.text.value for pair in pairs],
        "language": [pair.language for pair in pairs],
        "about_picture": [pair.about_picture for pair in pairs],
        "frame": [pair.frame.value for pair in pairs],
        "origin": [pair.origin.value for pair in pairs],
        "picture": [pair.picture for pair in pairs],
        "leaked_from": [leaked_from[pair.picture] if pair.origin == Origin.LEAKED else None for pair in pairs],
        "available": [pair.available for pair in pairs],
        "shape": [pair.scene.shape for pair in pairs],
        "colour": [pair.scene.colour for pair in pairs],
        "background": [pair.scene.background for pair in pairs],
        "digit": [pair.scene.digit for pair in pairs],
    }
    pq.write_table(pa.table(columns), path)
