"""Candidate pools: an original DataComp directory as it stands, and the pack of memory-mapped columns beside it."""

from datacomp.pool.ingest import ingest
from datacomp.pool.manifest import PoolManifest
from datacomp.pool.pool import Pool

__all__ = ["Pool", "PoolManifest", "ingest"]
