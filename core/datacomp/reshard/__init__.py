"""Tars that hold just a subset, from the tars of a pool."""

from datacomp.reshard.run import Resharded, reshard, reshard_from, reshard_pool

__all__ = ["Resharded", "reshard", "reshard_from", "reshard_pool"]
