"""How much of a subset is near an evaluation image, as receipts tell."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from small_pool import SmallPool

from datacomp.pool import Pool, add_column, ingest
from datacomp.uids import from_hex, sort
from datacomp_worker.stages.subset import near_evaluation


def test_different_samples_near_an_evaluation_image_are_counted(tmp_path):
    hexes = SmallPool(rows=8, shards=1).write(tmp_path / "pool")
    ingest(tmp_path / "pool", processes=1)
    uids = sort(from_hex([*hexes[:4], hexes[0]]))
    assert near_evaluation(Pool.open(tmp_path / "pool"), uids) is None
    scores = pa.table({"uid": hexes, "eval_similarity": np.array([0.99, 0.9, 0.95, 0.1] * 2, np.float32)})
    pq.write_table(scores, tmp_path / "scores.parquet")
    add_column(tmp_path / "pool", tmp_path / "scores.parquet")
    assert near_evaluation(Pool.open(tmp_path / "pool"), uids) == 2
