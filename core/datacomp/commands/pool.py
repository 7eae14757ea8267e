"""`datacomp pool info`: what a pool holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datacomp.pool import Pool

MOST_LANGUAGES = 8


@dataclass(frozen=True)
class PoolInfo:
    """Figures of a pool."""

    directory: Path
    digest: str
    rows: int
    shards: int
    tars: int
    available: int
    orphans: int
    columns: tuple[str, ...]
    features: tuple[str, ...]
    languages: tuple[tuple[str, int], ...]
    made_with: tuple[tuple[str, str], ...]
    """The groups of computed columns, each with the digest of its model or files."""

    def lines(self) -> list[str]:
        """The figures as text."""
        languages = ", ".join(f"{code or 'none'} {count:,}" for code, count in self.languages)
        lines = [
            f"pool        {self.directory}",
            f"digest      {self.digest}",
            f"rows        {self.rows:,} in {self.shards} metadata files",
            f"images      {self.available:,} in {self.tars} tars ({self.rows - self.available:,} not on this site)",
            f"columns     {', '.join(self.columns)}",
            f"features    {', '.join(self.features) or 'none'}",
            f"languages   {languages or 'not computed'}",
            f"made with   {', '.join(f'{group} {digest[:16]}' for group, digest in self.made_with)}",
        ]
        if self.orphans:
            lines.append(f"orphans     {self.orphans:,} samples in tars whose uid no metadata row has")
        return lines


def pool_info(directory: Path) -> PoolInfo:
    """Look at an ingested pool."""
    pool = Pool.open(directory)
    return PoolInfo(
        directory=directory,
        digest=pool.manifest.digest,
        rows=pool.rows,
        shards=len(pool.manifest.shards),
        tars=len(pool.manifest.tars),
        available=int(pool.available.sum()),
        orphans=pool.manifest.orphans,
        columns=tuple(sorted(pool.names)),
        features=tuple(f"{feature.name} ({feature.width})" for feature in pool.manifest.features),
        languages=_languages(pool),
        made_with=tuple(sorted(pool.manifest.made_with.items())),
    )


def _languages(pool: Pool) -> tuple[tuple[str, int], ...]:
    """The most frequent languages with their rows; nothing when languages were not computed."""
    words = pool.vocabulary("lang")
    if words is None:
        return ()
    names = (*words, "")
    counts = np.bincount(np.asarray(pool.column("lang"), np.int64) % len(names), minlength=len(names))
    languages = sorted(zip(names, counts.tolist(), strict=True), key=lambda item: -item[1])
    return tuple(languages[:MOST_LANGUAGES])
