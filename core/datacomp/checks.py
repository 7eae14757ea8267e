"""What makes a submission fit to be taken: the same checks offline, at upload and on the worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datacomp import uids as u
from datacomp.filtering.load import parse_filter_source
from datacomp.messages import SubmissionKind, ValidateResult
from datacomp.pool import Pool
from datacomp.problems import BadInput, Problem

CHUNK = 1 << 20


@dataclass(frozen=True)
class Report:
    """All problems at once; without any, the figures."""

    problems: tuple[Problem, ...]
    result: ValidateResult | None = None

    @property
    def summary(self) -> str:
        """One line for people."""
        if self.result is None:
            return "rejected"
        if not self.result.rows:
            return "the file parses and defines a filter; it has not been run"
        r = self.result
        parts = [f"{r.rows:,} rows", f"{r.unique:,} different uids"]
        parts += [f"{r.repeats:,} repeats"] if r.repeats else []
        parts += [f"{r.unavailable:,} without an image on this site (trained without)"] if r.unavailable else []
        return ", ".join(parts)


def kind_of_file(path: Path) -> SubmissionKind:
    """What a file is handed in as: `.py` is code, everything else uids."""
    return SubmissionKind.CODE if path.suffix == ".py" else SubmissionKind.UIDS


def check_file(path: Path, pool: Pool | None, kind: SubmissionKind | None = None) -> Report:
    """Check a submission's file; without a pool, whether its uids belong to it stays open. Code is only parsed."""
    try:
        if (kind or kind_of_file(path)) is SubmissionKind.CODE:
            return Report((), _check_code(path))
        return _check_uids(path, pool)
    except BadInput as error:
        return Report(error.problems)


def _check_code(path: Path) -> ValidateResult:
    if not path.is_file():
        raise BadInput.of("filter-missing", "there is no such file", where=str(path))
    source = parse_filter_source(path.read_bytes(), path.name)
    return ValidateResult(rows=0, unique=0, repeats=0, unavailable=0, description=source.description[:4000])


def _check_uids(path: Path, pool: Pool | None) -> Report:
    uids = u.open_subset(path)
    problems = u.check_subset(uids)
    unknown: list[int] = []
    unavailable = repeats = 0
    for start in range(0, uids.size, CHUNK):
        chunk = np.asarray(uids[start : start + CHUNK])
        # One row back, so that a repeat across two chunks counts too.
        repeats += u.repeats(np.asarray(uids[max(start - 1, 0) : start + CHUNK]))
        if pool is not None:
            rows = pool.rows_of(chunk)
            unknown += (np.flatnonzero(rows < 0) + start).tolist()
            unavailable += int((~pool.available[rows[rows >= 0]]).sum())
    if unknown:
        problems.append(u.unknown_problem(np.array(unknown, np.int64), uids))
    if problems:
        return Report(tuple(p.model_copy(update={"where": _place(path, p)}) for p in problems))
    size = int(uids.size)
    return Report((), ValidateResult(rows=size, unique=size - repeats, repeats=repeats, unavailable=unavailable))


def _place(path: Path, problem: Problem) -> str:
    return f"{path.name}: {problem.where}" if problem.where else path.name
