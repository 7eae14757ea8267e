"""The published tolerances: how far scores of one seed may lie apart on other hardware, by scale.

They are data, measured by `benchmarks/tolerance` or taken from a source that each names; docs/measurements.md has the
figures behind them.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from datacomp.messages.manifest import ManifestTolerance
from datacomp.scales import Scale


@cache
def _published() -> dict[str, ManifestTolerance]:
    text = (files("datacomp.reproduction") / "tolerances.json").read_text()
    return {scale: ManifestTolerance.model_validate(found) for scale, found in json.loads(text).items()}


def tolerance_of(scale: Scale) -> ManifestTolerance | None:
    """The tolerance of a scale; None where none is published, as for rehearsals."""
    return None if scale.rehearsal else _published().get(scale.name)
