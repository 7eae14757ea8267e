"""A pool that a server has a copy of, and what a subset kept of it."""

from pathlib import Path
from typing import Any

from small_pool import SmallPool

from datacomp.messages import Binned, Kept
from datacomp.pool import ingest
from datacomp.pool.recipe import Extras

KEPT = Kept(
    rows_in=60,
    rows_kept=20,
    unique=18,
    binned=[
        Binned(name="language", bins=["en", "other"], kept=[20, 0], pool=[40, 20]),
        Binned(name="words", bins=["0", "1 and more"], kept=[0, 20], pool=[8, 52]),
    ],
    kept_uids=["0" * 32],
    dropped_uids=["1" * 32],
)


def put_pool(data_dir: Path, name: str = "tiny", *, language: bool = False, **how: Any) -> list[str]:
    """Make a small pool where a server of this data directory looks for it; returns its uids in the order of rows.
    Languages take longest."""
    directory = data_dir / "pools" / name
    uids = SmallPool(**how).write(directory)
    ingest(directory, processes=1, extras=Extras(language=language))
    return uids
