"""From stored records to scores, with the core's scoring. Nothing a worker or participant claims is believed."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from datacomp.messages import RECORDS_FILE
from datacomp.scoring import Records, aggregate, checked_records, task_values
from datacomp.statistics.errors import over_seeds, suite_variances
from datacomp.statistics.sampling import sampled
from datacomp.suite import Suite
from datacomp_server.storage import Storage, storage_faults


@dataclass(frozen=True)
class SeedResult:
    """Scores of one evaluation. `tasks` and `variances` are as `SeedScore` keeps them."""

    suite_digest: str
    records_digest: str
    average: float | None
    main: float | None
    groups: dict[str, float]
    tasks: dict[str, dict[str, Any]]
    variances: dict[str, Any] | None = None


def score_stored_records(storage: Storage, key: str, digest: str, suite: Suite) -> SeedResult:
    """Score a stored records file. `BadInput` when it does not fit the suite."""
    with stored_records(storage, key) as path:
        records = checked_records(path, suite)
    tasks = _tasks(records, suite)
    result = aggregate({key: found["value"] for key, found in tasks.items() if found["value"] is not None}, suite)
    variances = suite_variances(_known(tasks, "variance"), suite)
    return SeedResult(
        suite_digest=suite.digest,
        records_digest=digest,
        average=_finite(result.average),
        main=_finite(result.main),
        groups={group: value for group, value in result.groups.items() if _finite(value) is not None},
        tasks=tasks,
        variances=variances.to_json(),
    )


@contextmanager
def stored_records(storage: Storage, key: str) -> Iterator[Path]:
    """A stored records file as a file of this machine, for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="datacomp-records-") as folder, storage_faults(key):
        path = Path(folder) / RECORDS_FILE
        with path.open("wb") as file:
            for block in storage.blocks(key):
                file.write(block)
        yield path


def _tasks(records: Mapping[str, Records], suite: Suite) -> dict[str, dict[str, Any]]:
    """Every task's value, with its interval and variance where it has one."""
    found: dict[str, dict[str, Any]] = {}
    values = task_values(records, suite)
    for task in suite.tasks:
        found[task.key] = {"value": _finite(values[task.key].value), "n": values[task.key].n}
        if values[task.key].details:
            found[task.key]["details"] = values[task.key].details
        near = sampled(task, records[task.key])
        if near is not None and math.isfinite(near.variance):
            found[task.key] |= {"lo": near.lo, "hi": near.hi, "variance": near.variance}
    return found


def mean_tasks(seeds: Sequence[Mapping[str, Mapping[str, Any]]], suite: Suite) -> dict[str, dict[str, Any]]:
    """A submission's tasks as means over its seeds, which were measured on the same items: how much their errors have
    in common is not known, so bounds are means of bounds, as if it were everything."""
    found: dict[str, dict[str, Any]] = {}
    for task in suite.tasks:
        of_task = [seed.get(task.key, {}) for seed in seeds]
        value = mean_or_none([one.get("value") for one in of_task])
        found[task.key] = {"value": value, "n": max((one.get("n", 0) for one in of_task), default=0)}
        variance = over_seeds([one.get("variance") for one in of_task])
        if variance is not None:
            bounds = {name: mean_or_none([one.get(name) for one in of_task]) for name in ("lo", "hi")}
            found[task.key] |= {**bounds, "variance": variance}
        if details := _mean_details([one.get("details", {}) for one in of_task]):
            found[task.key]["details"] = details
    return found


def _mean_details(seeds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means of what every seed tells; of p-values there is no such thing, so they are told of single seeds alone."""
    means = mean_groups(seeds)
    return {name: value for name, value in means.items() if len(seeds) == 1 or not name.endswith(" p")}


def _known(tasks: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, float]:
    return {key: found[name] for key, found in tasks.items() if found.get(name) is not None}


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
