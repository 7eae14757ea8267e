"""What became of every row of a download, as img2dataset notes it beside each tar."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUCCESS = "success"
REPLACED = "replaced"
_OWN_WORDS = {"hash mismatch": REPLACED, "image too small": "too-small"}


@dataclass(frozen=True)
class Outcomes:
    """Rows by what became of them."""

    rows: int
    successes: int
    causes: dict[str, int]
    """Of rows without an image, most frequent first."""


def outcomes(folder: Path) -> Outcomes:
    """Count the rows of all complete shards."""
    counts: Counter[str] = Counter()
    for table in tables(folder, ["status", "error_message"]):
        counts.update(map(cause, table["status"], table["error_message"]))
    successes = counts.pop(SUCCESS, 0)
    return Outcomes(successes + counts.total(), successes, dict(counts.most_common()))


def cause(status: str | None, message: str | None) -> str:
    """`success`, or the word that a failure is counted by."""
    if status == SUCCESS:
        return SUCCESS
    text = (message or "failed").strip()
    return _OWN_WORDS.get(text) or text.partition(":")[0][:40] or "failed"


def tables(folder: Path, columns: list[str]) -> Iterator[dict[str, list[Any]]]:
    """Columns of every complete shard's rows, shard by shard."""
    import pyarrow.parquet as pq

    for path in sorted(folder.glob("*.parquet")):
        if path.with_name(f"{path.stem}_stats.json").is_file():
            yield pq.read_table(path, columns=columns).to_pydict()
