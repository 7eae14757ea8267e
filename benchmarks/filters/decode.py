"""What ingestion is measured against: pyarrow decoding the columns that ingestion reads, file by file."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

COLUMNS = ["uid", "text", "original_width", "original_height", "clip_b32_similarity_score",
           "clip_l14_similarity_score", "sha256"]  # fmt: skip

if __name__ == "__main__":
    pa.set_cpu_count(1)
    for path in sorted((Path(sys.argv[1]) / "metadata").glob("*.parquet")):
        pq.read_table(path, columns=COLUMNS, use_threads=False)
