"""A small pool in the original's format, made in a moment: random images, chosen captions and scores."""

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

CAPTIONS = (
    "a photo of a red circle on a white background",
    "une image qui montre la forme suivante : cercle rouge",
    "das Bild zeigt die Form Kreis in der Farbe Rot",
    "a blue square",
    "IMG_2041",
    "",
    "two\nlines of an English caption",
    "handwritten digit three on paper",
)


@dataclass(frozen=True)
class SmallPool:
    """How to make it; `overrides` replaces metadata columns of the whole pool."""

    rows: int = 60
    shards: int = 3
    seed: int = 0
    without_image: int = 2
    features: bool = True
    overrides: dict = field(default_factory=dict)

    def write(self, directory: Path) -> list[str]:
        """Write metadata/ and shards/; returns the uids (hex) in row order."""
        rng = np.random.default_rng(self.seed)
        uids = [hashlib.md5(f"{self.seed}/{i}".encode()).hexdigest() for i in range(self.rows)]
        columns = {
            "uid": uids,
            "url": [f"https://example.org/{i}.jpg" for i in range(self.rows)],
            "text": [CAPTIONS[i % len(CAPTIONS)] for i in range(self.rows)],
            "original_width": rng.integers(100, 2000, self.rows).astype(np.int32),
            "original_height": rng.integers(100, 2000, self.rows).astype(np.int32),
            "clip_b32_similarity_score": rng.uniform(0, 0.4, self.rows).astype(np.float32),
            "clip_l14_similarity_score": rng.uniform(0, 0.4, self.rows).astype(np.float32),
            "face_bboxes": pa.array([[] for _ in range(self.rows)], pa.list_(pa.list_(pa.float64()))),
            "sha256": [hashlib.sha256(uid.encode()).hexdigest() for uid in uids],
            **self.overrides,
        }
        (directory / "metadata").mkdir(parents=True)
        (directory / "shards").mkdir()
        table = pa.table(columns)
        for number, part in enumerate(np.array_split(np.arange(self.rows), self.shards)):
            stem = directory / "metadata" / f"{number:08d}"
            pq.write_table(table.take(pa.array(part)), stem.with_suffix(".parquet"))
            if self.features:
                self._write_features(stem.with_suffix(".npz"), len(part), rng)
            self._write_tar(directory / "shards" / f"{number:08d}.tar", part, columns, rng)
        return list(columns["uid"])

    def _write_features(self, path: Path, n: int, rng: np.random.Generator) -> None:
        sizes = {"b32_img": 512, "b32_txt": 512, "l14_img": 768, "l14_txt": 768}
        arrays = {name: rng.standard_normal((n, width)) for name, width in sizes.items()}
        unit = {k: (a / np.linalg.norm(a, axis=1, keepdims=True)).astype(np.float16) for k, a in arrays.items()}
        np.savez(path, **unit)

    def _write_tar(self, path: Path, rows: np.ndarray, columns: dict, rng: np.random.Generator) -> None:
        with tarfile.open(path, "w") as tar:
            for place, row in enumerate(rows):
                if row < self.without_image:
                    continue
                image = io.BytesIO()
                Image.fromarray(rng.integers(0, 256, (32, 40, 3), np.uint8)).save(image, "JPEG")
                fields = {"uid": columns["uid"][row], "key": f"{place:09d}"}
                parts = {
                    "jpg": image.getvalue(),
                    "json": json.dumps(fields).encode(),
                    "txt": columns["text"][row].encode(),
                }
                for extension, data in parts.items():
                    member = tarfile.TarInfo(f"{place:09d}.{extension}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
