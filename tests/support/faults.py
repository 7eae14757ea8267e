"""How much the fault tests do: `DATACOMP_FAULTS_SEED` decides what, `DATACOMP_FAULTS_COUNT` how often."""

from __future__ import annotations

import os

SEED = int(os.environ.get("DATACOMP_FAULTS_SEED", "0"))
COUNT = int(os.environ.get("DATACOMP_FAULTS_COUNT", "200"))
"""Kills of the cheap platform; what is dearer is done less often, in proportion."""
HANDED_OVER_SECONDS = 120


def share(one_in: int, least: int = 1) -> int:
    """How often something dear is done."""
    return max(COUNT // one_in, least)
