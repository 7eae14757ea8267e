"""Candidate pools: an original DataComp directory as it stands, and the pack of memory-mapped columns beside it."""

from typing import TYPE_CHECKING, Any

from datacomp.pool.manifest import PoolManifest
from datacomp.pool.pool import Pool

if TYPE_CHECKING:
    from datacomp.pool.add import add_column
    from datacomp.pool.ingest import ingest
    from datacomp.pool.recipe import Extras

__all__ = ["Extras", "Pool", "PoolManifest", "add_column", "ingest"]
_WRITERS = {"Extras": "recipe", "add_column": "add", "ingest": "ingest"}


def __getattr__(name: str) -> Any:
    """What writes packs is imported when it is asked for: reading one takes less time than that."""
    if name not in _WRITERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"{__name__}.{_WRITERS[name]}"), name)
    globals()[name] = found  # the function `ingest`, not the module, which importing has put here
    return found
