"""From stored records to scores, with the core's scoring. Nothing a worker or participant claims is believed."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from datacomp.messages import RECORDS_FILE
from datacomp.scoring import aggregate, score_records
from datacomp.suite import Suite
from datacomp_server.storage import Storage, storage_faults


@dataclass(frozen=True)
class SeedResult:
    """Scores of one evaluation. `tasks`: `{"value": float | None, "n": int}` by task key."""

    suite_digest: str
    records_digest: str
    average: float | None
    main: float | None
    groups: dict[str, float]
    tasks: dict[str, dict[str, Any]]


def score_stored_records(storage: Storage, key: str, digest: str, suite: Suite) -> SeedResult:
    """Score a stored records file. `BadInput` when it does not fit the suite."""
    with tempfile.TemporaryDirectory(prefix="datacomp-records-") as folder, storage_faults(key):
        path = Path(folder) / RECORDS_FILE
        with path.open("wb") as file:
            for block in storage.blocks(key):
                file.write(block)
        values = score_records(path, suite)
    scores = {task: value for task, found in values.items() if (value := _finite(found.value)) is not None}
    result = aggregate(scores, suite)
    return SeedResult(
        suite_digest=suite.digest,
        records_digest=digest,
        average=_finite(result.average),
        main=_finite(result.main),
        groups={group: value for group, value in result.groups.items() if _finite(value) is not None},
        tasks={task: {"value": _finite(found.value), "n": found.n} for task, found in values.items()},
    )


def mean_or_none(values: Sequence[float | None]) -> float | None:
    """The mean; None as soon as one value is missing, because a mean over fewer seeds is another quantity."""
    present = [value for value in values if value is not None]
    return fmean(present) if present and len(present) == len(values) else None


def mean_groups(groups: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means by group, of the groups that every seed has."""
    names = [name for name in groups[0] if all(name in other for other in groups)] if groups else []
    return {name: fmean(other[name] for other in groups) for name in names}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
