"""Candidate pools: an original DataComp directory as it stands, and the pack of memory-mapped columns beside it."""

from datacomp.pool.add import add_column
from datacomp.pool.ingest import ingest
from datacomp.pool.manifest import PoolManifest
from datacomp.pool.pool import Pool
from datacomp.pool.recipe import Extras

__all__ = ["Extras", "Pool", "PoolManifest", "add_column", "ingest"]
