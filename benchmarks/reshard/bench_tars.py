"""Tars in the original's format: JPEGs of about the size of DataComp's, captions, json as img2dataset writes it.

python bench_tars.py DIR SAMPLES [SAMPLES_PER_TAR [SHARE_WITH_FACES]]
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageFilter

PICTURES = 64


def pictures(rng: np.random.Generator) -> list[bytes]:
    """JPEGs of 384 x 512 pixels, some 30 kB each."""
    made = []
    for _ in range(PICTURES):
        noise = Image.fromarray(rng.integers(0, 256, (384, 512, 3), np.uint8)).filter(ImageFilter.GaussianBlur(1.2))
        out = io.BytesIO()
        noise.save(out, "JPEG", quality=70)
        made.append(out.getvalue())
    return made


def fields(uid: str, number: int) -> dict[str, object]:
    """What img2dataset notes of a sample, and where."""
    sha = hashlib.sha256(uid.encode()).hexdigest()
    return {
        "uid": uid,
        "url": f"https://example.org/{number}.jpg", "caption": "a photo of nothing", "key": f"{number:012d}",
        "status": "success", "error_message": None, "width": 512, "height": 384, "original_width": 1024,
        "original_height": 768, "exif": "{}", "sha256": sha, "clip_l14_similarity_score": 0.25, "face_bboxes": [],
    }  # fmt: skip


def faces(rng: np.random.Generator, share: float) -> list[list[float]]:
    """No box, or one or two."""
    if rng.random() >= share:
        return []
    corners = rng.uniform(0, 0.7, (rng.integers(1, 3), 2))
    sides = rng.uniform(0.05, 0.3, corners.shape)
    return [[x, y, x + w, y + h] for (x, y), (w, h) in zip(corners, sides, strict=True)]


def main() -> None:
    directory, samples = Path(sys.argv[1]), int(sys.argv[2])
    per_tar = int(sys.argv[3]) if len(sys.argv) > 3 else 2000
    share = float(sys.argv[4]) if len(sys.argv) > 4 else 0.0
    rng = np.random.default_rng(0)
    images = pictures(rng)
    (directory / "metadata").mkdir(parents=True)
    (directory / "shards").mkdir()
    for number, begin in enumerate(range(0, samples, per_tar)):
        numbers = range(begin, min(begin + per_tar, samples))
        uids = [hashlib.md5(str(n).encode()).hexdigest() for n in numbers]
        write_tar(directory / "shards", number, dict(zip(numbers, uids, strict=True)), images)
        boxes = pa.array([faces(rng, share) for _ in numbers], pa.list_(pa.list_(pa.float64())))
        pq.write_table(pa.table(metadata(uids, boxes)), directory / f"metadata/{number:08d}.parquet")


def metadata(uids: list[str], boxes: pa.Array) -> dict[str, object]:
    """Columns as DataComp has them."""
    rows = len(uids)
    return {
        "uid": uids, "url": ["https://example.org"] * rows, "text": ["a photo of nothing"] * rows,
        "original_width": np.full(rows, 1024, np.int32), "original_height": np.full(rows, 768, np.int32),
        "clip_b32_similarity_score": np.full(rows, 0.25, np.float32),
        "clip_l14_similarity_score": np.full(rows, 0.25, np.float32),
        "face_bboxes": boxes, "sha256": [hashlib.sha256(uid.encode()).hexdigest() for uid in uids],
    }  # fmt: skip


def write_tar(directory: Path, number: int, uids: dict[int, str], images: list[bytes]) -> None:
    with tarfile.open(directory / f"{number:08d}.tar", "w") as tar:
        for n, uid in uids.items():
            image = images[n % PICTURES]
            parts = {"jpg": image, "json": json.dumps(fields(uid, n)).encode(), "txt": b"a photo of nothing"}
            for extension, data in parts.items():
                member = tarfile.TarInfo(f"{n:012d}.{extension}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    (directory / f"{number:08d}_stats.json").write_text(json.dumps({"successes": len(uids)}))


if __name__ == "__main__":
    main()
