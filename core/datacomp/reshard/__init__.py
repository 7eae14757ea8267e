"""Tars that hold just a subset, from the tars of a pool."""

from datacomp.reshard.run import Resharded, reshard

__all__ = ["Resharded", "reshard"]
