"""What a user would write instead: clip_score's top fraction in pandas, Polars or DuckDB, to the same npy.

python peers.py LIBRARY METADATA_DIR OUT FRACTION      (exit code 3: the library is not installed)
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import numpy as np

SCORE = "clip_l14_similarity_score"
UIDS = np.dtype("u8,u8")


def with_pandas(metadata: str, fraction: float) -> Any:
    import pandas as pd

    table = pd.read_parquet(metadata, columns=["uid", SCORE])
    scores = table[SCORE].to_numpy()
    threshold = -np.partition(-scores, int(len(scores) * fraction))[int(len(scores) * fraction)]
    uids = table["uid"].to_numpy()[scores >= threshold]
    return np.array([(int(uid[:16], 16), int(uid[16:], 16)) for uid in uids], UIDS)


def with_polars(metadata: str, fraction: float) -> Any:
    import polars as pl

    lazy = pl.scan_parquet(f"{metadata}/*.parquet").select("uid", SCORE)
    scores = lazy.select(SCORE).collect(engine="streaming").to_series().to_numpy()
    place = int(len(scores) * fraction)
    threshold = -np.partition(-scores, place)[place]
    half = [pl.col("uid").str.slice(start, 16).str.to_integer(base=16, dtype=pl.UInt64) for start in (0, 16)]
    kept = lazy.filter(pl.col(SCORE) >= threshold).select(half[0].alias("high"), half[1].alias("low"))
    return _packed(*(column.to_numpy() for column in kept.collect(engine="streaming").get_columns()))


def with_duckdb(metadata: str, fraction: float) -> Any:
    import duckdb

    source = f"read_parquet('{metadata}/*.parquet')"
    scores = duckdb.sql(f"select {SCORE} from {source}").fetchnumpy()[SCORE]
    place = int(len(scores) * fraction)
    threshold = float(-np.partition(-scores, place)[place])
    halves = ", ".join(f"('0x' || uid[{a}:{a + 15}])::ubigint as {name}" for a, name in ((1, "high"), (17, "low")))
    found = duckdb.sql(f"select {halves} from {source} where {SCORE} >= {threshold!r}::float").fetchnumpy()
    return _packed(found["high"], found["low"])


def _packed(high: Any, low: Any) -> Any:
    uids = np.empty(len(high), UIDS)
    uids["f0"], uids["f1"] = high, low
    return uids


def main() -> None:
    library, metadata, out, fraction = sys.argv[1:]
    if importlib.util.find_spec(library) is None:
        sys.exit(3)
    uids = {"pandas": with_pandas, "polars": with_polars, "duckdb": with_duckdb}[library](metadata, float(fraction))
    pair = uids.view("<u8").reshape(-1, 2)
    np.save(out, uids[np.lexsort((pair[:, 1], pair[:, 0]))])


if __name__ == "__main__":
    main()
