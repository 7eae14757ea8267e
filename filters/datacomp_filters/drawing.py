"""Draws by hashing uids: the same for any order of rows, any batch and any machine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datacomp.uids import Uids, halves

_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
"""Multipliers of the SplitMix64 finaliser (Steele, Lea and Flood 2014)."""


def hashes(uids: Uids, seed: int, draw: int = 0) -> npt.NDArray[np.uint64]:
    """64 evenly mixed bits per uid, shape (len(uids),); each seed and each draw gives others."""
    high, low = halves(uids).T
    key = _mix(np.array([seed], np.uint64))[0]
    mixed = _mix(high ^ _mix(low ^ key))
    return redrawn(mixed, draw) if draw else mixed


def redrawn(first: npt.NDArray[np.uint64], draw: int) -> npt.NDArray[np.uint64]:
    """The hashes of another draw, from those of draw 0: half the work."""
    return _mix(first ^ _mix(np.array([draw], np.uint64))[0])


def uniforms(uids: Uids, seed: int, draw: int = 0) -> npt.NDArray[np.float64]:
    """A number above 0 and below 1 per uid, shape (len(uids),)."""
    return between(hashes(uids, seed, draw))


def between(bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """Hashes as numbers above 0 and below 1."""
    drawn: npt.NDArray[np.float64] = ((bits >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return drawn


def _mix(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    value = (value ^ (value >> np.uint64(30))) * _MIX[0]
    value = (value ^ (value >> np.uint64(27))) * _MIX[1]
    mixed: npt.NDArray[np.uint64] = value ^ (value >> np.uint64(31))
    return mixed
