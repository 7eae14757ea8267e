"""Scores of records files that are at hand: `datacomp rescore`, and what reproduction compares.

The same functions as the server's scoring (`datacomp.scoring`): nothing but records and suite decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from datacomp.digests import digest_file
from datacomp.problems import BadInput, Problem, raise_if_any
from datacomp.scoring import aggregate, centered_average, score_records
from datacomp.suite import Suite


@dataclass(frozen=True)
class FileScores:
    """Scores of one records file: one evaluation, of one seed."""

    file: str
    records_digest: str
    average: float | None
    main: float | None
    groups: dict[str, float]
    tasks: dict[str, float | None]
    items: dict[str, int]
    details: dict[str, dict[str, float]] = field(default_factory=dict)
    """What probes and varied tasks tell besides, by task."""
    centered: float | None = None
    """Mean of the counted tasks' scores centred at chance."""


@dataclass(frozen=True)
class Rescored:
    """Scores of some records files under one suite, and their means."""

    suite: str
    suite_digest: str
    average: float | None
    main: float | None
    groups: dict[str, float]
    tasks: dict[str, float | None]
    files: tuple[FileScores, ...]
    centered: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)


def score_file(path: Path, suite: Suite) -> FileScores:
    """Score one file. `BadInput` when it does not fit the suite."""
    values = score_records(path, suite)
    tasks = {key: _finite(found.value) for key, found in values.items()}
    means = aggregate({key: value for key, value in tasks.items() if value is not None}, suite)
    return FileScores(
        file=str(path),
        records_digest=digest_file(path),
        average=_finite(means.average),
        main=_finite(means.main),
        groups={group: value for group, value in means.groups.items() if _finite(value) is not None},
        tasks=tasks,
        items={key: found.n for key, found in values.items()},
        details={key: found.details for key, found in values.items() if found.details},
        centered=_finite(centered_average({key: value for key, value in tasks.items() if value is not None}, suite)),
    )


def rescore(source: Path, suite: Suite) -> Rescored:
    """Score a records file, or all of a folder (one a seed), and take means.

    `BadInput`: nothing to score, or what is wrong with which file, all at once.
    """
    files = sorted(source.rglob("*.parquet")) if source.is_dir() else [source]
    if not files or not all(path.is_file() for path in files):
        hint = "datacomp download ID records.parquet fetches a submission's records"
        raise BadInput.of("records-missing", "there are no records here", where=str(source), hint=hint)
    scored: list[FileScores] = []
    problems: list[Problem] = []
    for path in files:
        try:
            scored.append(score_file(path, suite))
        except BadInput as error:
            problems += [problem.at(f"{path.name}: {problem.where}") for problem in error.problems]
    raise_if_any(problems)
    return Rescored(
        suite=suite.id,
        suite_digest=suite.digest,
        average=_mean([one.average for one in scored]),
        main=_mean([one.main for one in scored]),
        groups={
            group: fmean(one.groups[group] for one in scored)
            for group in scored[0].groups
            if all(group in one.groups for one in scored)
        },
        tasks={key: _mean([one.tasks[key] for one in scored]) for key in scored[0].tasks},
        files=tuple(scored),
        centered=_mean([one.centered for one in scored]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    """None as soon as one is missing: a mean over fewer seeds is another quantity."""
    present = [value for value in values if value is not None]
    return fmean(present) if present and len(present) == len(values) else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
