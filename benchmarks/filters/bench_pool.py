"""A large pool of metadata alone, in the original's format: realistic captions, sizes and float16-grid scores.

python bench_pool.py DIR ROWS [ROWS_PER_FILE]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ENGLISH = """
the a of in and with for on to from new black white red house dog car woman man girl boy city street park food water
summer best price free shipping photo image art print poster design vintage wooden table chair room kitchen garden
beautiful old young happy people walking standing near by home sale review how make your wedding party birthday gift
"""
FOREIGN = """
le la les des une pour avec dans sur der die das und mit für auf ein eine haus maison chien hund perro casa para con los
las дом собака красный новый город купить 犬 写真 東京 日本 家 公园 图片 hôtel été größe straße niño año
"""
HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
DIFFERENT = 200_000


def captions(rng: np.random.Generator) -> pa.Array:
    """Different captions of 1 to 20 words, three in five of English words."""
    made = []
    english, foreign = ENGLISH.split(), FOREIGN.split()
    for _ in range(DIFFERENT):
        words = english if rng.random() < 0.6 else foreign
        made.append(" ".join(words[i] for i in rng.integers(0, len(words), rng.integers(1, 21))))
    return pa.array(made, pa.string())


def digits(rng: np.random.Generator, rows: int, width: int) -> pa.Array:
    """Random hex strings."""
    text = HEX[rng.integers(0, 16, (rows, width), np.uint8)]
    offsets = pa.py_buffer(np.arange(0, rows * width + 1, width, dtype=np.int32).tobytes())
    return pa.StringArray.from_buffers(rows, offsets, pa.py_buffer(text.tobytes()))


def table(rng: np.random.Generator, rows: int, texts: pa.Array) -> pa.Table:
    """One file's rows."""
    scores = {n: rng.normal(0.2, 0.06, rows).astype(np.float16).astype(np.float32) for n in ("b32", "l14")}
    return pa.table(
        {
            "uid": digits(rng, rows, 32),
            "url": pa.array([f"https://example.org/{i}.jpg" for i in rng.integers(0, 1 << 40, rows)]),
            "text": texts.take(pa.array(rng.integers(0, DIFFERENT, rows))),
            "original_width": rng.integers(100, 2000, rows),
            "original_height": rng.integers(100, 2000, rows),
            **{f"clip_{name}_similarity_score": column for name, column in scores.items()},
            "face_bboxes": pa.array([[]] * rows, pa.list_(pa.list_(pa.float64()))),
            "sha256": digits(rng, rows, 64),
        }
    )


def main() -> None:
    directory, rows = Path(sys.argv[1]) / "metadata", int(sys.argv[2])
    size = int(sys.argv[3]) if len(sys.argv) > 3 else 100_000
    directory.mkdir(parents=True)
    rng = np.random.default_rng(0)
    texts = captions(rng)
    for number, start in enumerate(range(0, rows, size)):
        part = table(rng, min(size, rows - start), texts)
        pq.write_table(part, directory / f"{number:08d}.parquet")


if __name__ == "__main__":
    main()
